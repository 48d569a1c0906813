-- name: lock
-- Waits until nobody else changes this bank, and keeps it so until we commit.
SELECT pg_advisory_xact_lock(250, %(book)s)

-- name: head
-- A bank's settings, the number of its last event, and when its next step is due.
SELECT h.seed, h.ahead_seconds, h.latency_seconds, h.rails, h.lies, h.last,
    (SELECT s.due FROM bank_step AS s WHERE s.book = h.book ORDER BY s.due LIMIT 1) AS next_due
FROM bank_head AS h
WHERE h.book = %(book)s

-- name: make_head
-- A bank with nothing in it.
INSERT INTO bank_head (book) VALUES (%(book)s) ON CONFLICT DO NOTHING

-- name: change_head
-- A bank's settings as they are now.
UPDATE bank_head
SET seed = %(seed)s, ahead_seconds = %(ahead_seconds)s, latency_seconds = %(latency_seconds)s, rails = %(rails)s, lies = %(lies)s
WHERE book = %(book)s

-- name: change_last
-- The number of a bank's last event.
UPDATE bank_head SET last = %(last)s WHERE book = %(book)s

-- name: open_accounts
-- New accounts; what is there stays as it is.
INSERT INTO bank_account (book, code, currency, exponent, role, credit_line)
SELECT %(book)s, n.code, n.currency, n.exponent, n.role, n.credit_line
FROM unnest(%(codes)s::text[], %(currencies)s::text[], %(exponents)s::int[], %(roles)s::text[], %(credit_lines)s::numeric[])
    AS n (code, currency, exponent, role, credit_line)
ORDER BY n.code, n.currency
ON CONFLICT DO NOTHING
RETURNING id, code, currency, exponent, role, credit_line, balance, reserved

-- name: accounts_of_codes
-- Accounts by their codes, in every currency.
SELECT a.id, a.code, a.currency, a.exponent, a.role, a.credit_line, a.balance, a.reserved
FROM (SELECT %(book)s::int AS book, u.code FROM unnest(%(codes)s::text[]) AS u (code) OFFSET 0) AS asked
JOIN bank_account AS a ON a.book = asked.book AND a.code = asked.code

-- name: accounts_of_ids
-- Accounts by their numbers.
SELECT a.id, a.code, a.currency, a.exponent, a.role, a.credit_line, a.balance, a.reserved
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::int[]) AS u (id) OFFSET 0) AS asked
JOIN bank_account AS a ON a.book = asked.book AND a.id = asked.id

-- name: change_accounts
-- What accounts hold now.
UPDATE bank_account AS a
SET balance = n.balance, reserved = n.reserved
FROM (
    SELECT %(book)s::int AS book, u.*
    FROM unnest(%(ids)s::int[], %(balances)s::numeric[], %(reserved)s::numeric[]) AS u (id, balance, reserved) OFFSET 0
) AS n
WHERE a.book = n.book AND a.id = n.id

-- name: orders_of_ids
-- Orders that have arrived, by their end-to-end ids.
SELECT o.id, o.content, o.state, o.account, o.payee, o.amount, o.method, o.payer, o.reference, o.value, o.at,
    o.confirmed, o.returned, o.code
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN bank_order AS o ON o.book = asked.book AND o.id = asked.id

-- name: lost_of_ids
-- Which of these orders were lost on their way here before.
SELECT l.id
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN bank_lost AS l ON l.book = asked.book AND l.id = asked.id

-- name: lose
-- Remembers that orders were lost on their way here.
INSERT INTO bank_lost (book, id) SELECT %(book)s, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) ON CONFLICT DO NOTHING

-- name: add_orders
-- Orders that arrived, with what became of them so far.
INSERT INTO bank_order (
    book, id, content, state, account, payee, amount, confirmed, returned, method, payer, reference, code, value, at
)
SELECT %(book)s, n.id, n.content, n.state, n.account, n.payee, n.amount, n.confirmed, n.returned, n.method, n.payer,
    n.reference, n.code, n.value, %(at)s
FROM unnest(%(ids)s::uuid[], %(contents)s::bytea[], %(states)s::text[], %(accounts)s::int[], %(payees)s::int[],
    %(amounts)s::numeric[], %(confirmed)s::numeric[], %(returned)s::numeric[], %(methods)s::text[], %(payers)s::text[],
    %(references)s::text[], %(codes)s::text[], %(values)s::date[])
    AS n (id, content, state, account, payee, amount, confirmed, returned, method, payer, reference, code, value)

-- name: change_orders
-- What became of orders since.
UPDATE bank_order AS o
SET state = n.state, confirmed = n.confirmed, returned = n.returned, code = n.code
FROM (
    SELECT %(book)s::int AS book, u.*
    FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(confirmed)s::numeric[], %(returned)s::numeric[], %(codes)s::text[])
        AS u (id, state, confirmed, returned, code) OFFSET 0
) AS n
WHERE o.book = n.book AND o.id = n.id

-- name: add_steps
-- What will become of orders.
INSERT INTO bank_step (book, due, order_id, act, amount, code)
SELECT %(book)s, n.due, n.order_id, n.act, n.amount, n.code
FROM unnest(%(dues)s::timestamptz[], %(orders)s::uuid[], %(acts)s::text[], %(amounts)s::numeric[], %(codes)s::text[])
    AS n (due, order_id, act, amount, code)

-- name: due_steps
-- The next steps that are due.
SELECT order_id, act, amount, code, due, id FROM bank_step
WHERE book = %(book)s AND due <= %(at)s
ORDER BY due, id LIMIT %(most)s

-- name: drop_steps
-- Forgets steps that were done.
DELETE FROM bank_step AS s
USING (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(dues)s::timestamptz[], %(ids)s::bigint[]) AS u (due, id) OFFSET 0
) AS n
WHERE s.book = n.book AND s.due = n.due AND s.id = n.id

-- name: add_events
-- What happened, in its order.
INSERT INTO bank_event (
    book, number, at, value, kind, order_id, state, debit, credit, amount, total, debit_balance, credit_balance, code, reference
)
SELECT %(book)s, n.number, n.at, n.value, n.kind, n.order_id, n.state, n.debit, n.credit, n.amount, n.total,
    n.debit_balance, n.credit_balance, n.code, n.reference
FROM unnest(%(numbers)s::bigint[], %(ats)s::timestamptz[], %(values)s::date[], %(kinds)s::text[], %(orders)s::uuid[],
    %(states)s::text[], %(debits)s::int[], %(credits)s::int[], %(amounts)s::numeric[], %(totals)s::numeric[],
    %(debit_balances)s::numeric[], %(credit_balances)s::numeric[], %(codes)s::text[], %(references)s::text[])
    AS n (number, at, value, kind, order_id, state, debit, credit, amount, total, debit_balance, credit_balance, code, reference)

-- name: statuses
-- How far orders are.
SELECT found.*,
    (SELECT a.exponent FROM bank_account AS a WHERE a.book = %(book)s AND a.id = found.account) AS exponent,
    (SELECT e.at FROM bank_event AS e WHERE e.book = %(book)s AND e.order_id = found.id ORDER BY e.number DESC LIMIT 1) AS told
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
CROSS JOIN LATERAL (
    SELECT o.id, o.state, o.confirmed, o.returned, o.code, o.account, o.at FROM bank_order AS o
    WHERE o.book = asked.book AND o.id = asked.id
    LIMIT 1
) AS found

-- name: notices
-- What the bank said by itself after an event.
SELECT e.number, e.order_id AS id, e.state, e.at, e.amount, e.total, e.code, own.exponent, own.currency
FROM (
    SELECT b.* FROM bank_event AS b
    WHERE b.book = %(book)s AND b.number > %(after)s AND b.order_id IS NOT NULL
    ORDER BY b.number LIMIT %(most)s
) AS e
CROSS JOIN LATERAL (
    SELECT a.exponent, a.currency FROM bank_order AS o
    JOIN bank_account AS a ON a.book = o.book AND a.id = o.account
    WHERE o.book = %(book)s AND o.id = e.order_id
    LIMIT 1
) AS own
ORDER BY e.number

-- name: account_of_code
-- An account of ours by its code.
SELECT id, code, currency, exponent, role, credit_line, balance, reserved FROM bank_account
WHERE book = %(book)s AND code = %(code)s AND role = 'customer'
ORDER BY currency LIMIT 1

-- name: lines
-- Bookings on an account, in their order.
SELECT l.number, l.at, l.value, l.kind, l.order_id, l.amount, l.balance, l.code, l.reference, l.other,
    (SELECT o.code FROM bank_account AS o WHERE o.book = %(book)s AND o.id = l.other) AS other_code
FROM (
    (
        SELECT number, at, value, kind, order_id, -amount AS amount, debit_balance AS balance, code, reference, credit AS other
        FROM bank_event
        WHERE book = %(book)s AND debit = %(account)s AND number > %(after)s
            AND at >= coalesce(%(since)s::timestamptz, '-infinity') AND at < coalesce(%(until)s::timestamptz, 'infinity')
        ORDER BY number LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT number, at, value, kind, order_id, amount, credit_balance, code, reference, debit
        FROM bank_event
        WHERE book = %(book)s AND credit = %(account)s AND number > %(after)s
            AND at >= coalesce(%(since)s::timestamptz, '-infinity') AND at < coalesce(%(until)s::timestamptz, 'infinity')
        ORDER BY number LIMIT %(most)s
    )
) AS l
ORDER BY l.number LIMIT %(most)s

-- name: balance_before
-- What an account held at a place in its statement where there are no lines.
SELECT b.balance
FROM (
    (
        SELECT number, debit_balance AS balance FROM bank_event
        WHERE book = %(book)s AND debit = %(account)s
            AND (number <= %(after)s OR at < coalesce(%(until)s::timestamptz, 'infinity'))
        ORDER BY number DESC LIMIT 1
    )
    UNION ALL
    (
        SELECT number, credit_balance FROM bank_event
        WHERE book = %(book)s AND credit = %(account)s
            AND (number <= %(after)s OR at < coalesce(%(until)s::timestamptz, 'infinity'))
        ORDER BY number DESC LIMIT 1
    )
) AS b
ORDER BY b.number DESC LIMIT 1

-- name: paid
-- What really happened to orders: how often and how much left our account, and what came back.
SELECT asked.id, own.exponent, paid.times, paid.debited, paid.credited
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
CROSS JOIN LATERAL (
    SELECT a.id AS account, a.exponent FROM bank_order AS o
    JOIN bank_account AS a ON a.book = o.book AND a.id = o.account
    WHERE o.book = asked.book AND o.id = asked.id
    LIMIT 1
) AS own
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE e.debit = own.account) AS times,
        coalesce(sum(e.amount) FILTER (WHERE e.debit = own.account), 0) AS debited,
        coalesce(sum(e.amount) FILTER (WHERE e.credit = own.account), 0) AS credited
    FROM bank_event AS e
    WHERE e.book = asked.book AND e.order_id = asked.id
) AS paid

-- name: balances
-- Every account with what it holds, and what its entries add up to.
SELECT a.code, a.currency, a.exponent, a.role, a.balance, a.reserved,
    (SELECT coalesce(sum(e.amount), 0) FROM bank_event AS e WHERE e.book = a.book AND e.credit = a.id)
    - (SELECT coalesce(sum(e.amount), 0) FROM bank_event AS e WHERE e.book = a.book AND e.debit = a.id) AS proved
FROM bank_account AS a
WHERE a.book = %(book)s
ORDER BY a.code, a.currency

-- name: trial_balance
-- What the accounts of each currency sum to.
SELECT a.currency, max(a.exponent) AS exponent, sum(a.balance) AS balance FROM bank_account AS a
WHERE a.book = %(book)s
GROUP BY a.currency
ORDER BY a.currency

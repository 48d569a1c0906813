-- What a settlement is validated against: banks, accounts, windows, limits, names; and the commands that keep them.

-- name: version
-- Which state of the rules holds.
SELECT version FROM interbank_version WHERE book = %(book)s

-- name: next_version
-- Tells every process to read the rules again, with the commit.
INSERT INTO interbank_version AS v (book, version) VALUES (%(book)s, 1)
ON CONFLICT (book) DO UPDATE SET version = v.version + 1

-- name: banks
-- Every bank of the book, as validation needs it.
SELECT bic, name, state, opened_at FROM interbank_bank WHERE book = %(book)s ORDER BY bic

-- name: banks_page
-- Banks by their BIC, or only one.
SELECT bic, name, state, opened_at FROM interbank_bank
WHERE book = %(book)s AND bic > %(after)s AND (%(only)s::text IS NULL OR bic = %(only)s) ORDER BY bic LIMIT %(most)s

-- name: bank
-- A bank.
SELECT bic, name, state, opened_at FROM interbank_bank WHERE book = %(book)s AND bic = %(bic)s

-- name: keep_bank
-- Adds a bank, or gives one another name or state.
INSERT INTO interbank_bank (book, bic, name, state, opened_at) VALUES (%(book)s, %(bic)s, %(name)s, %(state)s, %(at)s)
ON CONFLICT (book, bic) DO UPDATE SET name = excluded.name, state = excluded.state

-- name: accounts
-- Every nostro and vostro of the book, as validation needs it.
SELECT side, bank, currency, number FROM interbank_account WHERE book = %(book)s

-- name: open_account
-- Adds a nostro or a vostro; one that is there stays.
INSERT INTO interbank_account (book, side, bank, currency, account, number, opened_at)
VALUES (%(book)s, %(side)s, %(bank)s, %(currency)s, %(account)s, %(number)s, %(at)s)
ON CONFLICT (book, side, bank, currency) DO NOTHING

-- name: nostros
-- Our accounts at other banks with what is on them, of one bank or of all.
SELECT bank, currency, number, account, code, exponent, state, floor, ceiling, balance, held, available, opened_at
FROM nostro_accounts
WHERE book = %(book)s AND (bank, currency) > (%(bank)s, %(currency)s) AND (%(only)s::text IS NULL OR bank = %(only)s)
ORDER BY bank, currency LIMIT %(most)s

-- name: vostros
-- Other banks' accounts with us with what is on them, of one bank or of all.
SELECT bank, currency, number, account, code, exponent, state, floor, ceiling, balance, held, available, opened_at
FROM vostro_accounts
WHERE book = %(book)s AND (bank, currency) > (%(bank)s, %(currency)s) AND (%(only)s::text IS NULL OR bank = %(only)s)
ORDER BY bank, currency LIMIT %(most)s

-- name: nostro
-- Our account at a bank in a currency.
SELECT bank, currency, number, account, code, exponent, state, floor, ceiling, balance, held, available, opened_at
FROM nostro_accounts WHERE book = %(book)s AND bank = %(bank)s AND currency = %(currency)s

-- name: vostro
-- A bank's account with us in a currency.
SELECT bank, currency, number, account, code, exponent, state, floor, ceiling, balance, held, available, opened_at
FROM vostro_accounts WHERE book = %(book)s AND bank = %(bank)s AND currency = %(currency)s

-- name: windows
-- When currencies are settled.
SELECT currency, method, calendar, set_at FROM settlement_windows WHERE book = %(book)s ORDER BY currency, method

-- name: keep_window
-- Says when a currency is settled, by one method or by every other.
INSERT INTO settlement_windows (book, currency, method, calendar, set_at)
VALUES (%(book)s, %(currency)s, %(method)s, %(calendar)s, %(at)s)
ON CONFLICT (book, currency, method) DO UPDATE SET calendar = excluded.calendar, set_at = excluded.set_at

-- name: drop_window
-- Takes the hours of a currency away.
DELETE FROM settlement_windows WHERE book = %(book)s AND currency = %(currency)s AND method = %(method)s

-- name: look_again
-- What waits for a window is looked at again at once, since the hours have changed.
UPDATE settlement_transactions SET next_at = %(at)s
WHERE book = %(book)s AND next_at > %(at)s AND state = 'PENDING' AND waiting_for = 'window' AND currency = %(currency)s

-- name: limits
-- What may leave without a person looking at it.
SELECT bank, currency, single, daily, hourly FROM interbank_limit WHERE book = %(book)s ORDER BY bank, currency

-- name: keep_limit
-- Sets what may leave a bank's vostro without a person looking at it.
INSERT INTO interbank_limit (book, bank, currency, single, daily, hourly, set_at)
VALUES (%(book)s, %(bank)s, %(currency)s, %(single)s, %(daily)s, %(hourly)s, %(at)s)
ON CONFLICT (book, bank, currency) DO UPDATE
SET single = excluded.single, daily = excluded.daily, hourly = excluded.hourly, set_at = excluded.set_at

-- name: usage
-- What banks have had settled lately: the sum of a business day, and the number of an hour.
SELECT u.bank, u.currency, coalesce(s.total, 0) AS total, coalesce(s.count, 0) AS count
FROM unnest(%(banks)s::text[], %(currencies)s::text[], %(days)s::timestamptz[]) AS u (bank, currency, day)
CROSS JOIN LATERAL (
    SELECT sum(t.amount) FILTER (WHERE coalesce(t.retried_at, t.accepted_at) >= u.day) AS total,
        count(*) FILTER (WHERE coalesce(t.retried_at, t.accepted_at) > %(hour)s) AS count
    FROM (
        SELECT a.amount, a.accepted_at, a.retried_at, a.currency, a.state, a.compensates FROM settlement_transactions AS a
        WHERE a.book = %(book)s AND a.from_bank = u.bank AND a.accepted_at >= least(u.day, %(hour)s)
        UNION ALL
        SELECT r.amount, r.accepted_at, r.retried_at, r.currency, r.state, r.compensates FROM settlement_transactions AS r
        WHERE r.book = %(book)s AND r.from_bank = u.bank AND r.retried_at >= least(u.day, %(hour)s)
            AND r.accepted_at < least(u.day, %(hour)s)
    ) AS t
    WHERE t.currency = u.currency AND t.state NOT IN ('FAILED', 'ROLLED_BACK') AND t.compensates IS NULL
) AS s

-- name: lock_usage
-- Lets nobody else count what these banks have had settled until this transaction ends; in one order, so nobody waits in a circle.
SELECT pg_advisory_xact_lock(k.key)
FROM (
    SELECT hashtextextended('interbank.usage ' || %(book)s || ' ' || u.bank || ' ' || u.currency, 0) AS key
    FROM unnest(%(banks)s::text[], %(currencies)s::text[]) AS u (bank, currency)
    ORDER BY key OFFSET 0
) AS k

-- name: names
-- The list of names.
SELECT name FROM interbank_sanction WHERE book = %(book)s ORDER BY name

-- name: drop_names
-- Takes the names of a source off the list.
DELETE FROM interbank_sanction WHERE book = %(book)s AND source = %(source)s

-- name: add_names
-- Puts names on the list; one that another source has brought stays that one's.
INSERT INTO interbank_sanction (book, name, source)
SELECT %(book)s, n.name, %(source)s FROM unnest(%(names)s::text[]) AS n (name) ORDER BY n.name
ON CONFLICT (book, name) DO NOTHING

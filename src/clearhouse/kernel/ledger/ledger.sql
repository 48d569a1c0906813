-- name: open_accounts
-- New accounts; a code and an asset that are taken are left out.
INSERT INTO ledger_account (book, id, code, asset, exponent, normal, floor, ceiling, opened_at, metadata)
SELECT %(book)s, n.id, n.code, n.asset, n.exponent, n.normal, n.floor, n.ceiling, %(at)s, n.metadata
FROM unnest(%(ids)s::uuid[], %(codes)s::text[], %(assets)s::text[], %(exponents)s::int[], %(normals)s::text[],
    %(floors)s::numeric[], %(ceilings)s::numeric[], %(metadata)s::text[])
    AS n (id, code, asset, exponent, normal, floor, ceiling, metadata)
ORDER BY n.code, n.asset
ON CONFLICT DO NOTHING

-- name: accounts_of_names
-- Accounts by code and asset, whole.
SELECT a.* FROM unnest(%(codes)s::text[], %(assets)s::text[]) AS asked (code, asset)
CROSS JOIN LATERAL (
    SELECT * FROM ledger_account
    WHERE book = %(book)s AND ledger_account.code = asked.code AND ledger_account.asset = asked.asset
    LIMIT 1
) AS a

-- name: account_by_id
-- One account, whole.
SELECT * FROM ledger_account WHERE book = %(book)s AND id = %(id)s

-- name: account_by_name
-- One account by its code and asset, whole.
SELECT * FROM ledger_account WHERE book = %(book)s AND code = %(code)s AND asset = %(asset)s

-- name: accounts_page
-- Accounts in the order of their codes, after a given one, all whose code starts in a given way.
SELECT * FROM ledger_account
WHERE book = %(book)s AND (code, asset) > (%(after_code)s, %(after_asset)s)
    AND starts_with(code, %(prefix)s)
    AND (%(asset)s::text IS NULL OR asset = %(asset)s)
ORDER BY code, asset
LIMIT %(most)s

-- name: assets
-- The assets of a book beside the currencies of ISO 4217.
SELECT code, exponent FROM asset WHERE book = %(book)s ORDER BY code

-- name: add_assets
-- New assets; codes that are taken are left out.
INSERT INTO asset (book, code, exponent)
SELECT %(book)s, n.code, n.exponent FROM unnest(%(codes)s::text[], %(exponents)s::int[]) AS n (code, exponent)
ORDER BY n.code
ON CONFLICT DO NOTHING

-- name: lock_accounts_whole
-- Accounts to be changed, locked in id order.
SELECT a.*
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_account AS a ON a.book = asked.book AND a.id = asked.id
ORDER BY a.id FOR NO KEY UPDATE OF a

-- name: change_account
-- A new state or new limits of an account that is locked; its version moves, so nobody decides on the old ones.
UPDATE ledger_account
SET state = %(state)s, floor = %(floor)s, ceiling = %(ceiling)s, metadata = %(metadata)s, version = version + 1
WHERE book = %(book)s AND id = %(id)s

-- name: as_of_instant
-- The account's counters right after its last transfer at or before an instant.
SELECT booked, debits_posted, credits_posted, debits_pending, credits_pending FROM (
    (SELECT booked, sequence, debit_debits_posted AS debits_posted, debit_credits_posted AS credits_posted,
        debit_debits_pending AS debits_pending, debit_credits_pending AS credits_pending
    FROM ledger_transfer WHERE book = %(book)s AND debit = %(id)s AND booked <= %(at)s
    ORDER BY booked DESC, sequence DESC LIMIT 1)
    UNION ALL
    (SELECT booked, sequence, credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending
    FROM ledger_transfer WHERE book = %(book)s AND credit = %(id)s AND booked <= %(at)s
    ORDER BY booked DESC, sequence DESC LIMIT 1)
) AS last ORDER BY booked DESC, sequence DESC LIMIT 1

-- name: shifted
-- What effective dating has moved into the days up to a date, net.
SELECT coalesce(sum(debits), 0) AS debits, coalesce(sum(credits), 0) AS credits
FROM ledger_shift WHERE book = %(book)s AND account = %(id)s AND day <= %(day)s

-- name: settled_until
-- The instant before which nothing can be booked any more: the oldest writer at work began later. It is that of this
-- statement, taken before the look around: whoever is not at work by then books after it.
SELECT least(statement_timestamp(), min(xact_start)) AS instant
FROM pg_stat_activity
WHERE application_name = 'clearhouse_writer' AND datname = current_database() AND state <> 'idle'

-- name: statement_forward
-- The lines of an account in the order of booking, after a given line.
SELECT * FROM (
    (SELECT t.*, true AS is_debit FROM ledger_transfer AS t
    WHERE t.book = %(book)s AND t.debit = %(id)s AND (t.booked, t.sequence) > (%(after)s, %(sequence)s) AND t.booked < %(until)s
    ORDER BY t.booked, t.sequence LIMIT %(most)s)
    UNION ALL
    (SELECT t.*, false FROM ledger_transfer AS t
    WHERE t.book = %(book)s AND t.credit = %(id)s AND (t.booked, t.sequence) > (%(after)s, %(sequence)s) AND t.booked < %(until)s
    ORDER BY t.booked, t.sequence LIMIT %(most)s)
) AS lines ORDER BY booked, sequence LIMIT %(most)s

-- name: statement_backward
-- The same, newest first, before a given line.
SELECT * FROM (
    (SELECT t.*, true AS is_debit FROM ledger_transfer AS t
    WHERE t.book = %(book)s AND t.debit = %(id)s AND (t.booked, t.sequence) < (%(before)s, %(sequence)s) AND t.booked >= %(since)s
    ORDER BY t.booked DESC, t.sequence DESC LIMIT %(most)s)
    UNION ALL
    (SELECT t.*, false FROM ledger_transfer AS t
    WHERE t.book = %(book)s AND t.credit = %(id)s AND (t.booked, t.sequence) < (%(before)s, %(sequence)s) AND t.booked >= %(since)s
    ORDER BY t.booked DESC, t.sequence DESC LIMIT %(most)s)
) AS lines ORDER BY booked DESC, sequence DESC LIMIT %(most)s

-- name: transaction
-- The legs of a transaction, in order.
SELECT t.*, a.asset, a.exponent FROM (
    SELECT * FROM ledger_transfer WHERE book = %(book)s AND id = %(id)s AND transaction = %(id)s
    UNION ALL
    SELECT * FROM ledger_transfer WHERE book = %(book)s AND transaction = %(id)s AND id <> transaction
) AS t
JOIN ledger_account AS a ON a.book = t.book AND a.id = t.debit
ORDER BY t.position

-- name: by_reference
-- Transactions by their reference, in the order of their ids, all legs of each.
SELECT t.*, a.asset, a.exponent FROM ledger_transfer AS t
JOIN ledger_account AS a ON a.book = t.book AND a.id = t.debit
WHERE t.book = %(book)s AND t.reference = %(reference)s AND t.transaction IN (
    SELECT f.id FROM ledger_transfer AS f
    WHERE f.book = %(book)s AND f.reference = %(reference)s AND f.id > %(after)s AND f.id = f.transaction
    ORDER BY f.id LIMIT %(most)s
)
ORDER BY t.transaction, t.position

-- name: by_external_reference
-- Transactions by the reference that the outside world knows them by, in the order of their ids, all legs of each.
SELECT t.*, a.asset, a.exponent FROM ledger_transfer AS t
JOIN ledger_account AS a ON a.book = t.book AND a.id = t.debit
WHERE t.book = %(book)s AND t.external_reference = %(reference)s AND t.transaction IN (
    SELECT f.id FROM ledger_transfer AS f
    WHERE f.book = %(book)s AND f.external_reference = %(reference)s AND f.id > %(after)s AND f.id = f.transaction
    ORDER BY f.id LIMIT %(most)s
)
ORDER BY t.transaction, t.position

-- name: hold
-- A hold with what it was made from.
SELECT h.*, t.debit, t.credit, t.amount, t.booked, t.transaction, a.asset, a.exponent
FROM ledger_hold AS h
JOIN ledger_transfer AS t ON t.book = h.book AND t.id = h.id
JOIN ledger_account AS a ON a.book = t.book AND a.id = t.debit
WHERE h.book = %(book)s AND h.id = %(id)s

-- name: pending_holds_page
-- Holds that are open, in the order of their ids.
SELECT h.*, t.debit, t.credit, t.amount, t.booked, t.transaction, a.asset, a.exponent
FROM ledger_hold AS h
JOIN ledger_transfer AS t ON t.book = h.book AND t.id = h.id
JOIN ledger_account AS a ON a.book = t.book AND a.id = t.debit
WHERE h.book = %(book)s AND h.id > %(after)s AND h.state = 'pending'
ORDER BY h.id LIMIT %(most)s

-- name: trial_balance
-- Per asset: what is on the debit and on the credit side of all accounts, posted and pending.
SELECT asset, min(exponent) AS exponent, count(*) AS accounts,
    sum(debits_posted) AS debits_posted, sum(credits_posted) AS credits_posted,
    sum(debits_pending) AS debits_pending, sum(credits_pending) AS credits_pending
FROM ledger_account WHERE book = %(book)s
GROUP BY asset ORDER BY asset

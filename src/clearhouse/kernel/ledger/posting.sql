-- name: accounts_by_name
-- The accounts that codes and assets name, with the name each was asked for by.
SELECT a.* FROM unnest(%(codes)s::text[], %(assets)s::text[]) AS asked (code, asset)
CROSS JOIN LATERAL (
    SELECT id::text, code, asset, exponent, normal, state, floor, ceiling, version,
        debits_posted, credits_posted, debits_pending, credits_pending, booked
    FROM ledger_account
    WHERE book = %(book)s AND ledger_account.code = asked.code AND ledger_account.asset = asked.asset
    LIMIT 1
) AS a

-- name: accounts_by_id
-- The accounts of these ids, as they are committed.
SELECT id::text, code, asset, exponent, normal, state, floor, ceiling, version,
    debits_posted, credits_posted, debits_pending, credits_pending, booked
FROM ledger_account
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])

-- name: lock_accounts
-- The accounts of these ids, locked in id order until the transaction ends.
SELECT id::text, code, asset, exponent, normal, state, floor, ceiling, version,
    debits_posted, credits_posted, debits_pending, credits_pending, booked
FROM ledger_account
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])
ORDER BY ledger_account.id
FOR NO KEY UPDATE

-- name: lock_holds
-- Locks the holds among these transfers, in id order, before any account is.
SELECT id FROM ledger_hold
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])
ORDER BY id
FOR NO KEY UPDATE

-- name: lock_reversals
-- Locks what was reversed so far of these transfers, in id order.
SELECT id FROM ledger_reversal
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])
ORDER BY id
FOR NO KEY UPDATE

-- name: targets
-- Earlier transfers with what is left of them.
SELECT t.id, t.kind, t.debit::text, t.credit::text, t.amount, h.state, coalesce(h.remaining, 0) AS remaining,
    coalesce(h.captured, 0) AS captured, h.expires_at, h.pinned_at, coalesce(r.reversed, 0) AS reversed,
    coalesce(r.reversed, 0) AS stored
FROM ledger_transfer AS t
LEFT JOIN ledger_hold AS h ON h.book = t.book AND h.id = t.id
LEFT JOIN ledger_reversal AS r ON r.book = t.book AND r.id = t.id
WHERE t.book = %(book)s AND t.id = ANY(%(ids)s::uuid[])

-- name: sealed_to
-- The last day that the book has closed.
SELECT sealed_to AS day FROM ledger_day WHERE book = %(book)s

-- name: apply_accounts
-- Writes the accounts' counters if nobody came between; says when, and up to which day the book is sealed.
SELECT booked_at, sealed FROM apply_accounts(
    %(book)s, %(ids)s::uuid[], %(versions)s::bigint[], %(debits)s::numeric[], %(credits)s::numeric[],
    %(held_debits)s::numeric[], %(held_credits)s::numeric[], %(last_booked)s
)

-- name: append_transfers
-- Appends transfers in the order in which they were decided; their sequence is drawn on the way.
COPY ledger_transfer (
    book, id, transaction, position, kind, booked, effective, debit, credit, amount,
    debit_debits_posted, debit_credits_posted, debit_debits_pending, debit_credits_pending,
    credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending,
    target, released, expires_at, reference, external_reference, metadata
) FROM STDIN

-- name: open_holds
-- New holds, as the batch leaves them.
INSERT INTO ledger_hold (book, id, state, remaining, captured, expires_at)
SELECT %(book)s, h.id, h.state, h.remaining, h.captured, h.expires_at
FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(remaining)s::numeric[], %(captured)s::numeric[], %(expires)s::timestamptz[])
    AS h (id, state, remaining, captured, expires_at)

-- name: change_holds
-- Holds captured, released or expired; they are locked already.
UPDATE ledger_hold AS h
SET state = n.state, remaining = n.remaining, captured = n.captured
FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(remaining)s::numeric[], %(captured)s::numeric[])
    AS n (id, state, remaining, captured)
WHERE h.book = %(book)s AND h.id = n.id

-- name: first_reversals
-- Transfers reversed for the first time; two at once meet at the key, and the later one looks again.
INSERT INTO ledger_reversal (book, id, reversed)
SELECT %(book)s, n.id, n.reversed FROM unnest(%(ids)s::uuid[], %(reversed)s::numeric[]) AS n (id, reversed)
ORDER BY n.id

-- name: more_reversals
-- Transfers reversed further; they are locked already.
UPDATE ledger_reversal AS r
SET reversed = n.reversed
FROM unnest(%(ids)s::uuid[], %(reversed)s::numeric[]) AS n (id, reversed)
WHERE r.book = %(book)s AND r.id = n.id

-- name: shift
-- Sums of what is effective on another day than it is booked; the accounts are locked already.
INSERT INTO ledger_shift AS s (book, account, day, debits, credits)
SELECT %(book)s, n.account, n.day, n.debits, n.credits
FROM unnest(%(accounts)s::uuid[], %(days)s::date[], %(debits)s::numeric[], %(credits)s::numeric[])
    AS n (account, day, debits, credits)
ORDER BY n.account, n.day
ON CONFLICT (book, account, day) DO UPDATE
SET debits = s.debits + excluded.debits, credits = s.credits + excluded.credits

-- name: existing
-- The transfers of these transactions, and whatever else has one of these transfer ids, leg by leg.
SELECT id, transaction, position, kind, debit::text, credit::text, amount, target, released, expires_at, booked, effective,
    reference, external_reference, metadata
FROM ledger_transfer
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])
UNION
SELECT id, transaction, position, kind, debit::text, credit::text, amount, target, released, expires_at, booked, effective,
    reference, external_reference, metadata
FROM ledger_transfer
WHERE book = %(book)s AND transaction = ANY(%(ids)s::uuid[]) AND id <> transaction
ORDER BY transaction, position

-- name: pin_holds
-- Disarms the expiry of holds that are about to be acted on outside; ended and expired ones stay as they are.
UPDATE ledger_hold AS h
SET pinned_at = %(at)s
FROM (
    SELECT book, id FROM ledger_hold
    WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND state = 'pending'
        AND (pinned_at IS NOT NULL OR expires_at IS NULL OR expires_at > %(at)s)
    ORDER BY id FOR NO KEY UPDATE
) AS mine
WHERE h.book = mine.book AND h.id = mine.id
RETURNING h.id

-- name: unpin_holds
-- The answer has come: holds may be captured, released and expire again.
UPDATE ledger_hold AS h
SET pinned_at = NULL
FROM (
    SELECT book, id FROM ledger_hold
    WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND pinned_at IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE
) AS mine
WHERE h.book = mine.book AND h.id = mine.id
RETURNING h.id

-- name: expired_holds
-- Holds whose time has come, nobody else's hands on them.
SELECT id FROM ledger_hold
WHERE book = %(book)s AND state = 'pending' AND pinned_at IS NULL AND expires_at <= %(at)s
ORDER BY id
LIMIT %(most)s
FOR NO KEY UPDATE SKIP LOCKED

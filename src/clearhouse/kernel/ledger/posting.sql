-- What is asked for by id is joined to a list that stands behind OFFSET 0: so its rows are looked up one by one, whatever the
-- statistics say, and a new table costs no more than an old one.

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
SELECT a.id::text, a.code, a.asset, a.exponent, a.normal, a.state, a.floor, a.ceiling, a.version,
    a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending, a.booked
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_account AS a ON a.book = asked.book AND a.id = asked.id

-- name: lock_accounts
-- The accounts of these ids, locked in id order until the transaction ends.
SELECT a.id::text, a.code, a.asset, a.exponent, a.normal, a.state, a.floor, a.ceiling, a.version,
    a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending, a.booked
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_account AS a ON a.book = asked.book AND a.id = asked.id
ORDER BY a.id
FOR NO KEY UPDATE OF a

-- name: lock_holds
-- Locks the holds among these transfers, in id order, before any account is.
SELECT h.id
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_hold AS h ON h.book = asked.book AND h.id = asked.id
ORDER BY h.id
FOR NO KEY UPDATE OF h

-- name: lock_reversals
-- Locks what was reversed so far of these transfers, in id order.
SELECT r.id
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_reversal AS r ON r.book = asked.book AND r.id = asked.id
ORDER BY r.id
FOR NO KEY UPDATE OF r

-- name: targets
-- Earlier transfers with what is left of them.
SELECT t.id, t.kind, t.debit::text, t.credit::text, t.amount, h.state, coalesce(h.remaining, 0) AS remaining,
    coalesce(h.captured, 0) AS captured, h.expires_at, h.pinned_at, coalesce(r.reversed, 0) AS reversed,
    coalesce(r.reversed, 0) AS stored
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_transfer AS t ON t.book = asked.book AND t.id = asked.id
LEFT JOIN ledger_hold AS h ON h.book = t.book AND h.id = t.id
LEFT JOIN ledger_reversal AS r ON r.book = t.book AND r.id = t.id

-- name: sealed_to
-- The last day that the book has closed.
SELECT sealed_to AS day FROM ledger_day WHERE book = %(book)s

-- name: post_transfers
-- Writes the accounts' counters and appends the transfers if nobody came between; says when, and on which day.
SELECT booked_at, day FROM post_transfers(
    %(book)s, %(sealed)s, %(ids)s::uuid[], %(versions)s::bigint[], %(debits)s::numeric[], %(credits)s::numeric[],
    %(held_debits)s::numeric[], %(held_credits)s::numeric[], %(last_booked)s, %(moves)s::ledger_transfer[], %(lane)s
)

-- name: open_holds
-- New holds, as the batch leaves them.
INSERT INTO ledger_hold (book, id, state, remaining, captured, expires_at)
SELECT %(book)s, h.id, h.state, h.remaining, h.captured, h.expires_at
FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(remaining)s::numeric[], %(captured)s::numeric[], %(expires)s::timestamptz[])
    AS h (id, state, remaining, captured, expires_at)

-- name: change_holds
-- Holds captured, released or expired; they are locked already.
UPDATE ledger_hold AS h
SET state = n.state, remaining = n.remaining, captured = n.captured, expires_at = n.expires_at,
    pinned_at = n.pinned_at
FROM (
    SELECT %(book)s::int AS book, u.id, u.state, u.remaining, u.captured, u.expires_at, u.pinned_at
    FROM unnest(
        %(ids)s::uuid[], %(states)s::text[], %(remaining)s::numeric[], %(captured)s::numeric[], %(expires)s::timestamptz[],
        %(pins)s::timestamptz[]
    ) AS u (id, state, remaining, captured, expires_at, pinned_at) OFFSET 0
) AS n
WHERE h.book = n.book AND h.id = n.id

-- name: first_reversals
-- Transfers reversed for the first time; two at once meet at the key, and the later one looks again.
INSERT INTO ledger_reversal (book, id, reversed)
SELECT %(book)s, n.id, n.reversed FROM unnest(%(ids)s::uuid[], %(reversed)s::numeric[]) AS n (id, reversed)
ORDER BY n.id

-- name: more_reversals
-- Transfers reversed further; they are locked already.
UPDATE ledger_reversal AS r
SET reversed = n.reversed
FROM (
    SELECT %(book)s::int AS book, u.id, u.reversed
    FROM unnest(%(ids)s::uuid[], %(reversed)s::numeric[]) AS u (id, reversed) OFFSET 0
) AS n
WHERE r.book = n.book AND r.id = n.id

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
SELECT t.id, t.transaction, t.position, t.kind, t.debit::text, t.credit::text, t.amount, t.target, t.released, t.expires_at,
    t.booked, t.effective, t.reference, t.external_reference, t.metadata
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_transfer AS t ON t.book = asked.book AND t.id = asked.id
UNION
SELECT t.id, t.transaction, t.position, t.kind, t.debit::text, t.credit::text, t.amount, t.target, t.released, t.expires_at,
    t.booked, t.effective, t.reference, t.external_reference, t.metadata
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_transfer AS t ON t.book = asked.book AND t.transaction = asked.id AND t.id <> t.transaction
ORDER BY transaction, position

-- name: pin_holds
-- Disarms the expiry of holds that are about to be acted on outside; ended and expired ones stay as they are.
UPDATE ledger_hold AS h
SET pinned_at = %(at)s
FROM (
    SELECT o.book, o.id
    FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
    JOIN ledger_hold AS o ON o.book = asked.book AND o.id = asked.id
    WHERE o.state = 'pending' AND (o.pinned_at IS NOT NULL OR o.expires_at IS NULL OR o.expires_at > %(at)s)
    ORDER BY o.id FOR NO KEY UPDATE OF o
) AS mine
WHERE h.book = mine.book AND h.id = mine.id
RETURNING h.id

-- name: unpin_holds
-- The answer has come: holds may be captured, released and expire again.
UPDATE ledger_hold AS h
SET pinned_at = NULL
FROM (
    SELECT o.book, o.id
    FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
    JOIN ledger_hold AS o ON o.book = asked.book AND o.id = asked.id
    WHERE o.pinned_at IS NOT NULL
    ORDER BY o.id FOR NO KEY UPDATE OF o
) AS mine
WHERE h.book = mine.book AND h.id = mine.id
RETURNING h.id

-- name: answer_holds
-- The answer has come, perhaps long after the holds would have expired: they may be captured and released, and expire no more.
UPDATE ledger_hold AS h
SET pinned_at = NULL, expires_at = NULL
FROM (
    SELECT o.book, o.id
    FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
    JOIN ledger_hold AS o ON o.book = asked.book AND o.id = asked.id
    WHERE o.pinned_at IS NOT NULL
    ORDER BY o.id FOR NO KEY UPDATE OF o
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

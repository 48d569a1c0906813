-- name: keys
-- What is kept under some keys of a kind of command.
SELECT k.principal, k.key, k.fingerprint, k.answer
FROM (
    SELECT %(book)s::int AS book, u.principal, u.key
    FROM unnest(%(principals)s::uuid[], %(keys)s::text[]) AS u (principal, key) OFFSET 0
) AS asked
JOIN command_key AS k
    ON k.book = asked.book AND k.kind = %(kind)s AND k.principal = asked.principal AND k.key = asked.key

-- name: store_keys
-- Keeps answers under their keys, in order: two batches that share keys meet at the first of them, never in a circle.
INSERT INTO command_key (book, principal, kind, key, fingerprint, answer)
SELECT %(book)s, n.principal, %(kind)s, n.key, n.fingerprint, n.answer
FROM unnest(%(principals)s::uuid[], %(keys)s::text[], %(fingerprints)s::bytea[], %(answers)s::text[])
    AS n (principal, key, fingerprint, answer)
ORDER BY n.principal, n.key

-- name: forget_keys
-- Drops the keys that are older than they are kept.
DELETE FROM command_key WHERE at < %(before)s

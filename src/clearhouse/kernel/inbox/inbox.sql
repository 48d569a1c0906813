-- name: bury
-- Puts dead letters aside, each once.
INSERT INTO inbox_dead (book, id, subscription, message, source, subject, body, length, code, reason, dead_at)
SELECT %(book)s, n.id, %(subscription)s, n.message, n.source, n.subject, n.body, n.length, n.code, n.reason, %(at)s
FROM unnest(
    %(ids)s::uuid[], %(messages)s::text[], %(sources)s::text[], %(subjects)s::text[], %(bodies)s::bytea[], %(lengths)s::bigint[],
    %(codes)s::text[], %(reasons)s::text[]
) AS n (id, message, source, subject, body, length, code, reason)
ORDER BY n.id
ON CONFLICT DO NOTHING
RETURNING id

-- name: trim
-- Forgets the oldest dead letters of a subscription beyond so many.
DELETE FROM inbox_dead AS d
USING (
    SELECT dead_at, id FROM inbox_dead
    WHERE book = %(book)s AND subscription = %(subscription)s
    ORDER BY dead_at DESC, id DESC OFFSET %(most)s LIMIT 1
) AS last
WHERE d.book = %(book)s AND d.subscription = %(subscription)s AND (d.dead_at, d.id) <= (last.dead_at, last.id)

-- name: letter
-- A dead letter with its body.
SELECT id, subscription, message, source, subject, body, length, code, reason, dead_at, state, replays, decided_at, decided_by,
    remark
FROM inbox_dead WHERE book = %(book)s AND id = %(id)s

-- name: letters
-- The dead letters of a book after one, newest first.
SELECT id, subscription, message, source, subject, body, length, code, reason, dead_at, state, replays, decided_at, decided_by,
    remark
FROM inbox_dead
WHERE book = %(book)s AND (dead_at, id) < (%(before)s, %(id)s) AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY dead_at DESC, id DESC
LIMIT %(most)s

-- name: decide
-- Decides on a dead letter: it is to be tried again, though somebody had let it be, or it is let be.
UPDATE inbox_dead
SET state = %(state)s, replays = replays + (%(state)s = 'due')::int, decided_at = %(at)s, decided_by = %(by)s, remark = %(remark)s
WHERE book = %(book)s AND id = %(id)s
    AND (state = 'waiting' OR (state = 'dismissed' AND %(state)s = 'due'))
RETURNING id, subscription, message, source, subject, body, length, code, reason, dead_at, state, replays, decided_at,
    decided_by, remark

-- name: due
-- The dead letters of a subscription that are to be tried again.
SELECT id, subscription, message, source, subject, body, length, code, reason, dead_at, state, replays, decided_at, decided_by,
    remark
FROM inbox_dead WHERE book = %(book)s AND subscription = %(subscription)s AND state = 'due'
ORDER BY id LIMIT %(most)s

-- name: tried
-- Says how a try ended: it had its effect, or it waits again with a new reason.
UPDATE inbox_dead SET state = %(state)s, code = %(code)s, reason = %(reason)s
WHERE book = %(book)s AND id = %(id)s AND state = 'due' AND replays = %(replays)s

-- name: create
-- A new structure with its first change; nothing happens if the id is taken.
WITH made AS (
    INSERT INTO records_structure (
        book, settleid, primary_key, metrics, aggregation, settlement, tolerance, asset, exponent, dispute_hours, sample,
        changes, operation, at, by_whom, settled_at
    )
    VALUES (
        %(book)s, %(settleid)s, %(primary_key)s, %(metrics)s::text[], %(aggregation)s, %(settlement)s, %(tolerance)s, %(asset)s,
        %(exponent)s, %(dispute_hours)s, %(sample)s, 1, 'Create', %(at)s, %(by)s, %(at)s
    )
    ON CONFLICT (book, settleid) DO NOTHING
    RETURNING book, number, at, by_whom
)

INSERT INTO records_change (book, structure, change, operation, round, at, by_whom, settled_at)
SELECT m.book, m.number, 1, 'Create', 1, m.at, m.by_whom, m.at AS settled_at FROM made AS m

-- name: structure
-- A structure as it stands, with the round that records go into now.
SELECT s.number, s.settleid, s.primary_key, s.metrics, s.aggregation, s.settlement, s.tolerance, s.asset, s.exponent,
    s.dispute_hours, s.changes, s.operation, s.at, s.by_whom, s.settled_at, c.position AS round
FROM records_structure AS s JOIN cut AS c ON c.book = s.book AND c.name = 'records:' || s.settleid
WHERE s.book = %(book)s AND s.settleid = %(settleid)s

-- name: structures
-- Structures in the order of their ids.
SELECT s.number, s.settleid, s.primary_key, s.metrics, s.aggregation, s.settlement, s.tolerance, s.asset, s.exponent,
    s.dispute_hours, s.changes, s.operation, s.at, s.by_whom, s.settled_at, c.position AS round
FROM records_structure AS s JOIN cut AS c ON c.book = s.book AND c.name = 'records:' || s.settleid
WHERE s.book = %(book)s AND s.settleid > %(after)s
ORDER BY s.settleid LIMIT %(most)s

-- name: advance
-- Numbers so many changes of each structure; they are locked in the order of their numbers. Their cuts are held, so that the
-- round of each is the one that it stays in until we commit. Time never goes back.
UPDATE records_structure AS s
SET changes = s.changes + n.count, added = s.added + n.added, operation = %(operation)s, at = greatest(s.at, %(at)s),
    by_whom = n.by_whom, settled_at = CASE WHEN %(settles)s THEN greatest(s.at, %(at)s) ELSE s.settled_at END
FROM (
    SELECT o.book, o.number, u.count, u.added, u.by_whom, c.position
    FROM unnest(%(numbers)s::int[], %(counts)s::bigint[], %(added)s::bigint[], %(by)s::text[])
        AS u (number, count, added, by_whom)
    JOIN records_structure AS o ON o.book = %(book)s AND o.number = u.number
    JOIN cut AS c ON c.book = o.book AND c.name = 'records:' || o.settleid
    ORDER BY o.number
    FOR NO KEY UPDATE OF o
) AS n
WHERE s.book = n.book AND s.number = n.number
RETURNING s.number, s.changes, s.added, s.at, s.settled_at, n.position AS round

-- name: take_loads
-- Gives what was loaded since the last run to this one.
UPDATE reconciliation_load SET run = %(run)s WHERE book = %(book)s AND name = %(name)s AND run IS NULL

-- name: given
-- Everything that a run looks at: what was loaded for it, and what it found open; and how much of each side that is.
WITH carried AS (
    SELECT coalesce(array_agg(b.item ORDER BY b.item), '{}') AS items
    FROM reconciliation_break AS b WHERE b.book = %(book)s AND b.name = %(name)s AND b.state = 'open'
),
given AS (
    SELECT i.number
    FROM reconciliation_load AS l
    JOIN reconciliation_item AS i ON i.book = l.book AND i.load = l.id
    WHERE l.book = %(book)s AND l.run = %(run)s
    UNION ALL
    SELECT unnest(c.items) FROM carried AS c
)
SELECT (SELECT c.items::text FROM carried AS c) AS carried, coalesce(array_agg(g.number ORDER BY g.number)::text, '{}') AS items
FROM given AS g

-- name: given_then
-- Everything that an earlier run looked at.
SELECT r.carried::text AS carried, (
    SELECT coalesce(array_agg(g.number ORDER BY g.number)::text, '{}') FROM (
        SELECT i.number FROM reconciliation_load AS l
        JOIN reconciliation_item AS i ON i.book = l.book AND i.load = l.id
        WHERE l.book = %(book)s AND l.run = %(run)s
        UNION ALL
        SELECT unnest(r.carried)
    ) AS g
) AS items
FROM reconciliation_run AS r
WHERE r.book = %(book)s AND r.id = %(run)s

-- name: part_all
-- Takes items out of their matches, to match them again and forget it.
DELETE FROM reconciliation_part WHERE book = %(book)s AND item = ANY(%(items)s::bigint[])

-- name: add_sums
-- What a run was given and what became of it, per side and asset.
INSERT INTO reconciliation_sum (
    book, run, side, asset, exponent, new_items, new, carried_items, carried, matched_items, matched, open_items, open
)
SELECT %(book)s, %(run)s, i.side, i.asset, min(i.exponent),
    count(*) FILTER (WHERE c.item IS NULL), coalesce(sum(i.amount) FILTER (WHERE c.item IS NULL), 0),
    count(c.item), coalesce(sum(i.amount) FILTER (WHERE c.item IS NOT NULL), 0),
    count(p.item), coalesce(sum(i.amount) FILTER (WHERE p.item IS NOT NULL), 0),
    count(*) FILTER (WHERE p.item IS NULL), coalesce(sum(i.amount) FILTER (WHERE p.item IS NULL), 0)
FROM unnest(%(items)s::bigint[]) AS u (number)
JOIN reconciliation_item AS i ON i.book = %(book)s AND i.number = u.number
LEFT JOIN reconciliation_part AS p ON p.book = %(book)s AND p.item = u.number
LEFT JOIN unnest(%(carried)s::bigint[]) AS c (item) ON c.item = u.number
GROUP BY i.side, i.asset

-- name: add_breaks
-- A break for everything that is left open and has none; if the other side has the same text in it, the amount is what differs.
WITH rest AS (
    SELECT i.number, i.name, i.side, i.asset, i.day, i.reference, i.end_to_end
    FROM unnest(%(left)s::bigint[]) AS u (number)
    JOIN reconciliation_item AS i ON i.book = %(book)s AND i.number = u.number
),
named AS (
    SELECT DISTINCT side, asset, kind, key
    FROM rest CROSS JOIN LATERAL (VALUES ('reference', reference), ('end_to_end', end_to_end)) AS t (kind, key)
    WHERE key IS NOT NULL
)
INSERT INTO reconciliation_break (book, item, name, day, state, reason, opened_at)
SELECT %(book)s, r.number, r.name, r.day, 'open', CASE
        WHEN n.key IS NOT NULL OR e.key IS NOT NULL THEN 'amount_differs'
        WHEN r.side = 'ours' THEN 'missing_theirs' ELSE 'missing_ours'
    END, %(at)s::timestamptz
FROM rest AS r
LEFT JOIN named AS n
    ON n.kind = 'reference' AND n.asset = r.asset AND n.key = r.reference
    AND n.side = CASE r.side WHEN 'ours' THEN 'theirs' ELSE 'ours' END
LEFT JOIN named AS e
    ON e.kind = 'end_to_end' AND e.asset = r.asset AND e.key = r.end_to_end
    AND e.side = CASE r.side WHEN 'ours' THEN 'theirs' ELSE 'ours' END
ORDER BY r.number
ON CONFLICT (book, item) DO NOTHING

-- name: close_breaks
-- Closes the breaks of items that a run found open and has matched.
UPDATE reconciliation_break AS b SET state = 'closed', closed_at = %(at)s
FROM unnest(%(carried)s::bigint[]) AS u (item)
JOIN reconciliation_part AS p ON p.book = %(book)s AND p.item = u.item AND p.batch = %(run)s
WHERE b.book = %(book)s AND b.item = u.item AND b.state = 'open'
RETURNING b.item, b.approval

-- name: add_run
-- A run that is done.
INSERT INTO reconciliation_run (book, id, name, version, at, by, carried, matches, digest)
VALUES (%(book)s, %(id)s, %(name)s, %(version)s, %(at)s, %(by)s, %(carried)s::bigint[], %(matches)s, %(digest)s)

-- name: differences
-- What the matches of a batch differ by and what is to be posted for it.
SELECT m.batch, m.number, m.asset, m.exponent, m.difference
FROM reconciliation_match AS m
WHERE m.book = %(book)s AND m.batch = %(batch)s AND m.is_posted
ORDER BY m.number

-- name: run
-- A run.
SELECT id, name, version, at, by, matches, digest FROM reconciliation_run WHERE book = %(book)s AND id = %(run)s

-- name: runs_page
-- The runs of a rule set, newest first.
SELECT id, name, version, at, by, matches, digest
FROM reconciliation_run
WHERE book = %(book)s AND name = %(name)s AND id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
ORDER BY id DESC
LIMIT %(most)s

-- name: sums
-- What some runs were given and what became of it.
SELECT run, side, asset, exponent, new_items, new, carried_items, carried, matched_items, matched, open_items, open
FROM reconciliation_sum
WHERE book = %(book)s AND run = ANY(%(runs)s::uuid[])
ORDER BY run, side, asset

-- name: take_loads
-- Gives what was loaded since the last run to this one.
UPDATE reconciliation_load SET run = %(run)s WHERE book = %(book)s AND name = %(name)s AND run IS NULL

-- name: given
-- Everything that a run looks at: what was loaded for it, from its first to its last, and what it found open; and how many
-- matches were undone before.
WITH loaded AS (
    SELECT i.number
    FROM reconciliation_load AS l
    CROSS JOIN LATERAL (SELECT number FROM reconciliation_item WHERE book = %(book)s AND load = l.id OFFSET 0) AS i
    WHERE l.book = %(book)s AND l.run = %(run)s
),
given AS (
    SELECT coalesce((
        SELECT array_agg(b.item ORDER BY b.item) FROM reconciliation_break AS b
        WHERE b.book = %(book)s AND b.name = %(name)s AND b.state = 'open'
    ), '{}') AS carried
)
SELECT g.carried::text AS carried, (
    SELECT coalesce(array_agg(e.number ORDER BY e.number)::text, '{}')
    FROM (SELECT l.number FROM loaded AS l UNION ALL SELECT unnest(g.carried)) AS e
) AS items, (SELECT count(*) FROM loaded) AS loaded, (SELECT coalesce(min(l.number), 0) FROM loaded AS l) AS first,
    (SELECT coalesce(max(l.number), 0) FROM loaded AS l) AS last, n.undone
FROM given AS g
JOIN reconciliation AS n ON n.book = %(book)s AND n.name = %(name)s

-- name: given_then
-- Everything that an earlier run looked at.
WITH loaded AS (
    SELECT i.number
    FROM reconciliation_load AS l
    CROSS JOIN LATERAL (SELECT number FROM reconciliation_item WHERE book = %(book)s AND load = l.id OFFSET 0) AS i
    WHERE l.book = %(book)s AND l.run = %(run)s
)
SELECT r.carried::text AS carried, (
    SELECT coalesce(array_agg(e.number ORDER BY e.number)::text, '{}')
    FROM (SELECT l.number FROM loaded AS l UNION ALL SELECT unnest(r.carried)) AS e
) AS items, (SELECT count(*) FROM loaded) AS loaded, (SELECT coalesce(min(l.number), 0) FROM loaded AS l) AS first,
    (SELECT coalesce(max(l.number), 0) FROM loaded AS l) AS last, r.undone
FROM reconciliation_run AS r
WHERE r.book = %(book)s AND r.id = %(run)s

-- name: apart
-- Which of the items that a run found open were matched with each other and undone, and how often one of them at most.
WITH undone AS MATERIALIZED (
    SELECT a.item, a.undone, a.side
    FROM unnest(%(carried)s::bigint[]) AS u (item)
    CROSS JOIN LATERAL (
        SELECT item, undone, side FROM reconciliation_apart
        WHERE book = %(book)s AND item = u.item AND undone <= %(undone)s OFFSET 0
    ) AS a
),
pairs AS MATERIALIZED (
    SELECT DISTINCT o.item AS our, t.item AS their
    FROM undone AS o JOIN undone AS t ON t.undone = o.undone
    WHERE o.side = 'ours' AND t.side = 'theirs'
)
SELECT coalesce(array_agg(p.our ORDER BY p.our, p.their)::text, '{}') AS ours,
    coalesce(array_agg(p.their ORDER BY p.our, p.their)::text, '{}') AS theirs, coalesce((
        SELECT max(c.of_one) FROM (
            SELECT count(*) AS of_one FROM pairs AS a GROUP BY a.our UNION ALL SELECT count(*) FROM pairs AS b GROUP BY b.their
        ) AS c
    ), 0) AS most
FROM pairs AS p

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
FROM reconciliation_items(%(book)s, %(items)s::bigint[], %(dense)s) AS i
LEFT JOIN reconciliation_parts(%(book)s, %(items)s::bigint[], %(dense)s) AS p ON p.item = i.number
LEFT JOIN unnest(%(carried)s::bigint[]) AS c (item) ON c.item = i.number
GROUP BY i.side, i.asset

-- name: add_breaks
-- A break for everything that is left open and has none. If the other side has the same text in it, the amount is what differs,
-- or a rule that adds up would have had to match more items than one match has.
WITH rest AS (
    SELECT i.number, i.name, i.side, i.asset, i.day, i.reference, i.end_to_end
    FROM reconciliation_items(%(book)s, %(left)s::bigint[], %(dense)s) AS i
),
named AS (
    SELECT asset, kind, key, count(*) FILTER (WHERE side = 'ours') AS ours, count(*) FILTER (WHERE side = 'theirs') AS theirs
    FROM rest CROSS JOIN LATERAL (VALUES ('reference', reference), ('end_to_end', end_to_end)) AS t (kind, key)
    WHERE key IS NOT NULL
    GROUP BY asset, kind, key
),
shared AS (
    SELECT asset, kind, key, kind = ANY(%(added_up)s::text[]) AND least(ours, theirs) = 1 AND ours + theirs > %(most)s AS is_too_many
    FROM named WHERE ours > 0 AND theirs > 0
)
INSERT INTO reconciliation_break (book, item, name, day, state, reason, opened_at)
SELECT %(book)s, r.number, r.name, r.day, 'open', CASE
        WHEN n.is_too_many OR e.is_too_many THEN 'too_many'
        WHEN n.key IS NOT NULL OR e.key IS NOT NULL THEN 'amount_differs'
        WHEN r.side = 'ours' THEN 'missing_theirs' ELSE 'missing_ours'
    END, %(at)s::timestamptz
FROM rest AS r
LEFT JOIN shared AS n ON n.kind = 'reference' AND n.asset = r.asset AND n.key = r.reference
LEFT JOIN shared AS e ON e.kind = 'end_to_end' AND e.asset = r.asset AND e.key = r.end_to_end
ORDER BY r.number
ON CONFLICT (book, item) DO NOTHING

-- name: close_breaks
-- Closes the breaks of items that a run found open and has matched. Each is looked up: joined, every match there ever was may be
-- read before it is asked which of them are this run's.
UPDATE reconciliation_break AS b SET state = 'closed', closed_at = %(at)s
WHERE b.book = %(book)s AND b.state = 'open' AND b.item = ANY(ARRAY(
    SELECT p.item
    FROM unnest(%(carried)s::bigint[]) AS u (item)
    CROSS JOIN LATERAL (
        SELECT p.item, p.batch FROM reconciliation_part AS p WHERE p.book = %(book)s AND p.item = u.item OFFSET 0
    ) AS p
    WHERE p.batch = %(run)s
))
RETURNING b.item, b.approval

-- name: add_run
-- A run that is done.
INSERT INTO reconciliation_run (book, id, name, version, at, by, carried, undone, matches, digest)
VALUES (%(book)s, %(id)s, %(name)s, %(version)s, %(at)s, %(by)s, %(carried)s::bigint[], %(undone)s, %(matches)s, %(digest)s)

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

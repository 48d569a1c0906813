-- name: due
-- Structures whose open round has had so many changes, or so many sums added to, since its last snapshot or since it began; and
-- at least as many sums as that snapshot has.
SELECT s.book, s.number AS structure, s.changes AS change, b.round, b.base
FROM records_structure AS s
CROSS JOIN LATERAL (
    SELECT c.round, coalesce(n.cells, 0) AS cells, greatest(
        coalesce((
            SELECT e.change FROM records_round AS e
            WHERE e.book = s.book AND e.structure = s.number AND e.round = c.round - 1
        ), 0),
        coalesce(n.change, 0)
    ) AS base
    FROM records_change AS c
    LEFT JOIN LATERAL (
        SELECT l.change, l.cells, l.round FROM records_snapshot AS l
        WHERE l.book = s.book AND l.structure = s.number ORDER BY l.change DESC LIMIT 1
    ) AS n ON n.round = c.round
    WHERE c.book = s.book AND c.structure = s.number AND c.change = s.changes AND c.operation = 'Update'
) AS b
CROSS JOIN LATERAL (
    SELECT s.added - coalesce((
        SELECT c.added FROM records_change AS c WHERE c.book = s.book AND c.structure = s.number AND c.change = b.base
    ), 0) AS sums
) AS a
WHERE (s.changes - b.base >= %(changes)s OR a.sums >= %(sums)s) AND a.sums >= b.cells
ORDER BY s.book, s.number

-- name: outweigh
-- Whether what was added since a base is as much as the base itself: only then is a snapshot worth its place.
SELECT count(*) AS count FROM (
    SELECT FROM records_added(%(book)s, %(structure)s, %(base)s, %(change)s) AS d
    LIMIT greatest(1, (
        SELECT count(*) FROM records_snapshot_cell AS n
        WHERE n.book = %(book)s AND n.structure = %(structure)s AND n.change = %(base)s
    ))
) AS added
HAVING count(*) >= (
    SELECT count(*) FROM records_snapshot_cell AS n
    WHERE n.book = %(book)s AND n.structure = %(structure)s AND n.change = %(base)s
)

-- name: begin
-- A snapshot, unless somebody has taken it.
INSERT INTO records_snapshot (book, structure, change, round) VALUES (%(book)s, %(structure)s, %(change)s, %(round)s)
ON CONFLICT (book, structure, change) DO NOTHING

-- name: take
-- The sums of a round after a change.
INSERT INTO records_snapshot_cell (
    book, structure, change, key, organisation, metric, count, total, least, most, latest, first_at, last_at
)
SELECT %(book)s, %(structure)s, %(change)s, t.key, t.organisation, t.metric, t.count, t.total, t.least, t.most, t.latest,
    t.first_at, t.last_at
FROM records_then(%(book)s, %(structure)s, %(base)s, %(change)s) AS t

-- name: taken
-- How many cells a snapshot has.
UPDATE records_snapshot SET cells = %(cells)s WHERE book = %(book)s AND structure = %(structure)s AND change = %(change)s

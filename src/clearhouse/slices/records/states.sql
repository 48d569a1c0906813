-- name: counts
-- How often each metric was present, by key, in a round.
SELECT a.key, a.metric, a.count FROM records_aggregate AS a
WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s
ORDER BY a.key, a.organisation, a.metric LIMIT %(most)s

-- name: cells
-- The sums of a round, by key, metric and organisation.
SELECT a.key, a.metric, a.organisation, a.count, a.total, a.least, a.most, a.latest, a.first_at, a.last_at
FROM records_aggregate AS a
WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s
ORDER BY a.key, a.organisation, a.metric LIMIT %(most)s

-- name: pending
-- Whether sums of a round wait to be merged.
SELECT count(*) AS count FROM (
    SELECT FROM records_pending AS p
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s LIMIT 1
) AS n

-- name: cells_whole
-- The sums of a round with those that wait to be merged.
SELECT t.key, t.metric, t.organisation, sum(t.count)::bigint AS count, sum(t.total) AS total, min(t.least) AS least,
    max(t.most) AS most, (array_agg(t.latest ORDER BY t.change DESC) FILTER (WHERE t.latest IS NOT NULL))[1] AS latest,
    min(t.first_at) AS first_at, max(t.last_at) AS last_at
FROM (
    SELECT a.key, a.metric, a.organisation, a.latest_change AS change, a.count, a.total, a.least, a.most, a.latest, a.first_at,
        a.last_at
    FROM records_aggregate AS a
    WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s
    UNION ALL
    SELECT s.key, s.metric, s.organisation, p.change, s.count, s.total, s.least, s.most, s.latest, p.at AS first_at,
        p.at AS last_at
    FROM records_pending AS p
    CROSS JOIN LATERAL (
        SELECT w.key, w.metric, w.organisation, w.count, w.total, w.least, w.most, w.latest FROM records_staged AS w
        WHERE w.book = p.book AND w.upload = p.upload AND w.key > p.merged OFFSET 0
    ) AS s
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s
) AS t
GROUP BY t.key, t.organisation, t.metric
ORDER BY t.key COLLATE "C", t.organisation COLLATE "C", t.metric

-- name: counts_whole
-- How often each metric was present, by key, in a round, with what waits to be merged.
SELECT t.key, t.metric, sum(t.count)::bigint AS count
FROM (
    SELECT a.key, a.metric, a.count FROM records_aggregate AS a
    WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s
    UNION ALL
    SELECT s.key, s.metric, s.count
    FROM records_pending AS p
    CROSS JOIN LATERAL (
        SELECT w.key, w.metric, w.count FROM records_staged AS w
        WHERE w.book = p.book AND w.upload = p.upload AND w.key > p.merged OFFSET 0
    ) AS s
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s
) AS t
GROUP BY t.key, t.metric
ORDER BY t.key COLLATE "C", t.metric

-- name: cells_of
-- The same for these keys.
SELECT t.key, t.metric, t.organisation, sum(t.count)::bigint AS count, sum(t.total) AS total, min(t.least) AS least,
    max(t.most) AS most, (array_agg(t.latest ORDER BY t.change DESC) FILTER (WHERE t.latest IS NOT NULL))[1] AS latest,
    min(t.first_at) AS first_at, max(t.last_at) AS last_at
FROM (
    SELECT a.key, a.metric, a.organisation, a.latest_change AS change, a.count, a.total, a.least, a.most, a.latest, a.first_at,
        a.last_at
    FROM records_aggregate AS a
    WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s
        AND a.key = ANY(%(keys)s::text[] COLLATE "C")
    UNION ALL
    SELECT s.key, s.metric, s.organisation, p.change, s.count, s.total, s.least, s.most, s.latest, p.at AS first_at,
        p.at AS last_at
    FROM records_pending AS p
    CROSS JOIN LATERAL (
        SELECT w.key, w.metric, w.organisation, w.count, w.total, w.least, w.most, w.latest FROM records_staged AS w
        WHERE w.book = p.book AND w.upload = p.upload AND w.key = ANY(%(keys)s::text[] COLLATE "C") AND w.key > p.merged
        OFFSET 0
    ) AS s
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s
) AS t
GROUP BY t.key, t.organisation, t.metric
ORDER BY t.key COLLATE "C", t.organisation COLLATE "C", t.metric

-- name: base
-- After which change a state is found by what was added since: the last one of which there is a snapshot, or that ended a round.
SELECT greatest(
    coalesce((
        SELECT e.change FROM records_round AS e
        WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s - 1
    ), 0),
    coalesce((
        SELECT n.change FROM records_snapshot AS n
        WHERE n.book = %(book)s AND n.structure = %(structure)s AND n.change <= %(change)s ORDER BY n.change DESC LIMIT 1
    ), 0)
) AS change

-- name: cells_then
-- The sums of a round as they were after a change.
SELECT t.key, t.metric, t.organisation, t.count, t.total, t.least, t.most, t.latest, t.first_at, t.last_at
FROM records_then(%(book)s, %(structure)s, %(base)s, %(change)s) AS t
ORDER BY t.key COLLATE "C", t.organisation COLLATE "C", t.metric

-- name: count_keys
-- How many keys a round has, counted up to a limit: of what waits to be merged too no more keys are looked at.
SELECT count(*) AS count FROM (
    (
        SELECT DISTINCT a.key FROM records_aggregate AS a
        WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s ORDER BY a.key LIMIT %(most)s
    )
    UNION
    SELECT k.key
    FROM records_pending AS p
    CROSS JOIN LATERAL (
        SELECT DISTINCT s.key FROM records_staged AS s
        WHERE s.book = p.book AND s.upload = p.upload ORDER BY s.key LIMIT %(most)s
    ) AS k
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s
) AS k

-- name: touched
-- The first keys that changes after one and up to another touched, in order: so many of each at most.
SELECT c.change, k.key
FROM records_change AS c
CROSS JOIN LATERAL (
    (
        SELECT DISTINCT s.key FROM records_staged AS s
        WHERE s.book = c.book AND s.upload = c.upload ORDER BY s.key LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT DISTINCT d.key FROM records_delta AS d
        WHERE d.book = c.book AND d.structure = c.structure AND d.change = c.change ORDER BY d.key LIMIT %(most)s
    )
) AS k
WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.change > %(after)s AND c.change <= %(until)s
ORDER BY c.change, k.key COLLATE "C"

-- name: snapshot_keys
-- The first keys of a snapshot.
SELECT DISTINCT n.key FROM records_snapshot_cell AS n
WHERE n.book = %(book)s AND n.structure = %(structure)s AND n.change = %(base)s
ORDER BY n.key LIMIT %(most)s

-- name: snapshot_cells
-- What a snapshot says of these keys.
SELECT n.change, n.key, n.metric, n.organisation, n.count, n.total, n.least, n.most, n.latest, n.first_at, n.last_at
FROM records_snapshot_cell AS n
WHERE n.book = %(book)s AND n.structure = %(structure)s AND n.change = %(base)s AND n.key = ANY(%(keys)s::text[] COLLATE "C")

-- name: added_to
-- What changes after one and up to another added to these keys, in order.
SELECT t.change, t.key, t.metric, t.organisation, t.count, t.total, t.least, t.most, t.latest, t.first_at, t.first_at AS last_at
FROM (
    SELECT c.change, s.key, s.metric, s.organisation, s.count, s.total, s.least, s.most, s.latest, c.at AS first_at
    FROM records_change AS c
    CROSS JOIN LATERAL (
        SELECT w.key, w.metric, w.organisation, w.count, w.total, w.least, w.most, w.latest FROM records_staged AS w
        WHERE w.book = c.book AND w.upload = c.upload AND w.key = ANY(%(keys)s::text[] COLLATE "C") OFFSET 0
    ) AS s
    WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.change > %(after)s AND c.change <= %(until)s
    UNION ALL
    SELECT c.change, d.key, d.metric, d.organisation, d.count, d.total, d.least, d.most, d.latest, c.at AS first_at
    FROM records_change AS c
    CROSS JOIN LATERAL (
        SELECT e.key, e.metric, e.organisation, e.count, e.total, e.least, e.most, e.latest FROM records_delta AS e
        WHERE e.book = c.book AND e.structure = c.structure AND e.change = c.change
            AND e.key = ANY(%(keys)s::text[] COLLATE "C")
        OFFSET 0
    ) AS d
    WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.change > %(after)s AND c.change <= %(until)s
) AS t
ORDER BY t.change, t.key COLLATE "C", t.organisation COLLATE "C", t.metric

-- name: changes
-- Changes of a structure, newest first.
SELECT c.change, c.operation, c.round, c.upload, c.at, c.by_whom, c.settled_at FROM records_change AS c
WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.change < %(before)s
ORDER BY c.change DESC LIMIT %(most)s

-- name: last_change
-- The last change of a structure up to an instant.
SELECT c.change, c.operation, c.round, c.upload, c.at, c.by_whom, c.settled_at FROM records_change AS c
WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.at <= %(at)s
ORDER BY c.at DESC, c.change DESC LIMIT 1

-- name: trace
-- The records of a key in a round, with the change that counted each: of every upload no others are looked at.
SELECT c.change, r.upload, r.place, u.organisation, r.body, c.at
FROM records_change AS c
CROSS JOIN LATERAL (
    (SELECT s.key FROM records_staged AS s WHERE s.book = c.book AND s.upload = c.upload AND s.key = %(key)s LIMIT 1)
    UNION ALL
    (
        SELECT d.key FROM records_delta AS d
        WHERE d.book = c.book AND d.structure = c.structure AND d.change = c.change AND d.key = %(key)s LIMIT 1
    )
) AS touched
CROSS JOIN LATERAL (
    SELECT o.organisation FROM records_upload AS o WHERE o.book = c.book AND o.id = c.upload OFFSET 0
) AS u
CROSS JOIN LATERAL (
    SELECT k.upload, k.place, k.body FROM records_record AS k
    WHERE k.book = c.book AND k.upload = c.upload AND k.key = %(key)s
        AND k.place > CASE WHEN c.change = %(change)s THEN %(place)s ELSE -1 END
    ORDER BY k.place LIMIT %(most)s
) AS r
WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.operation = 'Update' AND c.round = %(round)s
    AND c.change >= greatest(%(change)s, coalesce((
        SELECT e.change FROM records_round AS e
        WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s - 1
    ), 0))
    AND c.change <= coalesce((
        SELECT e.change FROM records_round AS e
        WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s
    ), 9223372036854775807)
ORDER BY c.change, r.place LIMIT %(most)s

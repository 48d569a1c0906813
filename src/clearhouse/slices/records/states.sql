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
    FROM records_pending AS p JOIN records_staged AS s ON s.book = p.book AND s.upload = p.upload AND s.key > p.merged
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s
) AS t
GROUP BY t.key, t.organisation, t.metric
ORDER BY t.key COLLATE "C", t.organisation COLLATE "C", t.metric

-- name: cells_of
-- The same for these keys.
SELECT t.key, t.metric, t.organisation, sum(t.count)::bigint AS count, sum(t.total) AS total, min(t.least) AS least,
    max(t.most) AS most, (array_agg(t.latest ORDER BY t.change DESC) FILTER (WHERE t.latest IS NOT NULL))[1] AS latest,
    min(t.first_at) AS first_at, max(t.last_at) AS last_at
FROM (
    SELECT a.key, a.metric, a.organisation, a.latest_change AS change, a.count, a.total, a.least, a.most, a.latest, a.first_at,
        a.last_at
    FROM (SELECT k.key FROM unnest(%(keys)s::text[]) AS k (key) OFFSET 0) AS asked
    JOIN records_aggregate AS a
        ON a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s AND a.key = asked.key COLLATE "C"
    UNION ALL
    SELECT s.key, s.metric, s.organisation, p.change, s.count, s.total, s.least, s.most, s.latest, p.at AS first_at,
        p.at AS last_at
    FROM records_pending AS p
    CROSS JOIN (SELECT k.key FROM unnest(%(keys)s::text[]) AS k (key) OFFSET 0) AS asked
    JOIN records_staged AS s
        ON s.book = p.book AND s.upload = p.upload AND s.key = asked.key COLLATE "C" AND s.key > p.merged
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
-- How many keys a round has whose sums are merged, counted up to a limit.
SELECT count(*) AS count FROM (
    SELECT DISTINCT a.key FROM records_aggregate AS a
    WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s LIMIT %(most)s
) AS k

-- name: count_keys_whole
-- The same with those that wait to be merged.
SELECT count(*) AS count FROM (
    SELECT a.key FROM records_aggregate AS a
    WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s
    UNION
    SELECT s.key FROM records_pending AS p JOIN records_staged AS s ON s.book = p.book AND s.upload = p.upload
    WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s
) AS k

-- name: deltas
-- What the changes after one and up to another added, in order.
SELECT d.change, d.key, d.metric, d.organisation, d.count, d.total, d.least, d.most, d.latest
FROM records_added(%(book)s, %(structure)s, %(after)s, %(until)s) AS d
ORDER BY d.change, d.key COLLATE "C", d.organisation COLLATE "C", d.metric

-- name: touched
-- The keys that a change touched.
SELECT DISTINCT d.key COLLATE "C" AS key FROM records_added(%(book)s, %(structure)s, %(change)s - 1, %(change)s) AS d
ORDER BY 1 LIMIT %(most)s

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
-- The records of a key in a round, with the change that counted each.
SELECT c.change, r.upload, r.place, u.organisation, r.body, c.at
FROM records_change AS c
JOIN records_upload AS u ON u.book = c.book AND u.id = c.upload
JOIN records_record AS r ON r.book = c.book AND r.upload = c.upload AND r.key = %(key)s
WHERE c.book = %(book)s AND c.structure = %(structure)s AND c.operation = 'Update' AND c.round = %(round)s
    AND c.change >= greatest(%(change)s, coalesce((
        SELECT e.change FROM records_round AS e
        WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s - 1
    ), 0))
    AND c.change <= coalesce((
        SELECT e.change FROM records_round AS e
        WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s
    ), 9223372036854775807)
    AND (
        EXISTS (
            SELECT FROM records_delta AS d
            WHERE d.book = c.book AND d.structure = c.structure AND d.change = c.change AND d.key = %(key)s
        )
        OR EXISTS (SELECT FROM records_staged AS s WHERE s.book = c.book AND s.upload = c.upload AND s.key = %(key)s)
    )
    AND (c.change, r.place) > (%(change)s, %(place)s)
ORDER BY c.change, r.place LIMIT %(most)s

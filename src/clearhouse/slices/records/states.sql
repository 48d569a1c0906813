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

-- name: cells_of
-- The same for these keys.
SELECT a.key, a.metric, a.organisation, a.count, a.total, a.least, a.most, a.latest, a.first_at, a.last_at
FROM (
    SELECT %(book)s::int AS book, %(structure)s::int AS structure, %(round)s::bigint AS round, k.key
    FROM unnest(%(keys)s::text[]) AS k (key) OFFSET 0
) AS asked
JOIN records_aggregate AS a
    ON a.book = asked.book AND a.structure = asked.structure AND a.round = asked.round AND a.key = asked.key COLLATE "C"
ORDER BY a.key, a.organisation, a.metric

-- name: cells_then
-- The sums of a round as they were after a change: what every change up to it had added.
SELECT d.key, d.metric, d.organisation, sum(d.count)::bigint AS count, sum(d.total) AS total, min(d.least) AS least,
    max(d.most) AS most, (array_agg(d.latest ORDER BY d.change DESC))[1] AS latest,
    (
        SELECT c.at FROM records_change AS c WHERE c.book = d.book AND c.structure = d.structure AND c.change = min(d.change)
    ) AS first_at,
    (
        SELECT c.at FROM records_change AS c WHERE c.book = d.book AND c.structure = d.structure AND c.change = max(d.change)
    ) AS last_at
FROM records_delta AS d
WHERE d.book = %(book)s AND d.structure = %(structure)s AND d.round = %(round)s AND d.change <= %(change)s
    AND d.change > coalesce((
        SELECT e.change FROM records_round AS e
        WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s - 1
    ), 0)
GROUP BY d.book, d.structure, d.key, d.organisation, d.metric
ORDER BY d.key, d.organisation, d.metric LIMIT %(most)s

-- name: count_keys
-- How many keys a round has, counted up to a limit.
SELECT count(*) AS count FROM (
    SELECT DISTINCT a.key FROM records_aggregate AS a
    WHERE a.book = %(book)s AND a.structure = %(structure)s AND a.round = %(round)s LIMIT %(most)s
) AS k

-- name: deltas
-- What the changes after one and up to another added to a round, in order.
SELECT d.change, d.key, d.metric, d.organisation, d.count, d.total, d.least, d.most, d.latest
FROM records_delta AS d
WHERE d.book = %(book)s AND d.structure = %(structure)s AND d.round = %(round)s AND d.change > %(after)s AND d.change <= %(until)s
ORDER BY d.change, d.key, d.organisation, d.metric

-- name: touched
-- The keys that a change touched.
SELECT DISTINCT d.key FROM records_delta AS d
WHERE d.book = %(book)s AND d.structure = %(structure)s AND d.change = %(change)s ORDER BY d.key LIMIT %(most)s

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
FROM (
    SELECT DISTINCT d.change FROM records_delta AS d
    WHERE d.book = %(book)s AND d.structure = %(structure)s AND d.round = %(round)s AND d.key = %(key)s
        AND d.change >= greatest(%(change)s, coalesce((
            SELECT e.change FROM records_round AS e
            WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s - 1
        ), 0))
        AND d.change <= coalesce((
            SELECT e.change FROM records_round AS e
            WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s
        ), 9223372036854775807)
) AS touched
JOIN records_change AS c ON c.book = %(book)s AND c.structure = %(structure)s AND c.change = touched.change
JOIN records_upload AS u ON u.book = c.book AND u.id = c.upload
JOIN records_record AS r ON r.book = c.book AND r.upload = c.upload AND r.key = %(key)s
WHERE (c.change, r.place) > (%(change)s, %(place)s)
ORDER BY c.change, r.place LIMIT %(most)s

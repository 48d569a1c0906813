-- name: due
-- Uploads that are counted and whose sums are not merged yet, in whatever book, oldest first.
SELECT p.book, p.structure, p.round, p.change, p.upload FROM records_pending AS p
ORDER BY p.book, p.structure, p.round, p.change LIMIT %(most)s

-- name: claim
-- How far an upload is merged, locked for whoever goes on.
SELECT p.merged, p.at FROM records_pending AS p
WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s AND p.change = %(change)s FOR UPDATE

-- name: unhurried
-- Lets a part commit before it is on disk: whoever builds on it waits for both, and a crash only has it merged again.
SELECT set_config('synchronous_commit', 'off', true)

-- name: next_key
-- The last key of the next part of an upload's sums; there is none if it is the last part.
SELECT s.key FROM records_staged AS s
WHERE s.book = %(book)s AND s.upload = %(upload)s AND s.key > %(after)s
ORDER BY s.key, s.metric OFFSET %(rows)s LIMIT 1

-- name: merge
-- Adds a part of an upload's sums to those of its round, row by row in the order in which whoever counts takes them: so they
-- may wait for each other, and never in a circle.
INSERT INTO records_aggregate AS a (
    book, structure, round, key, organisation, metric, count, total, least, most, latest, latest_change, first_at, last_at
)
SELECT s.book, %(structure)s, %(round)s, s.key, s.organisation, s.metric, s.count, s.total, s.least, s.most, s.latest,
    %(change)s AS latest_change, %(at)s AS first_at, %(at)s AS last_at
FROM records_staged AS s
WHERE s.book = %(book)s AND s.upload = %(upload)s AND s.key > %(after)s AND (%(until)s::text IS NULL OR s.key <= %(until)s)
ORDER BY s.key, s.organisation, s.metric
ON CONFLICT (book, structure, round, key, organisation, metric) DO UPDATE
SET count = a.count + excluded.count, total = a.total + excluded.total, least = least(a.least, excluded.least),
    most = greatest(a.most, excluded.most),
    latest = CASE
        WHEN a.latest_change > excluded.latest_change THEN coalesce(a.latest, excluded.latest)
        ELSE coalesce(excluded.latest, a.latest)
    END,
    latest_change = greatest(a.latest_change, excluded.latest_change), first_at = least(a.first_at, excluded.first_at),
    last_at = greatest(a.last_at, excluded.last_at)

-- name: go_on
-- How far an upload is merged now.
UPDATE records_pending SET merged = %(until)s
WHERE book = %(book)s AND structure = %(structure)s AND round = %(round)s AND change = %(change)s

-- name: done
-- An upload whose sums are all merged.
DELETE FROM records_pending
WHERE book = %(book)s AND structure = %(structure)s AND round = %(round)s AND change = %(change)s

-- name: count_rows
-- How many sums an upload has, counted up to a limit.
SELECT count(*) AS count FROM (
    SELECT FROM records_staged AS s WHERE s.book = %(book)s AND s.upload = %(upload)s LIMIT %(most)s
) AS n

-- name: wait
-- Uploads whose sums are to be merged later: whoever reads adds them until then.
INSERT INTO records_pending (book, structure, round, change, upload, at)
SELECT %(book)s, w.structure, w.round, w.change, w.upload, w.at
FROM unnest(%(structures)s::int[], %(rounds)s::bigint[], %(changes)s::bigint[], %(uploads)s::uuid[], %(at)s::timestamptz[])
    AS w (structure, round, change, upload, at)

-- name: set_aside
-- What an upload, or a part of it, adds to what is still to be counted of it.
INSERT INTO records_staged AS s (book, upload, key, metric, organisation, count, total, least, most, latest)
SELECT %(book)s, %(upload)s, n.key, n.metric, %(organisation)s, n.count, n.total, n.least, n.most, n.latest
FROM unnest(
    string_to_array(%(keys)s, U&'\000A'), %(metrics)s::int[], %(counts)s::bigint[], %(totals)s::numeric[], %(least)s::numeric[],
    %(most)s::numeric[], %(latest)s::text[]
) AS n (key, metric, count, total, least, most, latest)
ON CONFLICT (book, upload, key, metric) DO UPDATE
SET count = s.count + excluded.count, total = s.total + excluded.total, least = least(s.least, excluded.least),
    most = greatest(s.most, excluded.most), latest = coalesce(excluded.latest, s.latest)

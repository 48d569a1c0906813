-- name: set_aside
-- What uploads add, one row a key and metric; nobody counts it yet.
INSERT INTO records_staged (book, upload, key, metric, organisation, count, total, least, most, latest)
SELECT %(book)s, (%(uploads)s::uuid[])[n.place], n.key, n.metric, (%(organisations)s::text[])[n.place], n.count, n.total,
    n.least, n.most, n.latest
FROM unnest(
    %(places)s::int[], string_to_array(%(keys)s, U&'\000A'), %(metrics)s::int[], %(counts)s::bigint[], %(totals)s::numeric[],
    %(least)s::numeric[], %(most)s::numeric[], %(latest)s::text[]
) AS n (place, key, metric, count, total, least, most, latest)
ORDER BY n.place, n.key COLLATE "C"

-- name: set_aside_more
-- What another part of an upload adds to what is still to be counted of it.
INSERT INTO records_staged AS s (book, upload, key, metric, organisation, count, total, least, most, latest)
SELECT %(book)s, (%(uploads)s::uuid[])[n.place], n.key, n.metric, (%(organisations)s::text[])[n.place], n.count, n.total,
    n.least, n.most, n.latest
FROM unnest(
    %(places)s::int[], string_to_array(%(keys)s, U&'\000A'), %(metrics)s::int[], %(counts)s::bigint[], %(totals)s::numeric[],
    %(least)s::numeric[], %(most)s::numeric[], %(latest)s::text[]
) AS n (place, key, metric, count, total, least, most, latest)
ON CONFLICT (book, upload, key, metric) DO UPDATE
SET count = s.count + excluded.count, total = s.total + excluded.total, least = least(s.least, excluded.least),
    most = greatest(s.most, excluded.most), latest = coalesce(excluded.latest, s.latest)

-- name: wait
-- Uploads that are counted, and whose sums are to be merged later: whoever reads adds them until then.
INSERT INTO records_pending (book, structure, round, change, upload, at, sums)
SELECT %(book)s, w.structure, w.round, w.change, w.upload, w.at, w.sums
FROM unnest(
    %(structures)s::int[], %(rounds)s::bigint[], %(changes)s::bigint[], %(uploads)s::uuid[], %(at)s::timestamptz[],
    %(sums)s::bigint[]
) AS w (structure, round, change, upload, at, sums)

-- name: due
-- Rounds of which sums are not merged yet, in whatever book, up to the change that was the last one when we looked.
SELECT p.book, p.structure, p.round, max(p.change) AS change FROM records_pending AS p
GROUP BY p.book, p.structure, p.round
ORDER BY p.book, p.structure, p.round LIMIT %(most)s

-- name: claim
-- The first uploads of a round that are not merged yet, locked for whoever goes on.
SELECT p.change, p.upload, p.merged, p.at, p.sums FROM records_pending AS p
WHERE p.book = %(book)s AND p.structure = %(structure)s AND p.round = %(round)s AND p.change <= %(change)s
ORDER BY p.change LIMIT %(most)s FOR UPDATE

-- name: unhurried
-- Lets a part commit before it is on disk: whoever builds on it waits for both, and a crash only has it merged again.
SELECT set_config('synchronous_commit', 'off', true)

-- name: next_key
-- The last key of the next part of an upload's sums; there is none if it is the last part.
SELECT s.key FROM records_staged AS s
WHERE s.book = %(book)s AND s.upload = %(upload)s AND s.key > %(after)s
ORDER BY s.key, s.metric OFFSET %(rows)s LIMIT 1

-- name: merge
-- Adds what uploads added to the sums of their round, row by row in the order in which every merger takes them: so two of them
-- wait for each other, and never in a circle. Nobody who counts is among them.
INSERT INTO records_aggregate AS a (
    book, structure, round, key, organisation, metric, count, total, least, most, latest, latest_change, first_at, last_at
)
SELECT %(book)s, %(structure)s, %(round)s, s.key, s.organisation, s.metric, sum(s.count)::bigint, sum(s.total), min(s.least),
    max(s.most), (array_agg(s.latest ORDER BY p.change DESC) FILTER (WHERE s.latest IS NOT NULL))[1], max(p.change),
    min(p.at), max(p.at)
FROM unnest(%(changes)s::bigint[], %(uploads)s::uuid[], %(at)s::timestamptz[]) AS p (change, upload, at)
CROSS JOIN LATERAL (
    SELECT w.key, w.organisation, w.metric, w.count, w.total, w.least, w.most, w.latest FROM records_staged AS w
    WHERE w.book = %(book)s AND w.upload = p.upload AND w.key > %(after)s AND w.key <= %(until)s OFFSET 0
) AS s
GROUP BY s.key, s.organisation, s.metric
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
WHERE book = %(book)s AND structure = %(structure)s AND round = %(round)s AND change = ANY(%(changes)s::bigint[])

-- name: done
-- Uploads whose sums are all merged.
DELETE FROM records_pending
WHERE book = %(book)s AND structure = %(structure)s AND round = %(round)s AND change = ANY(%(changes)s::bigint[])

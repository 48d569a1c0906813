-- name: begin
-- An upload that is to come in parts.
INSERT INTO records_upload (book, id, structure, state, digest, organisation, records, at)
VALUES (%(book)s, %(id)s, %(structure)s, 'staged', ''::bytea, %(organisation)s, 0, %(at)s)
ON CONFLICT (book, id) DO NOTHING

-- name: grow
-- One part more of an upload, if it is the next one.
UPDATE records_upload SET records = records + %(count)s
WHERE book = %(book)s AND id = %(id)s AND state = 'staged' AND records = %(before)s

-- name: sum
-- What a part adds to what is still to be counted of its upload.
INSERT INTO records_staged AS s (book, upload, key, metric, count, total, least, most, latest)
SELECT %(book)s, %(upload)s, n.key, n.metric, n.count, n.total, n.least, n.most, n.latest
FROM unnest(
    string_to_array(%(keys)s, U&'\000A'), %(metrics)s::int[], %(counts)s::bigint[], %(totals)s::numeric[], %(least)s::numeric[],
    %(most)s::numeric[], %(latest)s::text[]
) AS n (key, metric, count, total, least, most, latest)
ON CONFLICT (book, upload, key, metric) DO UPDATE
SET count = s.count + excluded.count, total = s.total + excluded.total, least = least(s.least, excluded.least),
    most = greatest(s.most, excluded.most), latest = coalesce(excluded.latest, s.latest)

-- name: finish
-- An upload whose parts are all there, locked until we commit.
UPDATE records_upload SET digest = %(digest)s WHERE book = %(book)s AND id = %(id)s AND state = 'staged' AND records = %(records)s

-- name: count_staged
-- Remembers what an upload adds, and adds it to the sums of its round; the structure is locked already.
WITH kept AS (
    INSERT INTO records_delta (book, structure, round, key, organisation, metric, change, count, total, least, most, latest)
    SELECT s.book, %(structure)s, %(round)s, s.key, %(organisation)s, s.metric, %(change)s, s.count, s.total, s.least, s.most,
        s.latest
    FROM records_staged AS s WHERE s.book = %(book)s AND s.upload = %(upload)s
)

INSERT INTO records_aggregate AS a (
    book, structure, round, key, organisation, metric, count, total, least, most, latest, first_at, last_at
)
SELECT s.book, %(structure)s, %(round)s, s.key, %(organisation)s, s.metric, s.count, s.total, s.least, s.most, s.latest,
    %(at)s AS first_at, %(at)s AS last_at
FROM records_staged AS s WHERE s.book = %(book)s AND s.upload = %(upload)s
ON CONFLICT (book, structure, round, key, organisation, metric) DO UPDATE
SET count = a.count + excluded.count, total = a.total + excluded.total, least = least(a.least, excluded.least),
    most = greatest(a.most, excluded.most), latest = coalesce(excluded.latest, a.latest), last_at = excluded.last_at

-- name: drop_staged
-- What has been counted, or will never be.
DELETE FROM records_staged WHERE book = %(book)s AND upload = %(upload)s

-- name: drop_records
-- Records of an upload that was never counted.
DELETE FROM records_record AS r USING records_upload AS u
WHERE u.book = %(book)s AND u.id = %(upload)s AND u.state = 'staged' AND r.book = u.book AND r.upload = u.id

-- name: forget
-- An upload that was never counted.
DELETE FROM records_upload WHERE book = %(book)s AND id = %(upload)s AND state = 'staged'

-- name: abandoned
-- Uploads that began long ago and were never counted.
SELECT id FROM records_upload WHERE book = %(book)s AND state = 'staged' AND at < %(before)s
ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED

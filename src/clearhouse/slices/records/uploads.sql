-- Texts of many lines travel whole and are split here: a line of JSON holds no line feed, and neither JSON nor a key holds U+001E.

-- name: open_uploads
-- Uploads that nobody has sent before; of two at once the later one waits here, and then finds the first.
INSERT INTO records_upload (book, id, structure, state, digest, organisation, records, sums, at)
SELECT %(book)s, u.id, u.structure, 'staged', u.digest, u.organisation, u.records, u.sums, %(at)s
FROM unnest(
    %(ids)s::uuid[], %(structures)s::int[], %(digests)s::bytea[], %(organisations)s::text[], %(records)s::bigint[],
    %(sums)s::bigint[]
) AS u (id, structure, digest, organisation, records, sums)
ORDER BY u.id
ON CONFLICT (book, id) DO NOTHING
RETURNING id

-- name: uploads
-- What became of uploads.
SELECT u.id, u.structure, u.state, u.digest, u.organisation, u.records, u.repeated, u.change, u.round
FROM (SELECT %(book)s::int AS book, a.id FROM unnest(%(ids)s::uuid[]) AS a (id) OFFSET 0) AS asked
JOIN records_upload AS u ON u.book = asked.book AND u.id = asked.id

-- name: keep
-- Records as they came.
INSERT INTO records_record (book, upload, place, key, body)
SELECT %(book)s, u.upload, u.before + r.place, r.key, r.body
FROM unnest(
    %(uploads)s::uuid[], %(before)s::bigint[], string_to_array(%(keys)s, U&'\001E'), string_to_array(%(bodies)s, U&'\001E')
) AS u (upload, before, keys, bodies)
CROSS JOIN LATERAL unnest(string_to_array(u.keys, U&'\000A'), string_to_array(u.bodies, U&'\000A'))
    WITH ORDINALITY AS r (key, body, place)

-- name: note
-- Uploads as changes of their structures.
INSERT INTO records_change (book, structure, change, operation, round, upload, at, by_whom, settled_at, added)
SELECT %(book)s, c.structure, c.change, 'Update', c.round, c.upload, c.at, c.by_whom, c.settled_at, c.added
FROM unnest(
    %(structures)s::int[], %(changes)s::bigint[], %(rounds)s::bigint[], %(uploads)s::uuid[], %(at)s::timestamptz[],
    %(by)s::text[], %(settled)s::timestamptz[], %(added)s::bigint[]
) AS c (structure, change, round, upload, at, by_whom, settled_at, added)

-- name: mark_counted
-- Uploads that are counted now: in which change and round, how many records, and how many of them had been counted before.
UPDATE records_upload AS u
SET state = 'counted', change = n.change, round = n.round, records = n.records, repeated = n.repeated
FROM (
    SELECT %(book)s::int AS book, c.id, c.change, c.round, c.records, c.repeated
    FROM unnest(%(ids)s::uuid[], %(changes)s::bigint[], %(rounds)s::bigint[], %(records)s::bigint[], %(repeated)s::bigint[])
        AS c (id, change, round, records, repeated) OFFSET 0
) AS n
WHERE u.book = n.book AND u.id = n.id AND u.state = 'staged'

-- name: arriving
-- Uploads of a structure that are kept part by part and not counted yet, in the order of their ids.
SELECT u.id, u.structure, u.state, u.digest, u.organisation, u.records, u.repeated, u.change, u.round
FROM records_upload AS u
WHERE u.book = %(book)s AND u.structure = %(structure)s AND u.state = 'staged' AND u.id > %(after)s
ORDER BY u.id LIMIT %(most)s

-- name: forget
-- Uploads that are refused: nothing of them stays.
DELETE FROM records_upload WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND state = 'staged'

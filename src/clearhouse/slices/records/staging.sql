-- name: begin
-- An upload that is to come in parts.
INSERT INTO records_upload (book, id, structure, state, digest, organisation, records, at)
VALUES (%(book)s, %(id)s, %(structure)s, 'staged', ''::bytea, %(organisation)s, 0, %(at)s)
ON CONFLICT (book, id) DO NOTHING

-- name: grow
-- One part more of an upload, if it is the next one of what came so far, and nobody took any of it.
UPDATE records_upload SET records = records + %(count)s, sums = sums + %(sums)s, digest = %(digest)s
WHERE book = %(book)s AND id = %(id)s AND state = 'staged' AND records = %(before)s AND digest = %(so_far)s AND NOT robbed

-- name: skip
-- How many records of a part had been counted before.
UPDATE records_upload SET repeated = repeated + %(repeated)s WHERE book = %(book)s AND id = %(id)s AND state = 'staged'

-- name: finish
-- An upload whose parts are all there, locked until we commit: how many of its records had been counted before, and its sums.
SELECT u.repeated, u.sums FROM records_upload AS u
WHERE u.book = %(book)s AND u.id = %(id)s AND u.state = 'staged' AND u.records = %(records)s AND u.digest = %(digest)s
    AND NOT u.robbed
FOR UPDATE

-- name: hold
-- How far an upload is, once whoever works on it is done: nobody does until we commit.
SELECT u.state, u.records, u.organisation FROM records_upload AS u WHERE u.book = %(book)s AND u.id = %(id)s FOR UPDATE

-- name: drop_staged
-- Sums of an upload that was never counted.
DELETE FROM records_staged AS s USING records_upload AS u
WHERE u.book = %(book)s AND u.id = %(upload)s AND u.state = 'staged' AND s.book = u.book AND s.upload = u.id

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
ORDER BY structure, id LIMIT %(most)s FOR UPDATE SKIP LOCKED

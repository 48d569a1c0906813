-- name: know
-- Ids that records brought along and that nobody has met; in their order, so that nobody waits in a circle.
INSERT INTO records_known (book, structure, organisation, id, upload, digest)
SELECT %(book)s, k.structure, k.organisation, k.id, k.upload, k.digest
FROM unnest(%(structures)s::int[], %(organisations)s::text[], %(ids)s::text[], %(uploads)s::uuid[], %(digests)s::bytea[])
    AS k (structure, organisation, id, upload, digest)
ORDER BY k.structure, k.organisation, k.id
ON CONFLICT (book, structure, organisation, id) DO NOTHING
RETURNING structure, organisation, id

-- name: known
-- Whose ids are, and whether the upload that brought them is counted.
SELECT k.structure, k.organisation, k.id, k.upload, k.digest, u.state
FROM (
    SELECT %(book)s::int AS book, w.structure, w.organisation, w.id
    FROM unnest(%(structures)s::int[], %(organisations)s::text[], %(ids)s::text[]) AS w (structure, organisation, id) OFFSET 0
) AS asked
JOIN records_known AS k
    ON k.book = asked.book AND k.structure = asked.structure AND k.organisation = asked.organisation COLLATE "C"
    AND k.id = asked.id COLLATE "C"
JOIN records_upload AS u ON u.book = k.book AND u.id = k.upload

-- name: rob
-- Uploads that are not counted and whose records somebody else has brought meanwhile: they have to begin again.
UPDATE records_upload AS u SET robbed = true
FROM (
    SELECT o.book, o.id FROM records_upload AS o
    WHERE o.book = %(book)s AND o.id = ANY(%(ids)s::uuid[]) AND o.state = 'staged' ORDER BY o.id FOR NO KEY UPDATE
) AS n
WHERE u.book = n.book AND u.id = n.id AND u.state = 'staged'
RETURNING u.id

-- name: take
-- Ids that go from one upload to another.
UPDATE records_known AS k SET upload = t.upload, digest = t.digest
FROM (
    SELECT %(book)s::int AS book, w.structure, w.organisation, w.id, w.former, w.upload, w.digest
    FROM unnest(
        %(structures)s::int[], %(organisations)s::text[], %(ids)s::text[], %(former)s::uuid[], %(uploads)s::uuid[],
        %(digests)s::bytea[]
    ) AS w (structure, organisation, id, former, upload, digest) OFFSET 0
) AS t
WHERE k.book = t.book AND k.structure = t.structure AND k.organisation = t.organisation COLLATE "C"
    AND k.id = t.id COLLATE "C" AND k.upload = t.former
RETURNING k.structure, k.organisation, k.id

-- name: release
-- Ids of uploads that are not counted after all.
DELETE FROM records_known WHERE book = %(book)s AND upload = ANY(%(uploads)s::uuid[])

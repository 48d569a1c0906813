-- name: lock
-- The structure whose lines are spoken of, locked so that words and resolutions come one after another.
SELECT s.number FROM records_structure AS s WHERE s.book = %(book)s AND s.settleid = %(settleid)s FOR NO KEY UPDATE

-- name: say
-- An organisation's word on a line; a later one takes its place, and who spoke before stays one of its speakers.
INSERT INTO records_word AS w (book, structure, round, key, organisation, word, remark, at, by_whom, speakers)
SELECT %(book)s, %(structure)s, %(round)s, %(key)s, %(organisation)s, %(word)s, %(remark)s, %(at)s, %(by)s,
    ARRAY[%(speaker)s::uuid] AS speakers
ON CONFLICT (book, structure, round, key, organisation) DO UPDATE
SET word = excluded.word, remark = excluded.remark, at = excluded.at, by_whom = excluded.by_whom,
    speakers = array_remove(w.speakers, excluded.speakers[1]) || excluded.speakers

-- name: words
-- What was said of a line, or of every line after a key.
SELECT w.key, w.organisation, w.word, w.remark, w.at, w.by_whom, w.speakers FROM records_word AS w
WHERE w.book = %(book)s AND w.structure = %(structure)s AND w.round = %(round)s AND w.key >= %(first)s AND w.key <= %(last)s
ORDER BY w.key, w.organisation

-- name: resolve
-- What stands of a line in the end; the first resolution is the one that counts.
INSERT INTO records_resolution (book, structure, round, key, "values", remark, at, by_whom)
VALUES (%(book)s, %(structure)s, %(round)s, %(key)s, %(values)s, %(remark)s, %(at)s, %(by)s)
ON CONFLICT (book, structure, round, key) DO NOTHING

-- name: resolutions
-- What stands of a line, or of every line after a key.
SELECT e.key, e."values" AS stands, e.remark, e.at, e.by_whom FROM records_resolution AS e
WHERE e.book = %(book)s AND e.structure = %(structure)s AND e.round = %(round)s AND e.key >= %(first)s AND e.key <= %(last)s
ORDER BY e.key

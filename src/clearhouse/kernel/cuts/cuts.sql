-- name: open_cuts
-- New cuts, standing at their first position; those that are there stay where they are.
INSERT INTO cut (book, name, moved_at)
SELECT %(book)s, n.name, %(at)s FROM unnest(%(names)s::text[]) AS n (name) ORDER BY n.name
ON CONFLICT (book, name) DO NOTHING

-- name: enter
-- Keeps these cuts where they are until we commit, and says where that is.
SELECT name, position FROM enter_cuts(%(book)s, %(names)s::text[])

-- name: move
-- Waits until nobody writes to these cuts any more, moves each on by one, and says where they stand now.
SELECT name, position FROM move_cuts(%(book)s, %(names)s::text[], %(at)s)

-- name: hold
-- Waits until nobody writes to a cut whose place is kept by its owner, and keeps it so until we commit.
SELECT pg_advisory_xact_lock(%(book)s, %(number)s)

-- name: standing
-- Where a cut stands, for whoever does not write to it.
SELECT name, position FROM cut WHERE book = %(book)s AND name = %(name)s

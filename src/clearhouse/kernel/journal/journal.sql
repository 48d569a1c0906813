-- name: lease
-- Asks to be the one sequencer at work, until the transaction ends. What is read next must be read after this was answered:
-- a statement that took the lease itself would still see what another had not yet numbered.
SELECT set_config('clearhouse.sequencing', pg_try_advisory_xact_lock(7246002)::text, true)

-- name: unsealed
-- Committed rows without a number, in id order, each with the last number and link of its book; none without the lease.
WITH due AS (
    SELECT id, book, digest, wakes FROM journal
    WHERE number IS NULL AND current_setting('clearhouse.sequencing')::boolean
    ORDER BY id LIMIT %(most)s
),

heads AS (
    SELECT b.book, j.number, j.chain
    FROM (SELECT DISTINCT book FROM due) AS b
    CROSS JOIN LATERAL (
        SELECT number, chain FROM journal
        WHERE journal.book = b.book AND number IS NOT NULL ORDER BY number DESC LIMIT 1
    ) AS j
)

SELECT due.id, due.book, due.digest, due.wakes, heads.number, heads.chain
FROM due LEFT JOIN heads ON heads.book = due.book
ORDER BY due.id

-- name: heads
-- The last number and the chain of each of these books.
SELECT b.book, j.number, j.chain
FROM unnest(%(books)s::int[]) AS b (book)
CROSS JOIN LATERAL (
    SELECT number, chain FROM journal
    WHERE journal.book = b.book AND number IS NOT NULL ORDER BY number DESC LIMIT 1
) AS j

-- name: seal
-- Gives rows their number and their link in the chain, once.
UPDATE journal AS j SET number = n.number, chain = n.chain
FROM unnest(%(ids)s::bigint[], %(numbers)s::bigint[], %(chains)s::bytea[]) AS n (id, number, chain)
WHERE j.id = n.id AND j.number IS NULL

-- name: announce
-- Tells whoever reads events that there are more, with the commit. Only the sequencer does: it would make writers queue.
SELECT pg_notify('clearhouse_sealed', '')

-- name: rows_after
-- Sealed rows of a book after a number.
SELECT book, CASE WHEN at >= '0001-01-01Z' AND at < '10000-01-01Z' THEN at ELSE '0001-01-01Z' END AS at, kind, principal, lines,
    digest, number, chain
FROM journal
WHERE book = %(book)s AND number > %(after)s
ORDER BY number
LIMIT %(most)s

-- name: all_rows
-- Every sealed row of a book, in order. A time that no calendar of ours has was put there by somebody else, and reads as one.
SELECT book, CASE WHEN at >= '0001-01-01Z' AND at < '10000-01-01Z' THEN at ELSE '0001-01-01Z' END AS at, kind, principal, lines,
    digest, number, chain
FROM journal
WHERE book = %(book)s AND number IS NOT NULL
ORDER BY number, id

-- name: export_page
-- Sealed rows of a book after a row, up to a number, as many as hold so many bytes, and at least one: with the id of each,
-- since a number that stands twice, which is somebody's crime, must not fall between two pages.
SELECT book, CASE WHEN at >= '0001-01-01Z' AND at < '10000-01-01Z' THEN at ELSE '0001-01-01Z' END AS at, kind, principal, lines,
    digest, number, chain, id
FROM (
    SELECT j.*, sum(octet_length(j.lines)) OVER (ORDER BY j.number, j.id) - octet_length(j.lines) AS bytes_before
    FROM (
        SELECT id, book, at, kind, principal, lines, digest, number, chain FROM journal
        WHERE book = %(book)s AND number >= %(number)s AND number <= %(up_to)s
            AND (number, id) > (%(number)s, %(after)s)
        ORDER BY number, id LIMIT %(most)s
    ) AS j
) AS sized
WHERE bytes_before < %(bytes_max)s
ORDER BY number, id

-- name: tail
-- How many rows of a book have no number yet.
SELECT count(*) AS count FROM journal WHERE book = %(book)s AND number IS NULL

-- name: events_after
-- Sealed rows of a book from a number on, as many as hold so many bytes, and at least one. How long a row is, is known
-- without reading it.
SELECT number, at, principal, lines, source
FROM (
    SELECT j.number, j.principal, j.lines, '/books/' || b.name AS source,
        CASE WHEN j.at >= '0001-01-01Z' AND j.at < '10000-01-01Z' THEN j.at ELSE '0001-01-01Z' END AS at,
        sum(octet_length(j.lines)) OVER (ORDER BY j.number) - octet_length(j.lines) AS bytes_before
    FROM (
        SELECT number, at, principal, lines FROM journal
        WHERE book = %(book)s AND number >= %(number)s ORDER BY number LIMIT %(most)s
    ) AS j
    CROSS JOIN (SELECT name FROM book WHERE id = %(book)s) AS b
) AS sized
WHERE bytes_before < %(bytes_max)s
ORDER BY number

-- name: enrol
-- Makes a reader of a book known, once; it begins with the first event, or with the next one.
INSERT INTO event_reader (book, name, number)
SELECT %(book)s, %(name)s, CASE WHEN %(from_now)s THEN coalesce((
    SELECT number + 1 FROM journal WHERE book = %(book)s AND number IS NOT NULL ORDER BY number DESC LIMIT 1
), 0) ELSE 0 END
ON CONFLICT DO NOTHING

-- name: enrol_everywhere
-- Makes a reader known in every book that it is not known in; it begins with the first event.
INSERT INTO event_reader (book, name, number)
SELECT b.id, %(name)s, 0 FROM book AS b
WHERE NOT EXISTS (SELECT FROM event_reader AS r WHERE r.book = b.id AND r.name = %(name)s)
ON CONFLICT DO NOTHING

-- name: dismiss
-- Forgets a reader of a book and how far it had come.
DELETE FROM event_reader WHERE book = %(book)s AND name = %(name)s

-- name: claim
-- Takes the lease of a reader with something to read, if nobody has it: of those in this range of names the one that moved
-- first. Two that come at once pass each other by, since a locked row is skipped.
WITH due AS MATERIALIZED (
    SELECT r.book, r.name FROM event_reader AS r
    WHERE r.name >= %(first)s AND r.name <= %(last)s AND r.due_at <= clock_timestamp()
        AND coalesce(r.leased_until <= clock_timestamp(), true)
        AND EXISTS (SELECT FROM journal AS j WHERE j.book = r.book AND j.number >= r.number)
    ORDER BY r.moved_at LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
)

UPDATE event_reader AS r
SET lease = %(lease)s, leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM due WHERE r.book = due.book AND r.name = due.name
RETURNING r.book, r.name, r.lease, r.number, r.place, r.attempts

-- name: move
-- Moves a reader that still has its lease, and renews the lease: what it had failed at is over.
UPDATE event_reader
SET number = %(number)s, place = %(place)s, moved_at = clock_timestamp(), attempts = 0, failing_since = NULL, problem = NULL,
    due_at = clock_timestamp(), leased_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE book = %(book)s AND name = %(name)s AND lease = %(lease)s

-- name: give_back
-- Ends a lease.
UPDATE event_reader SET lease = NULL, leased_until = NULL
WHERE book = %(book)s AND name = %(name)s AND lease = %(lease)s

-- name: fail
-- Ends a lease after a failure: the reader stays where it is and is left alone for a while, each time twice as long.
UPDATE event_reader
SET lease = NULL, leased_until = NULL, attempts = attempts + 1, failing_since = coalesce(failing_since, clock_timestamp()),
    problem = %(problem)s, due_at = clock_timestamp() + make_interval(
        secs => least(%(seconds)s * power(2, least(attempts, 20)), %(seconds_max)s) * (0.75 + random() / 2)
    )
WHERE book = %(book)s AND name = %(name)s AND lease = %(lease)s

-- name: unhurried
-- Lets a commit return before it is on disk: a cursor that a crash takes back only makes events come twice.
SELECT set_config('synchronous_commit', 'off', true)

-- name: standings
-- The readers of a book in the order of their names, each with how many journal rows lie before it.
SELECT r.name, r.number, r.place, r.moved_at, r.due_at, r.attempts, r.failing_since, r.problem,
    greatest(coalesce((
        SELECT j.number + 1 FROM journal AS j WHERE j.book = r.book AND j.number IS NOT NULL ORDER BY j.number DESC LIMIT 1
    ), 0) - greatest(r.number, 1), 0) AS lag
FROM event_reader AS r
WHERE r.book = %(book)s AND r.name > %(after)s
ORDER BY r.name
LIMIT %(most)s

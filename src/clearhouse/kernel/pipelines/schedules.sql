-- name: set_schedule
-- Sets a schedule, anew or in place of one of that name.
INSERT INTO schedule (book, id, name, state, cron, zone, job, arguments, set_at, set_by, next_at)
VALUES (%(book)s, %(id)s, %(name)s, 'active', %(cron)s, %(zone)s, %(job)s, %(arguments)s, %(at)s, %(by)s, %(next_at)s)
ON CONFLICT (book, name) DO UPDATE SET state = 'active', cron = excluded.cron, zone = excluded.zone, job = excluded.job,
    arguments = excluded.arguments, set_at = excluded.set_at, set_by = excluded.set_by, next_at = excluded.next_at,
    attempts = 0, error = NULL

-- name: pause
-- Lets a schedule rest.
UPDATE schedule SET state = 'paused', next_at = NULL WHERE book = %(book)s AND name = %(name)s AND state = 'active'

-- name: resume
-- Lets a schedule that rests go on.
UPDATE schedule SET state = 'active', next_at = %(next_at)s, attempts = 0, error = NULL
WHERE book = %(book)s AND name = %(name)s AND state = 'paused'

-- name: fire_by_hand
-- Lets a schedule fire now.
INSERT INTO firing (book, id, schedule, job, arguments, due_at, fired_at, by_hand, state, next_at)
SELECT s.book, %(firing)s AS id, s.id AS schedule, s.job, s.arguments, %(at)s AS due_at, %(at)s AS fired_at, true AS by_hand,
    'waiting' AS state, %(at)s AS next_at
FROM schedule AS s WHERE s.book = %(book)s AND s.name = %(name)s
ON CONFLICT (book, id) DO NOTHING

-- name: schedule
-- One schedule, with its last firing.
SELECT s.name, s.state, s.cron, s.zone, s.job, s.arguments, s.next_at, s.set_at, s.set_by,
    f.due_at AS last_due_at, f.fired_at AS last_fired_at, f.done_at AS last_done_at, f.error AS last_error
FROM schedule AS s
LEFT JOIN LATERAL (
    SELECT due_at, fired_at, done_at, error FROM firing
    WHERE firing.book = s.book AND firing.schedule = s.id ORDER BY firing.book DESC, firing.schedule DESC, fired_at DESC LIMIT 1
) AS f ON true
WHERE s.book = %(book)s AND s.name = %(name)s

-- name: schedules
-- Schedules after a name, each with its last firing.
SELECT s.name, s.state, s.cron, s.zone, s.job, s.arguments, s.next_at, s.set_at, s.set_by,
    f.due_at AS last_due_at, f.fired_at AS last_fired_at, f.done_at AS last_done_at, f.error AS last_error
FROM schedule AS s
LEFT JOIN LATERAL (
    SELECT due_at, fired_at, done_at, error FROM firing
    WHERE firing.book = s.book AND firing.schedule = s.id ORDER BY firing.book DESC, firing.schedule DESC, fired_at DESC LIMIT 1
) AS f ON true
WHERE s.book = %(book)s AND s.name > %(after)s
ORDER BY s.name
LIMIT %(most)s

-- name: due
-- What a tick needs to know of schedules that it holds.
SELECT s.id, s.cron, s.zone, s.job, s.arguments, s.next_at
FROM (SELECT unnest(%(ids)s::uuid[]) AS id OFFSET 0) AS n
JOIN schedule AS s ON s.book = %(book)s AND s.id = n.id

-- name: fire
-- Leaves a firing for each of these schedules; for a tick that has one already, none.
INSERT INTO firing (book, id, schedule, job, arguments, due_at, fired_at, by_hand, state, next_at)
SELECT s.book, n.id, s.id AS schedule, s.job, s.arguments, s.next_at AS due_at, %(at)s AS fired_at, false AS by_hand,
    'waiting' AS state, %(at)s AS next_at
FROM unnest(%(ids)s::uuid[], %(schedules)s::uuid[]) AS n (id, schedule)
JOIN schedule AS s ON s.book = %(book)s AND s.id = n.schedule
ON CONFLICT DO NOTHING

-- name: go_on
-- Says when schedules fire next.
UPDATE schedule AS s SET next_at = n.next_at
FROM unnest(%(ids)s::uuid[], %(times)s::timestamptz[]) AS n (id, next_at)
WHERE s.book = %(book)s AND s.id = n.id AND s.state = 'active'

-- name: waiting
-- What the jobs of firings need to know.
SELECT f.id, s.name AS schedule, f.job, f.arguments, f.due_at, s.set_by AS by
FROM (SELECT unnest(%(ids)s::uuid[]) AS id OFFSET 0) AS n
JOIN firing AS f ON f.book = %(book)s AND f.id = n.id
JOIN schedule AS s ON s.book = f.book AND s.id = f.schedule
WHERE f.state = 'waiting'

-- name: done
-- Says that what a firing set going is done.
UPDATE firing SET state = 'done', done_at = %(at)s, next_at = NULL
WHERE book = %(book)s AND id = %(id)s AND state = 'waiting'

-- name: forget_firings
-- Drops firings that were done long ago.
DELETE FROM firing WHERE state = 'done' AND done_at < %(before)s

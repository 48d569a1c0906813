-- name: webhook
-- A webhook of a book.
SELECT id, url, description, types, state, reason, added_at, added_by, changed_at FROM webhook_endpoint
WHERE book = %(book)s AND id = %(id)s

-- name: hold_webhook
-- A webhook of a book, locked.
SELECT id, url, description, types, state, reason, added_at, added_by, changed_at FROM webhook_endpoint
WHERE book = %(book)s AND id = %(id)s FOR NO KEY UPDATE

-- name: webhooks
-- The webhooks of a book after a given one, oldest first.
SELECT id, url, description, types, state, reason, added_at, added_by, changed_at FROM webhook_endpoint
WHERE book = %(book)s AND id > %(after)s ORDER BY id LIMIT %(most)s

-- name: add_webhook
-- A new webhook at the end of the log, if there are not too many; two that come at once may both be the last one.
INSERT INTO webhook_endpoint (
    book, id, url, description, types, state, reason, added_at, added_by, changed_at, number, place
)
SELECT %(book)s, %(id)s, %(url)s, %(description)s, %(types)s::text[], 'enabled', '', %(at)s::timestamptz AS added_at,
    %(by)s, %(at)s::timestamptz AS changed_at,
    coalesce((
        SELECT number + 1 FROM journal WHERE book = %(book)s AND number IS NOT NULL ORDER BY number DESC LIMIT 1
    ), 0),
    0
WHERE (SELECT count(*) FROM webhook_endpoint WHERE book = %(book)s AND state = 'enabled') < %(most)s
RETURNING id, url, description, types, state, reason, added_at, added_by, changed_at

-- name: change_webhook
-- Changes what is given.
UPDATE webhook_endpoint SET
    url = coalesce(%(url)s::text, url), description = coalesce(%(description)s::text, description),
    types = coalesce(%(types)s::text[], types), changed_at = %(at)s
WHERE book = %(book)s AND id = %(id)s
RETURNING id, url, description, types, state, reason, added_at, added_by, changed_at

-- name: disable_webhook
-- Sends a webhook nothing more.
UPDATE webhook_endpoint SET state = 'disabled', reason = %(reason)s, changed_at = %(at)s
WHERE book = %(book)s AND id = %(id)s AND state = 'enabled'

-- name: enable_webhook
-- Lets a webhook go on at the end of the log, if there are not too many.
UPDATE webhook_endpoint SET state = 'enabled', reason = '', changed_at = %(at)s,
    number = coalesce((
        SELECT j.number + 1 FROM journal AS j WHERE j.book = %(book)s AND j.number IS NOT NULL ORDER BY j.number DESC LIMIT 1
    ), 0),
    place = 0
WHERE book = %(book)s AND id = %(id)s AND state = 'disabled'
    AND (SELECT count(*) FROM webhook_endpoint WHERE book = %(book)s AND state = 'enabled') < %(most)s

-- name: signing_secrets
-- The secrets of a webhook that are good, the newest first.
SELECT secret FROM webhook_secret
WHERE book = %(book)s AND endpoint = %(endpoint)s AND (ends_at IS NULL OR ends_at > %(at)s) ORDER BY id DESC

-- name: add_secret
-- A new secret of a webhook.
INSERT INTO webhook_secret (book, endpoint, secret, made_at) VALUES (%(book)s, %(endpoint)s, %(secret)s, %(at)s)

-- name: secrets_sealed_otherwise
-- The secrets of every book that are not sealed under the first key, locked; whoever seals one at this moment does so first.
SELECT book, endpoint, id, secret FROM webhook_secret WHERE NOT starts_with(secret, %(current)s)
ORDER BY book, endpoint, id FOR NO KEY UPDATE

-- name: seal_secret
-- Puts a secret in the place of the same one that was sealed otherwise.
UPDATE webhook_secret SET secret = %(secret)s WHERE book = %(book)s AND endpoint = %(endpoint)s AND id = %(id)s

-- name: end_secrets
-- Lets the secret that has no end yet have one.
UPDATE webhook_secret SET ends_at = %(ends_at)s WHERE book = %(book)s AND endpoint = %(endpoint)s AND ends_at IS NULL

-- name: drop_secrets
-- Forgets the secrets of a webhook that have ended.
DELETE FROM webhook_secret WHERE book = %(book)s AND endpoint = %(endpoint)s AND ends_at <= %(at)s

-- name: listening
-- The webhooks of a book that are enabled and have room for more deliveries, with where each is in the log, locked in id order;
-- whoever holds one of them is giving it its deliveries at this moment.
SELECT e.id, e.types, e.number, e.place FROM webhook_endpoint AS e
WHERE e.book = %(book)s AND e.state = 'enabled' AND NOT EXISTS (
        SELECT FROM webhook_delivery AS d
        WHERE d.book = e.book AND d.endpoint = e.id AND d.state = 'pending' OFFSET %(room)s
    )
ORDER BY e.id FOR NO KEY UPDATE OF e SKIP LOCKED

-- name: add_deliveries
-- Deliveries of events. One that is there already is so because of a replay: it is to be made again.
INSERT INTO webhook_delivery AS d (
    book, endpoint, number, place, type, state, attempts, made_at, next_at, ends_at, answer
)
SELECT %(book)s, u.endpoint, u.number, u.place, u.type, 'pending', 0, %(at)s::timestamptz AS made_at, %(at)s::timestamptz AS next_at,
    %(ends_at)s, ''
FROM unnest(%(endpoints)s::uuid[], %(numbers)s::bigint[], %(places)s::int[], %(types)s::text[])
    AS u (endpoint, number, place, type)
ORDER BY u.endpoint, u.number, u.place
ON CONFLICT (book, endpoint, number, place) DO UPDATE
SET state = 'pending', attempts = 0, next_at = excluded.next_at, ends_at = excluded.ends_at, ended_at = NULL, status = NULL,
    answer = ''
WHERE d.state <> 'pending'

-- name: move_webhooks
-- Says where webhooks are in the log now.
UPDATE webhook_endpoint AS e SET number = n.number, place = n.place
FROM (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(ids)s::uuid[], %(numbers)s::bigint[], %(places)s::int[])
        AS u (id, number, place) OFFSET 0
) AS n
WHERE e.book = n.book AND e.id = n.id

-- name: events_at
-- Rows of the log by their numbers, with what their events say about where they come from.
SELECT j.number, j.principal, j.lines, '/books/' || b.name AS source,
    CASE WHEN j.at >= '0001-01-01Z' AND j.at < '10000-01-01Z' THEN j.at ELSE '0001-01-01Z' END AS at
FROM (SELECT %(book)s::int AS book, u.number FROM unnest(%(numbers)s::bigint[]) AS u (number) OFFSET 0) AS n
JOIN journal AS j ON j.book = n.book AND j.number = n.number
JOIN book AS b ON b.id = n.book

-- name: books_listening
-- The books that have an endpoint which is enabled.
SELECT DISTINCT book FROM webhook_endpoint WHERE state = 'enabled' ORDER BY book

-- name: due
-- The enabled webhooks of every book that have something to be sent.
SELECT e.book, e.id FROM webhook_endpoint AS e
WHERE e.state = 'enabled' AND EXISTS (
    SELECT FROM webhook_delivery AS d
    WHERE d.book = e.book AND d.endpoint = e.id AND d.state = 'pending' AND d.next_at <= %(at)s
)
ORDER BY e.book, e.id

-- name: claim
-- Takes some deliveries of an enabled webhook that are due, the longest due first, for as long as the lease lasts.
UPDATE webhook_delivery AS d SET attempts = d.attempts + 1, next_at = %(lease)s
FROM (
    SELECT w.book, w.endpoint, w.number, w.place, e.url FROM webhook_delivery AS w
    JOIN webhook_endpoint AS e ON e.book = w.book AND e.id = w.endpoint AND e.state = 'enabled'
    WHERE w.book = %(book)s AND w.endpoint = %(endpoint)s AND w.state = 'pending' AND w.next_at <= %(at)s
    ORDER BY w.next_at LIMIT %(most)s FOR NO KEY UPDATE OF w SKIP LOCKED
) AS c
WHERE d.book = c.book AND d.endpoint = c.endpoint AND d.number = c.number AND d.place = c.place
RETURNING d.number, d.place, d.attempts, d.ends_at, c.url

-- name: record
-- Keeps what became of deliveries that were taken; whoever took one later than us has the word.
UPDATE webhook_delivery AS d
SET state = n.state, next_at = n.next_at, status = n.status, answer = n.answer,
    ended_at = CASE WHEN n.state = 'pending' THEN NULL ELSE %(at)s::timestamptz END
FROM (
    SELECT %(book)s::int AS book, %(endpoint)s::uuid AS endpoint, u.*
    FROM unnest(%(numbers)s::bigint[], %(places)s::int[], %(attempts)s::int[], %(states)s::text[], %(nexts)s::timestamptz[],
        %(statuses)s::int[], %(answers)s::text[]) AS u (number, place, attempts, state, next_at, status, answer)
    ORDER BY u.number, u.place OFFSET 0
) AS n
WHERE d.book = n.book AND d.endpoint = n.endpoint AND d.number = n.number AND d.place = n.place AND d.attempts = n.attempts
    AND d.state = 'pending'

-- name: deliveries
-- The deliveries of a webhook in a state, before a given one, newest first.
SELECT number, place, type, state, attempts, made_at, next_at, ends_at, ended_at, status, answer FROM webhook_delivery
WHERE book = %(book)s AND endpoint = %(endpoint)s AND state = %(state)s AND (number, place) < (%(number)s, %(place)s)
ORDER BY number DESC, place DESC LIMIT %(most)s

-- name: all_deliveries
-- The deliveries of a webhook before a given one, newest first.
SELECT number, place, type, state, attempts, made_at, next_at, ends_at, ended_at, status, answer FROM webhook_delivery
WHERE book = %(book)s AND endpoint = %(endpoint)s AND (number, place) < (%(number)s, %(place)s)
ORDER BY number DESC, place DESC LIMIT %(most)s

-- name: delivery
-- One delivery of a webhook.
SELECT number, place, type, state, attempts, made_at, next_at, ends_at, ended_at, status, answer FROM webhook_delivery
WHERE book = %(book)s AND endpoint = %(endpoint)s AND number = %(number)s AND place = %(place)s

-- name: replay_one
-- Lets a delivery that has ended be made again.
UPDATE webhook_delivery
SET state = 'pending', attempts = 0, next_at = %(at)s, ends_at = %(ends_at)s, ended_at = NULL, status = NULL, answer = ''
WHERE book = %(book)s AND endpoint = %(endpoint)s AND number = %(number)s AND place = %(place)s AND state <> 'pending'

-- name: replay_dead
-- Lets every dead delivery of a webhook be made again.
UPDATE webhook_delivery
SET state = 'pending', attempts = 0, next_at = %(at)s, ends_at = %(ends_at)s, ended_at = NULL, status = NULL, answer = ''
WHERE book = %(book)s AND endpoint = %(endpoint)s AND state = 'dead'

-- name: rewind
-- Takes a webhook back to a row of the log, never forward.
UPDATE webhook_endpoint SET number = %(number)s, place = 0
WHERE book = %(book)s AND id = %(id)s AND (number, place) > (%(number)s, 0)

-- name: row_at_or_after
-- The first row of the log at or after a number, with its time.
SELECT number, at FROM journal WHERE book = %(book)s AND number >= %(number)s ORDER BY number LIMIT 1

-- name: first_since
-- The first row of the log from a number on that is not older than a time.
SELECT number, at FROM journal
WHERE book = %(book)s AND number >= %(number)s AND at >= %(since)s ORDER BY number LIMIT 1

-- name: last_row
-- The last row of the log, with its time.
SELECT number, at FROM journal WHERE book = %(book)s AND number IS NOT NULL ORDER BY number DESC LIMIT 1

-- name: forget_deliveries
-- Drops deliveries that were made long ago, some at a time.
DELETE FROM webhook_delivery AS d
USING (
    SELECT w.book, w.endpoint, w.number, w.place FROM webhook_delivery AS w
    WHERE w.state = 'delivered' AND w.ended_at < %(before)s
    ORDER BY w.ended_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
) AS o
WHERE d.book = o.book AND d.endpoint = o.endpoint AND d.number = o.number AND d.place = o.place

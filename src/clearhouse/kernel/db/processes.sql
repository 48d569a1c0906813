-- What the processes of a house tell each other of their loops.

-- name: say
-- Leaves the word of a process in the place of its last one, and forgets those that were left long ago.
WITH forgotten AS (DELETE FROM process WHERE said_at < clock_timestamp() - make_interval(secs => %(forget)s))

INSERT INTO process (id, said_at, loops, seconds)
VALUES (%(id)s, clock_timestamp(), %(loops)s::text[], %(seconds)s::float8[])
ON CONFLICT (id) DO UPDATE SET said_at = excluded.said_at, loops = excluded.loops, seconds = excluded.seconds

-- name: standing
-- The loops that stand still in other processes that were heard of lately, each with the longest time.
SELECT u.loop, max(u.seconds + extract(EPOCH FROM clock_timestamp() - p.said_at)::float8) AS seconds
FROM process AS p CROSS JOIN LATERAL unnest(p.loops, p.seconds) AS u (loop, seconds)
WHERE p.said_at > clock_timestamp() - make_interval(secs => %(heard)s) AND p.id <> %(id)s
GROUP BY u.loop
ORDER BY u.loop

-- How the kernel is, for everybody to ask.

-- name: unnumbered
-- How old the oldest row of the journal is that has no number yet.
SELECT (
    SELECT extract(EPOCH FROM clock_timestamp() - j.at)::float8
    FROM journal AS j WHERE j.number IS NULL ORDER BY j.id LIMIT 1
) AS seconds

-- name: heartbeat
-- How long ago the last sign of life of any worker was.
SELECT extract(EPOCH FROM clock_timestamp() - max(w.last_heartbeat))::float8 AS seconds
FROM clearhouse_jobs.procrastinate_workers AS w

-- name: failing
-- A reader of events that fails in some book, and since when.
SELECT 'late' AS status, extract(EPOCH FROM clock_timestamp() - min(r.failing_since))::float8 AS waiting_seconds
FROM event_reader AS r WHERE r.name = %(name)s AND r.failing_since IS NOT NULL HAVING count(*) > 0

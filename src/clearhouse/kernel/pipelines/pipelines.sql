-- name: queue_jobs
-- Queues a job for each of these stages, unless one is waiting already: it will look at everything that is committed by then.
INSERT INTO clearhouse_jobs.procrastinate_jobs (queue_name, task_name, queueing_lock, args)
SELECT n.queue, 'advance', n.stage, jsonb_build_object('stage', n.stage)
FROM unnest(%(stages)s::text[], %(queues)s::text[]) AS n (stage, queue)
ORDER BY n.stage
ON CONFLICT (queueing_lock) WHERE status = 'todo'::clearhouse_jobs.procrastinate_job_status DO NOTHING

-- name: sweeping
-- Asks to be the one that sweeps, until the transaction ends.
SELECT pg_try_advisory_xact_lock(7246003) AS ours

-- name: add_obligations
-- Records obligations; those whose ids are there already stay as they were.
INSERT INTO interbank_obligation (
    book, obligation_id, batch, payer, payee, currency, amount, reference, recorded_at, recorded_by
)
SELECT %(book)s, n.id, n.batch, n.payer, n.payee, n.currency, n.amount, n.reference, %(at)s, n.by
FROM unnest(
    %(ids)s::text[], %(batches)s::uuid[], %(payers)s::text[], %(payees)s::text[], %(currencies)s::text[],
    %(amounts)s::numeric[], %(references)s::text[], %(people)s::uuid[]
) AS n (id, batch, payer, payee, currency, amount, reference, by)
ORDER BY n.id COLLATE "C"
ON CONFLICT (book, obligation_id) DO NOTHING

-- name: settled_obligations
-- Which of these obligations a settlement has taken, or has given up whose order may still arrive.
SELECT o.obligation_id, s.id IS NOT NULL AS outstanding
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::text[]) AS u (id) OFFSET 0) AS asked
JOIN interbank_obligation AS o ON o.book = asked.book AND o.obligation_id = asked.id
LEFT JOIN settlement_transactions AS s ON s.book = o.book AND s.id = o.settlement AND s.state IN ('FAILED', 'ROLLED_BACK')
WHERE o.settlement IS NOT NULL

-- name: add_batches
-- What was recorded counts for the cycles that are open where the cuts stand.
INSERT INTO netting_batch (book, cycle, id)
SELECT %(book)s, c.id, n.batch
FROM unnest(%(currencies)s::text[], %(positions)s::bigint[], %(batches)s::uuid[]) AS n (currency, position, batch)
JOIN netting_cycle AS c ON c.book = %(book)s AND c.currency = n.currency AND c.number = n.position AND c.state = 'OPEN'
RETURNING cycle, id

-- name: obligations
-- These obligations, each with the last cycle that it counts for.
SELECT o.obligation_id, o.batch, o.payer, o.payee, o.currency, o.amount, o.reference, o.recorded_at, l.cycle, l.state
FROM unnest(%(ids)s::text[]) AS n (id)
JOIN interbank_obligation AS o ON o.book = %(book)s AND o.obligation_id = n.id
CROSS JOIN LATERAL (
    SELECT c.id AS cycle, c.state FROM netting_batch AS b
    JOIN netting_cycle AS c ON c.book = b.book AND c.id = b.cycle
    WHERE b.book = o.book AND b.id = o.batch AND NOT (o.payer = ANY(b.without) OR o.payee = ANY(b.without))
    ORDER BY c.number DESC LIMIT 1
) AS l

-- name: withdrawable
-- These obligations with who recorded them, each with the last cycle that it counts for.
SELECT o.obligation_id, o.batch, o.payer, o.payee, o.currency, o.amount, o.reference, o.recorded_at, o.recorded_by,
    l.cycle, l.number, l.state
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::text[]) AS u (id) OFFSET 0) AS n
JOIN interbank_obligation AS o ON o.book = n.book AND o.obligation_id = n.id AND o.batch IS NOT NULL
CROSS JOIN LATERAL (
    SELECT c.id AS cycle, c.number, c.state FROM netting_batch AS b
    JOIN netting_cycle AS c ON c.book = b.book AND c.id = b.cycle
    WHERE b.book = o.book AND b.id = o.batch AND NOT (o.payer = ANY(b.without) OR o.payee = ANY(b.without))
    ORDER BY c.number DESC LIMIT 1
) AS l

-- name: withdrawn
-- These obligations as they were withdrawn last, with the cycle that they counted for then.
SELECT DISTINCT ON (w.obligation_id) w.obligation_id, w.batch, w.payer, w.payee, w.currency, w.amount, w.reference,
    w.recorded_at, w.recorded_by, w.cycle, c.state, w.reason, w.withdrawn_at
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::text[]) AS u (id) OFFSET 0) AS n
JOIN netting_withdrawn AS w ON w.book = n.book AND w.obligation_id = n.id
JOIN netting_cycle AS c ON c.book = w.book AND c.id = w.cycle
ORDER BY w.obligation_id, w.withdrawn_at DESC

-- name: keep_withdrawn
-- Keeps what is withdrawn as it was recorded, with why; a race for one is lost at the key.
INSERT INTO netting_withdrawn (
    book, obligation_id, batch, payer, payee, currency, amount, reference, recorded_at, recorded_by, cycle, counted_until,
    reason, withdrawn_at
)
SELECT o.book, o.obligation_id, o.batch, o.payer, o.payee, o.currency, o.amount, o.reference, o.recorded_at, o.recorded_by,
    n.cycle, n.counted_until, n.reason, %(at)s
FROM (
    SELECT %(book)s::int AS book, u.*
    FROM unnest(%(ids)s::text[], %(cycles)s::uuid[], %(numbers)s::bigint[], %(reasons)s::text[]) AS u (
        id, cycle, counted_until, reason
    ) OFFSET 0
) AS n
JOIN interbank_obligation AS o ON o.book = n.book AND o.obligation_id = n.id AND o.batch IS NOT NULL
ORDER BY o.obligation_id

-- name: free_withdrawn
-- Gives the ids of what was withdrawn back.
DELETE FROM interbank_obligation AS o
USING (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::text[]) AS u (id) OFFSET 0) AS n
WHERE o.book = n.book AND o.obligation_id = n.id AND o.batch IS NOT NULL

-- name: leaf
-- An obligation as it counted for a cycle, whatever has become of it since.
SELECT o.obligation_id, o.batch, o.payer, o.payee, o.currency, o.amount, o.reference, o.recorded_at, c.id AS cycle, c.state,
    o.reason, o.withdrawn_at
FROM (
    SELECT book, obligation_id, batch, payer, payee, currency, amount, reference, recorded_at, NULL::text AS reason,
        NULL::timestamptz AS withdrawn_at
    FROM interbank_obligation WHERE batch IS NOT NULL
    UNION ALL
    SELECT book, obligation_id, batch, payer, payee, currency, amount, reference, recorded_at, reason, withdrawn_at
    FROM netting_withdrawn
) AS o
JOIN netting_batch AS b ON b.book = o.book AND b.id = o.batch AND b.cycle = %(cycle)s
JOIN netting_cycle AS c ON c.book = b.book AND c.id = b.cycle
WHERE o.book = %(book)s AND o.obligation_id = %(id)s

-- name: cycle_obligations
-- The obligations that count for a cycle, as they were recorded, after one of them: of one bank, of two, or of all. What was
-- withdrawn counts for what had been closed before that.
SELECT o.obligation_id, o.batch, o.payer, o.payee, o.currency, o.amount, o.reference, o.recorded_at, c.id AS cycle, c.state,
    o.reason, o.withdrawn_at
FROM netting_cycle AS c
JOIN netting_batch AS b ON b.book = c.book AND b.cycle = c.id AND b.id >= %(batch)s::uuid
JOIN (
    SELECT book, obligation_id, batch, payer, payee, currency, amount, reference, recorded_at, NULL::text AS reason,
        NULL::timestamptz AS withdrawn_at, 9223372036854775807 AS counted_until
    FROM interbank_obligation WHERE batch IS NOT NULL
    UNION ALL
    SELECT book, obligation_id, batch, payer, payee, currency, amount, reference, recorded_at, reason, withdrawn_at,
        counted_until
    FROM netting_withdrawn
) AS o ON o.book = b.book AND o.batch = b.id AND (b.id > %(batch)s::uuid OR o.obligation_id > %(after)s)
WHERE c.book = %(book)s AND c.id = %(cycle)s AND c.number <= o.counted_until
    AND NOT (o.payer = ANY(b.without) OR o.payee = ANY(b.without))
    AND (%(bank)s::text IS NULL OR o.payer = %(bank)s OR o.payee = %(bank)s)
    AND (%(other)s::text IS NULL OR o.payer = %(other)s OR o.payee = %(other)s)
ORDER BY b.id, o.obligation_id LIMIT %(most)s

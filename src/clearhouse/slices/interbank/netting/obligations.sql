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

-- name: cycle_obligations
-- The obligations that count for a cycle, as they were recorded, after one of them: of one bank, of two, or of all.
SELECT o.obligation_id, o.batch, o.payer, o.payee, o.currency, o.amount, o.reference, o.recorded_at, c.id AS cycle, c.state
FROM netting_cycle AS c
JOIN netting_batch AS b ON b.book = c.book AND b.cycle = c.id AND b.id >= %(batch)s::uuid
JOIN interbank_obligation AS o ON o.book = b.book AND o.batch = b.id AND (b.id > %(batch)s::uuid OR o.obligation_id > %(after)s)
WHERE c.book = %(book)s AND c.id = %(cycle)s
    AND NOT (o.payer = ANY(b.without) OR o.payee = ANY(b.without))
    AND (%(bank)s::text IS NULL OR o.payer = %(bank)s OR o.payee = %(bank)s)
    AND (%(other)s::text IS NULL OR o.payer = %(other)s OR o.payee = %(other)s)
ORDER BY b.id, o.obligation_id LIMIT %(most)s

-- Explaining: what an amount of interbank is made of.

-- name: captures
-- What was captured of these holds, in order.
SELECT t.id, t.amount, t.booked
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(holds)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN ledger_transfer AS t ON t.book = asked.book AND t.target = asked.id
WHERE t.kind = 2
ORDER BY t.booked, t.sequence, t.id

-- name: hold
-- What is still held.
SELECT id, remaining, expires_at FROM ledger_hold WHERE book = %(book)s AND id = %(hold)s AND state = 'pending'

-- name: lines
-- The lines of a bank's statement that transfers of ours were matched with.
SELECT o.id AS transfer, t.id, t.amount, t.day, t.reference
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(transfers)s::text[]) AS u (id) OFFSET 0) AS asked
JOIN reconciliation_item AS o ON o.book = asked.book AND o.name = %(name)s AND o.side = 'ours' AND o.id = asked.id
JOIN reconciliation_part AS p ON p.book = o.book AND p.item = o.number
JOIN reconciliation_match AS m ON m.book = p.book AND m.batch = p.batch AND m.number = p.number
CROSS JOIN LATERAL unnest(m.theirs) AS their (number)
JOIN reconciliation_item AS t ON t.book = m.book AND t.number = their.number
ORDER BY o.id, t.number

-- name: compensations
-- What was put right after the fact, with what was booked for it.
SELECT cause, amount, reason, at, transaction FROM compensation_transactions
WHERE book = %(book)s AND settlement = %(id)s ORDER BY at, reference

-- name: left_open
-- What a run was given and did not match, the largest first, and what all of a side comes to.
WITH given AS (
    SELECT i.number, i.side, i.id, i.amount, i.day, i.reference
    FROM reconciliation_load AS d
    JOIN reconciliation_item AS i ON i.book = d.book AND i.load = d.id
    WHERE d.book = %(book)s AND d.run = %(run)s
    UNION ALL
    SELECT i.number, i.side, i.id, i.amount, i.day, i.reference
    FROM reconciliation_run AS r
    CROSS JOIN LATERAL unnest(r.carried) AS c (number)
    JOIN reconciliation_item AS i ON i.book = r.book AND i.number = c.number
    WHERE r.book = %(book)s AND r.id = %(run)s
),

matched AS (
    SELECT unnest(m.ours || m.theirs) AS number FROM reconciliation_match AS m
    WHERE m.book = %(book)s AND m.batch = %(run)s
)

SELECT g.side, g.id, g.amount, g.day, g.reference,
    sum(g.amount) OVER (PARTITION BY g.side) AS total, count(*) OVER (PARTITION BY g.side) AS count
FROM given AS g
WHERE NOT EXISTS (SELECT FROM matched AS m WHERE m.number = g.number)
ORDER BY abs(g.amount) DESC, g.number
LIMIT %(most)s

-- name: roomy
-- Room to sum up many obligations at once.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)

-- name: add_flows
-- What the obligations of a cycle come to, from each bank to each other.
INSERT INTO netting_flow (book, cycle, payer, payee, obligations, amount)
SELECT %(book)s, %(cycle)s, o.payer, o.payee, count(*), sum(o.amount)
FROM netting_batch AS b
JOIN interbank_obligation AS o ON o.book = b.book AND o.batch = b.id
WHERE b.book = %(book)s AND b.cycle = %(cycle)s AND NOT (o.payer = ANY(b.without) OR o.payee = ANY(b.without))
GROUP BY o.payer, o.payee

-- name: add_gross
-- Each obligation of a cycle is a position of its own.
INSERT INTO netting_position (
    book, cycle, place, bank, counterparty, obligation_id, obligations, sent, received, net, turn
)
SELECT %(book)s, %(cycle)s, row_number() OVER (ORDER BY b.id, o.obligation_id), o.payer, o.payee, o.obligation_id, 1,
    o.amount, 0, -o.amount, 0
FROM netting_batch AS b
JOIN interbank_obligation AS o ON o.book = b.book AND o.batch = b.id
WHERE b.book = %(book)s AND b.cycle = %(cycle)s AND NOT (o.payer = ANY(b.without) OR o.payee = ANY(b.without))

-- name: add_bilateral
-- Two banks that owe each other have one position: what one of them still owes when both are set off.
INSERT INTO netting_position (book, cycle, place, bank, counterparty, obligations, sent, received, net, turn)
SELECT %(book)s, %(cycle)s, row_number() OVER (ORDER BY f.bank, f.other), f.bank, f.other, sum(f.obligations),
    sum(f.sent), sum(f.received), sum(f.received) - sum(f.sent), 0
FROM (
    SELECT least(payer, payee) AS bank, greatest(payer, payee) AS other, obligations,
        CASE WHEN payer < payee THEN amount ELSE 0 END AS sent, CASE WHEN payer < payee THEN 0 ELSE amount END AS received
    FROM netting_flow WHERE book = %(book)s AND cycle = %(cycle)s
) AS f
GROUP BY f.bank, f.other

-- name: add_multilateral
-- Each bank has one position: all that it is owed less all that it owes. Whoever pays has the earlier turn.
INSERT INTO netting_position (book, cycle, place, bank, obligations, sent, received, net, turn)
SELECT %(book)s, %(cycle)s, row_number() OVER (ORDER BY f.bank), f.bank, sum(f.obligations), sum(f.sent), sum(f.received),
    sum(f.received) - sum(f.sent), CASE WHEN sum(f.received) > sum(f.sent) THEN 1 ELSE 0 END
FROM (
    SELECT payer AS bank, obligations, amount AS sent, 0 AS received
    FROM netting_flow WHERE book = %(book)s AND cycle = %(cycle)s
    UNION ALL
    SELECT payee AS bank, obligations, 0 AS sent, amount AS received
    FROM netting_flow WHERE book = %(book)s AND cycle = %(cycle)s
) AS f
GROUP BY f.bank

-- name: totals
-- What a cycle comes to: how much is owed, and how much of it is left to be paid.
SELECT f.obligations, f.gross, p.positions, p.net
FROM (
    SELECT coalesce(sum(obligations), 0)::bigint AS obligations, coalesce(sum(amount), 0) AS gross
    FROM netting_flow WHERE book = %(book)s AND cycle = %(cycle)s
) AS f
CROSS JOIN (
    SELECT count(*) AS positions, coalesce(sum(abs(net)) FILTER (WHERE turn = 0), 0) AS net
    FROM netting_position WHERE book = %(book)s AND cycle = %(cycle)s
) AS p

-- name: standing
-- Positions of a cycle in a state: of the earliest turn, those first that were refused least often.
SELECT p.cycle, p.place, p.bank, p.counterparty, p.obligation_id, p.obligations, p.sent, p.received, p.net, p.state, p.reason
FROM netting_position AS p
WHERE p.book = %(book)s AND p.cycle = %(cycle)s AND p.state = %(state)s AND p.turn = (
    SELECT e.turn FROM netting_position AS e
    WHERE e.book = %(book)s AND e.cycle = %(cycle)s AND e.state = %(state)s ORDER BY e.turn LIMIT 1
)
ORDER BY p.tries, p.place LIMIT %(most)s

-- name: move_positions
-- Moves positions from one state to another.
UPDATE netting_position AS p SET state = %(to)s, reason = NULL
FROM unnest(%(places)s::bigint[]) AS n (place)
WHERE p.book = %(book)s AND p.cycle = %(cycle)s AND p.place = n.place AND p.state = %(found)s

-- name: refused
-- Positions that the ledger would not commit now: they are tried again after the others.
UPDATE netting_position AS p SET tries = p.tries + 1, reason = n.reason
FROM unnest(%(places)s::bigint[], %(reasons)s::text[]) AS n (place, reason)
WHERE p.book = %(book)s AND p.cycle = %(cycle)s AND p.place = n.place AND p.state = 'RESERVED'

-- name: positions_page
-- Positions of a cycle in order, of one bank or of all.
SELECT cycle, place, bank, counterparty, obligation_id, obligations, sent, received, net, state, reason
FROM netting_position
WHERE book = %(book)s AND cycle = %(cycle)s AND place > %(after)s
    AND (%(bank)s::text IS NULL OR bank = %(bank)s OR counterparty = %(bank)s)
ORDER BY place LIMIT %(most)s

-- name: flows
-- What went between one bank and the others, or between two of them, in a cycle.
SELECT payer, payee, obligations, amount FROM netting_flow
WHERE book = %(book)s AND cycle = %(cycle)s AND (payer = %(bank)s OR payee = %(bank)s)
    AND (%(other)s::text IS NULL OR payer = %(other)s OR payee = %(other)s)
ORDER BY payer, payee

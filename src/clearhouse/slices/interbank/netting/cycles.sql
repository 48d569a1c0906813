-- name: cycles
-- These cycles.
SELECT c.id, c.currency, c.exponent, c.number, c.method, c.state, c.settle, c.obligations, c.positions, c.gross, c.net,
    c.reason, c.carried_to, c.opened_at, c.closed_at, c.netted_at, c.committing_at, c.ended_at, c.error
FROM unnest(%(ids)s::uuid[]) AS n (id)
JOIN netting_cycle AS c ON c.book = %(book)s AND c.id = n.id

-- name: cycles_page
-- Cycles of a currency or of all, in a state or in any, newest first, before one of them.
SELECT id, currency, exponent, number, method, state, settle, obligations, positions, gross, net, reason, carried_to,
    opened_at, closed_at, netted_at, committing_at, ended_at, error
FROM netting_cycle
WHERE book = %(book)s AND (opened_at, id) < (%(opened_at)s, %(before)s::uuid)
    AND (%(currency)s::text IS NULL OR currency = %(currency)s) AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY opened_at DESC, id DESC LIMIT %(most)s

-- name: open_cycles
-- The cycles that are open now in these currencies.
SELECT c.id, c.currency, c.number
FROM unnest(%(currencies)s::text[]) AS n (currency)
JOIN netting_cycle AS c ON c.book = %(book)s AND c.currency = n.currency AND c.state = 'OPEN'

-- name: add_cycles
-- Opens cycles where their cuts stand, unless one is open there.
INSERT INTO netting_cycle (book, id, currency, exponent, number, method, state, opened_at, opened_by)
SELECT %(book)s, n.id, n.currency, n.exponent, n.number, n.method, 'OPEN', %(at)s, n.by
FROM unnest(
    %(ids)s::uuid[], %(currencies)s::text[], %(exponents)s::int[], %(numbers)s::bigint[], %(methods)s::text[],
    %(people)s::uuid[]
) AS n (id, currency, exponent, number, method, by)
ORDER BY n.id
ON CONFLICT DO NOTHING

-- name: close_cycles
-- Closes those of the cycles that are open.
UPDATE netting_cycle AS c SET state = 'CLOSED', closed_at = %(at)s, settle = n.settle, next_at = %(at)s
FROM unnest(%(ids)s::uuid[], %(settle)s::boolean[]) AS n (id, settle)
WHERE c.book = %(book)s AND c.id = n.id AND c.state = 'OPEN'
RETURNING c.id

-- name: end_empty
-- Those of the cycles, just closed, for which nothing was recorded are settled at once.
UPDATE netting_cycle AS c SET
    state = 'SETTLED', netted_at = %(at)s, ended_at = %(at)s, next_at = NULL, obligations = 0, positions = 0, gross = 0,
    net = 0
FROM unnest(%(ids)s::uuid[]) AS n (id)
WHERE c.book = %(book)s AND c.id = n.id AND c.state = 'CLOSED'
    AND NOT EXISTS (SELECT FROM netting_batch AS b WHERE b.book = %(book)s AND b.cycle = n.id)

-- name: settle_cycle
-- Lets a closed cycle be settled: now if it is netted, else as soon as it is.
UPDATE netting_cycle SET
    settle = true, next_at = %(at)s, state = CASE WHEN netted_at IS NULL THEN 'CLOSED' ELSE 'SETTLING' END
WHERE book = %(book)s AND id = %(id)s AND state = 'CLOSED'

-- name: abort_cycle
-- Takes a cycle back of which nothing was committed: at once where nothing is reserved, else step by step.
UPDATE netting_cycle SET
    reason = coalesce(reason, %(reason)s),
    state = CASE state WHEN 'CLOSED' THEN 'ABORTED' ELSE state END,
    ended_at = CASE state WHEN 'CLOSED' THEN %(at)s::timestamptz END,
    next_at = CASE state WHEN 'CLOSED' THEN NULL ELSE %(at)s::timestamptz END
WHERE book = %(book)s AND id = %(id)s AND (state = 'CLOSED' OR state = 'SETTLING' AND committing_at IS NULL)

-- name: carry_batches
-- Lets what was recorded for a cycle count for another, without these banks too.
INSERT INTO netting_batch (book, cycle, id, without)
SELECT book, %(to)s, id, without || %(without)s::text[] FROM netting_batch WHERE book = %(book)s AND cycle = %(cycle)s
ORDER BY id

-- name: carried
-- Says where the obligations of an aborted cycle went.
UPDATE netting_cycle SET carried_to = %(to)s
WHERE book = %(book)s AND id = %(cycle)s AND state = 'ABORTED' AND carried_to IS NULL

-- name: netted
-- Says what a cycle comes to; it goes on to be settled if somebody asked for that, and ends if there is nothing in it.
UPDATE netting_cycle SET
    netted_at = %(at)s, obligations = %(obligations)s, positions = %(positions)s::bigint, gross = %(gross)s, net = %(net)s,
    state = CASE WHEN %(positions)s::bigint = 0 THEN 'SETTLED' WHEN settle THEN 'SETTLING' ELSE state END,
    ended_at = CASE WHEN %(positions)s::bigint = 0 THEN %(at)s::timestamptz END,
    next_at = CASE WHEN %(positions)s::bigint > 0 AND settle THEN %(at)s::timestamptz END
WHERE book = %(book)s AND id = %(id)s AND state = 'CLOSED'

-- name: take_back
-- Begins to take a cycle back, since not all of it can be reserved.
UPDATE netting_cycle SET reason = %(reason)s
WHERE book = %(book)s AND id = %(id)s AND state = 'SETTLING' AND committing_at IS NULL

-- name: commit_cycle
-- Everything is reserved: from here on there is no way back.
UPDATE netting_cycle SET committing_at = %(at)s
WHERE book = %(book)s AND id = %(id)s AND state = 'SETTLING' AND reason IS NULL AND committing_at IS NULL

-- name: end_cycle
-- Ends a cycle that is settled or aborted.
UPDATE netting_cycle SET state = %(state)s, ended_at = %(at)s, next_at = NULL
WHERE book = %(book)s AND id = %(id)s AND state = 'SETTLING'

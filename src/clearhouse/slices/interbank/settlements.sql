-- Settlements: accepting them, moving them from state to state in batches, and reading them. A list of ids stands behind
-- OFFSET 0, so its rows are looked up one by one whatever the statistics say.

-- name: add_settlements
-- Accepts settlements; two of one obligation meet at the index, and the later one looks again.
INSERT INTO settlement_transactions (
    book, id, obligation_id, from_bank, to_bank, currency, exponent, amount, method, priority, rank, state, waiting_for, due_at,
    attempts, hold, reason, remark, review, parties, accepted_at, accepted_by, captured, compensates, ended_at
)
SELECT %(book)s, n.id, n.obligation_id, n.from_bank, n.to_bank, n.currency, n.exponent, n.amount, n.method, n.priority, n.rank,
    n.state, n.waiting_for, n.due_at, n.attempts, n.hold, n.reason, n.remark, n.review, n.parties, %(at)s, n.accepted_by,
    n.captured, n.compensates, n.ended_at
FROM unnest(
    %(ids)s::uuid[], %(obligations)s::text[], %(payers)s::text[], %(payees)s::text[], %(currencies)s::text[],
    %(exponents)s::int[], %(amounts)s::numeric[], %(methods)s::text[], %(priorities)s::int[], %(ranks)s::timestamptz[],
    %(states)s::text[], %(waits)s::text[], %(dues)s::timestamptz[], %(attempts)s::int[], %(holds)s::uuid[],
    %(reasons)s::text[], %(remarks)s::text[], %(reviews)s::uuid[], %(parties)s::text[], %(people)s::uuid[],
    %(captured)s::numeric[], %(compensated)s::uuid[], %(ended)s::timestamptz[]
) AS n (
    id, obligation_id, from_bank, to_bank, currency, exponent, amount, method, priority, rank, state, waiting_for, due_at,
    attempts, hold, reason, remark, review, parties, accepted_by, captured, compensates, ended_at
)
ORDER BY n.obligation_id

-- name: add_checkpoints
-- Notes the steps that settlements have passed.
INSERT INTO settlement_operation_checkpoints (book, settlement, attempt, step, at)
SELECT %(book)s, n.settlement, n.attempt, n.step, %(at)s
FROM unnest(%(settlements)s::uuid[], %(attempts)s::int[], %(steps)s::text[]) AS n (settlement, attempt, step)
ON CONFLICT (book, settlement, attempt, step) DO NOTHING

-- name: of_obligations
-- The live settlements of obligations.
SELECT s.id, s.obligation_id
FROM (
    SELECT %(book)s::int AS book, u.obligation_id FROM unnest(%(obligations)s::text[]) AS u (obligation_id) OFFSET 0
) AS asked
JOIN settlement_transactions AS s ON s.book = asked.book AND s.obligation_id = asked.obligation_id
    AND s.state NOT IN ('FAILED', 'ROLLED_BACK')

-- name: settlements
-- Settlements by their ids.
SELECT s.*
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN settlement_transactions AS s ON s.book = asked.book AND s.id = asked.id

-- name: lock_settlements
-- Settlements by their ids, locked in order until the transaction ends.
SELECT s.*
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN settlement_transactions AS s ON s.book = asked.book AND s.id = asked.id
ORDER BY s.id
FOR NO KEY UPDATE OF s

-- name: claim_turns
-- Those whose funds are locked and whose turn it is, nobody else's hands on them.
SELECT s.* FROM settlement_transactions AS s
WHERE s.book = %(book)s AND s.state = 'FUNDS_LOCKED'
ORDER BY s.rank
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: claim_due
-- Those with which something is due by itself, nobody else's hands on them.
SELECT s.* FROM settlement_transactions AS s
WHERE s.book = %(book)s AND s.due_at <= %(at)s AND s.due_at IS NOT NULL AND s.state <> 'FUNDS_LOCKED' AND s.state = ANY(%(states)s)
ORDER BY s.due_at
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: claim_reviewed
-- Those that a person has looked at, or will look at no more.
SELECT s.* FROM settlement_transactions AS s
JOIN approval_request AS r ON r.book = s.book AND r.id = s.review
WHERE s.book = %(book)s AND s.waiting_for = 'review' AND s.state = 'PENDING' AND r.state <> 'pending'
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: claim_unlocked
-- Those whose lock ran out before they were sent.
SELECT s.* FROM settlement_transactions AS s
JOIN ledger_hold AS h ON h.book = s.book AND h.id = s.hold
WHERE s.book = %(book)s AND s.state = 'FUNDS_LOCKED' AND h.state = 'expired'
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: move_settlements
-- Moves settlements that are locked from the states they were read in to others; whoever does not fit is not moved.
UPDATE settlement_transactions AS s
SET state = n.state, waiting_for = n.waiting_for, due_at = n.due_at, attempts = n.attempts, asked = n.asked, hold = n.hold,
    captured = n.captured, returned = n.returned, reason = n.reason, remark = n.remark, review = n.review,
    reviewed = n.reviewed, sent_at = n.sent_at, ended_at = n.ended_at
FROM (
    SELECT %(book)s::int AS book, u.*
    FROM unnest(
        %(ids)s::uuid[], %(found)s::text[], %(states)s::text[], %(waits)s::text[], %(dues)s::timestamptz[], %(attempts)s::int[],
        %(asked)s::int[], %(holds)s::uuid[], %(captured)s::numeric[], %(returned)s::numeric[], %(reasons)s::text[],
        %(remarks)s::text[], %(reviews)s::uuid[], %(reviewed)s::boolean[], %(sent)s::timestamptz[], %(ended)s::timestamptz[]
    ) AS u (
        id, found, state, waiting_for, due_at, attempts, asked, hold, captured, returned, reason, remark, review, reviewed,
        sent_at, ended_at
    ) OFFSET 0
) AS n
WHERE s.book = n.book AND s.id = n.id AND s.state = n.found

-- name: add_compensations
-- What had to be put right, each once: the bank's own total tells it from another.
INSERT INTO compensation_transactions (book, settlement, reference, cause, amount, compensation, transaction, reason, at)
SELECT %(book)s, n.settlement, n.reference, n.cause, n.amount, n.compensation, n.transaction, n.reason, %(at)s
FROM unnest(
    %(settlements)s::uuid[], %(references)s::text[], %(causes)s::text[], %(amounts)s::numeric[], %(compensations)s::uuid[],
    %(transactions)s::uuid[], %(reasons)s::text[]
) AS n (settlement, reference, cause, amount, compensation, transaction, reason)

-- name: late_so_far
-- What was confirmed so far of settlements that had been given up.
SELECT c.settlement, sum(c.amount) AS total
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN compensation_transactions AS c ON c.book = asked.book AND c.settlement = asked.id
WHERE c.cause = 'late_confirmation'
GROUP BY c.settlement

-- name: settlements_page
-- Settlements in the order of their arrival, newest first, of a state, of a bank on either side, of an obligation.
SELECT s.* FROM settlement_transactions AS s
WHERE s.book = %(book)s AND (s.accepted_at, s.id) < (%(before)s, %(last)s)
    AND (%(state)s::text IS NULL OR s.state = %(state)s) AND (%(obligation)s::text IS NULL OR s.obligation_id = %(obligation)s)
    AND (%(bank)s::text IS NULL OR s.from_bank = %(bank)s OR s.to_bank = %(bank)s)
    AND (%(party)s::text IS NULL OR s.from_bank = %(party)s OR s.to_bank = %(party)s)
    AND (%(currency)s::text IS NULL OR s.currency = %(currency)s)
ORDER BY s.accepted_at DESC, s.id DESC LIMIT %(most)s

-- name: checkpoints
-- The steps of a settlement.
SELECT attempt, step, at FROM settlement_operation_checkpoints
WHERE book = %(book)s AND settlement = %(id)s ORDER BY attempt, at, step

-- name: compensations
-- What had to be put right of a settlement.
SELECT reference, cause, amount, compensation, reason, at FROM compensation_transactions
WHERE book = %(book)s AND settlement = %(id)s ORDER BY at, reference

-- name: cursor
-- How far the word of a bank has been read.
SELECT cursor FROM interbank_news WHERE book = %(book)s AND channel = %(channel)s

-- name: keep_cursor
-- Notes how far the word of a bank has been read; of two readers at once the later one is behind, which costs nothing.
INSERT INTO interbank_news (book, channel, cursor, read_at) VALUES (%(book)s, %(channel)s, %(cursor)s, %(at)s)
ON CONFLICT (book, channel) DO UPDATE SET cursor = excluded.cursor, read_at = excluded.read_at

-- name: newest_number
-- The last number of the journal.
SELECT coalesce(max(number), 0) AS number FROM journal WHERE book = %(book)s

-- name: is_turn
-- Whether anybody's turn has come.
SELECT exists(SELECT FROM settlement_transactions WHERE book = %(book)s AND state = 'FUNDS_LOCKED') AS found

-- name: is_due
-- Whether anything is due by itself, of these states.
SELECT exists(
    SELECT FROM settlement_transactions
    WHERE book = %(book)s AND due_at <= %(at)s AND due_at IS NOT NULL AND state <> 'FUNDS_LOCKED' AND state = ANY(%(states)s)
) AS found

-- name: is_reviewed
-- Whether a person has looked at anything that waits for it.
SELECT exists(
    SELECT FROM settlement_transactions AS s JOIN approval_request AS r ON r.book = s.book AND r.id = s.review
    WHERE s.book = %(book)s AND s.waiting_for = 'review' AND s.state = 'PENDING' AND r.state <> 'pending'
) AS found

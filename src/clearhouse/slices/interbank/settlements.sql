-- Settlements: accepting them, moving them from state to state in batches, and reading them. A list of ids stands behind
-- OFFSET 0, so its rows are looked up one by one whatever the statistics say.

-- name: add_settlements
-- Accepts settlements. at_once: their funds are locked by this transaction.
INSERT INTO settlement_transactions (
    book, id, obligation_id, from_bank, to_bank, currency, exponent, amount, method, priority, state, waiting_for, next_at,
    attempt, hold, reason, remark, review, parties, accepted_at, accepted_by, captured, compensates, ended_at, at_once
)
SELECT %(book)s, n.id, n.obligation_id, n.from_bank, n.to_bank, n.currency, n.exponent, n.amount, n.method, n.priority,
    n.state, n.waiting_for, n.next_at, n.attempt, n.hold, n.reason, n.remark, n.review, n.parties, %(at)s, n.accepted_by,
    n.captured, n.compensates, n.ended_at, n.at_once
FROM unnest(
    %(ids)s::uuid[], %(obligations)s::text[], %(payers)s::text[], %(payees)s::text[], %(currencies)s::text[],
    %(exponents)s::int[], %(amounts)s::numeric[], %(methods)s::text[], %(priorities)s::int[],
    %(states)s::text[], %(waits)s::text[], %(dues)s::timestamptz[], %(attempt)s::int[], %(holds)s::uuid[],
    %(reasons)s::text[], %(remarks)s::text[], %(reviews)s::uuid[], %(parties)s::text[], %(people)s::uuid[],
    %(captured)s::numeric[], %(compensated)s::uuid[], %(ended)s::timestamptz[], %(at_once)s::boolean[]
) AS n (
    id, obligation_id, from_bank, to_bank, currency, exponent, amount, method, priority, state, waiting_for, next_at,
    attempt, hold, reason, remark, review, parties, accepted_by, captured, compensates, ended_at, at_once
)

-- name: take_obligations
-- Takes obligations for settlements; who comes second, as a settlement or in netting, meets the first at the key and looks again.
INSERT INTO interbank_obligation (book, obligation_id, settlement)
SELECT %(book)s, n.id, n.settlement
FROM unnest(%(obligations)s::text[], %(settlements)s::uuid[]) AS n (id, settlement)
ORDER BY n.id COLLATE "C"

-- name: retake_obligations
-- Takes obligations again for settlements that had come to nothing, but for those that somebody else has taken meanwhile; those
-- whose orders may still arrive have theirs still.
INSERT INTO interbank_obligation AS o (book, obligation_id, settlement)
SELECT %(book)s, n.id, n.settlement
FROM unnest(%(obligations)s::text[], %(settlements)s::uuid[]) AS n (id, settlement)
ORDER BY n.id COLLATE "C"
ON CONFLICT (book, obligation_id) DO UPDATE SET settlement = o.settlement WHERE o.settlement = excluded.settlement
RETURNING settlement AS id

-- name: carry_orders
-- Notes which orders that were sent before settlements carry, or that they carry none any more.
UPDATE settlement_transactions AS s SET carries = n.carries
FROM (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(ids)s::uuid[], %(orders)s::uuid[]) AS u (id, carries) OFFSET 0
) AS n
WHERE s.book = n.book AND s.id = n.id

-- name: name_heirs
-- Says who carries the orders of these by now.
UPDATE settlement_transactions AS s SET heir = n.heir
FROM (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(ids)s::uuid[], %(heirs)s::uuid[]) AS u (id, heir) OFFSET 0
) AS n
WHERE s.book = n.book AND s.id = n.id

-- name: hand_over_obligations
-- Gives obligations to other settlements; a race is lost by who finds another than the one before.
UPDATE interbank_obligation AS o SET settlement = n.settlement
FROM (
    SELECT %(book)s::int AS book, u.*
    FROM unnest(%(obligations)s::text[], %(before)s::uuid[], %(settlements)s::uuid[]) AS u (id, before, settlement) OFFSET 0
) AS n
WHERE o.book = n.book AND o.obligation_id = n.id AND o.settlement = n.before

-- name: free_obligations
-- Gives obligations back whose settlements came to nothing.
DELETE FROM interbank_obligation AS o
USING (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(obligations)s::text[], %(settlements)s::uuid[]) AS u (id, settlement) OFFSET 0
) AS n
WHERE o.book = n.book AND o.obligation_id = n.id AND o.settlement = n.settlement

-- name: add_passages
-- Notes the steps that settlements have passed.
INSERT INTO settlement_passage (book, settlement, attempt, steps, at)
SELECT %(book)s, n.settlement, n.attempt, n.steps::text[], %(at)s
FROM unnest(%(settlements)s::uuid[], %(attempt)s::int[], %(steps)s::text[]) AS n (settlement, attempt, steps)
ON CONFLICT (book, settlement, attempt, steps) DO NOTHING

-- name: taken_obligations
-- Which of these obligations are taken, by which settlement, or by netting where there is none; and where that settlement came to
-- nothing, which order of it may still arrive.
SELECT o.obligation_id, o.settlement, s.carries
FROM (
    SELECT %(book)s::int AS book, u.obligation_id FROM unnest(%(obligations)s::text[]) AS u (obligation_id) OFFSET 0
) AS asked
JOIN interbank_obligation AS o ON o.book = asked.book AND o.obligation_id = asked.obligation_id
LEFT JOIN settlement_transactions AS s ON s.book = o.book AND s.id = o.settlement AND s.state IN ('FAILED', 'ROLLED_BACK')

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

-- name: claim_retries
-- Those that failed and are tried again now, nobody else's hands on them.
SELECT s.* FROM settlement_transactions AS s
WHERE s.book = %(book)s AND s.state = 'FAILED' AND s.next_at <= %(at)s
ORDER BY s.next_at
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: claim_unlocked
-- Those whose lock ran out before they were sent.
SELECT s.* FROM settlement_transactions AS s
JOIN ledger_hold AS h ON h.book = s.book AND h.id = s.hold
WHERE s.book = %(book)s AND s.state = 'FUNDS_LOCKED' AND s.next_at IS NOT NULL AND h.state = 'expired'
LIMIT %(most)s
FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: wake_reviewed
-- Makes due what waited for a person who has decided, in every book.
UPDATE settlement_transactions AS s SET next_at = %(at)s
FROM approval_request AS r
WHERE s.waiting_for = 'review' AND s.next_at IS NULL AND s.state = 'PENDING'
    AND r.book = s.book AND r.id = s.review AND r.state <> 'pending'

-- name: standing_releases
-- Which of these approvals to give something up still stand.
SELECT r.id
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN approval_request AS r ON r.book = asked.book AND r.id = asked.id
WHERE r.state IN ('pending', 'approved')

-- name: ask_before_release
-- Somebody asks to give these up: the bank is asked about them now, and is sent nothing more.
UPDATE settlement_transactions AS s SET release = n.release, next_at = %(at)s
FROM (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(ids)s::uuid[], %(releases)s::uuid[]) AS u (id, release) OFFSET 0
) AS n
WHERE s.book = n.book AND s.id = n.id AND s.state = 'IN_DOUBT'
    AND (s.release IS DISTINCT FROM n.release OR s.next_at IS NULL)

-- name: take_up_again
-- People do not want to give these up: they are sent again where the bank does not know them.
UPDATE settlement_transactions SET release = NULL, denied_at = NULL WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])

-- name: note_denied
-- The bank was asked, and does not know these.
UPDATE settlement_transactions SET denied_at = %(at)s
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[]) AND state = 'IN_DOUBT'

-- name: note_retried
-- These are on their way once more.
UPDATE settlement_transactions SET retried_at = %(at)s WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])

-- name: pending_reviews
-- Which of these approvals nobody has decided on yet.
SELECT r.id
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN approval_request AS r ON r.book = asked.book AND r.id = asked.id
WHERE r.state = 'pending'

-- name: move_settlements
-- Moves settlements that are locked from the states they were read in to others; whoever does not fit is not moved.
UPDATE settlement_transactions AS s
SET state = n.state, waiting_for = n.waiting_for, next_at = n.next_at, attempt = n.attempt, hold = n.hold,
    attempts = n.attempts, lease = n.lease, error = n.error, captured = n.captured,
    returned = n.returned, reason = n.reason, remark = n.remark, review = n.review, reviewed = n.reviewed,
    sent_at = n.sent_at, ended_at = n.ended_at
FROM (
    SELECT %(book)s::int AS book, u.*
    FROM unnest(
        %(ids)s::uuid[], %(found)s::text[], %(states)s::text[], %(waits)s::text[], %(dues)s::timestamptz[], %(attempt)s::int[],
        %(attempts)s::int[], %(leases)s::uuid[], %(errors)s::text[], %(holds)s::uuid[], %(captured)s::numeric[],
        %(returned)s::numeric[], %(reasons)s::text[], %(remarks)s::text[], %(reviews)s::uuid[], %(reviewed)s::boolean[],
        %(sent)s::timestamptz[], %(ended)s::timestamptz[]
    ) AS u (
        id, found, state, waiting_for, next_at, attempt, attempts, lease, error, hold, captured, returned, reason, remark,
        review, reviewed, sent_at, ended_at
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
-- What was confirmed so far of orders that had been given up, what of it came back, and what of it was settled after all.
SELECT split_part(c.reference, ':', 2)::uuid AS "order",
    coalesce(sum(c.amount) FILTER (WHERE c.cause = 'late_confirmation'), 0) AS "left",
    coalesce(sum(c.amount) FILTER (WHERE c.cause = 'return'), 0) AS back,
    coalesce(sum(c.amount) FILTER (WHERE c.cause = 'late_settled'), 0) AS settled
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN compensation_transactions AS c ON c.book = asked.book AND c.settlement = asked.id
WHERE c.reference LIKE 'late%%'
GROUP BY 1

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

-- name: begin_listening
-- Lets a book listen to its bank from the first word on, once.
INSERT INTO interbank_news (book, channel, cursor, read_at) VALUES (%(book)s, %(channel)s, '', %(at)s)
ON CONFLICT (book, channel) DO NOTHING

-- name: cursor
-- How far the word of a bank has been read.
SELECT cursor FROM interbank_news WHERE book = %(book)s AND channel = %(channel)s

-- name: keep_cursor
-- Notes how far the word of a bank has been read; of two readers at once the later one is behind, which costs nothing.
UPDATE interbank_news SET cursor = %(cursor)s, read_at = %(at)s WHERE book = %(book)s AND channel = %(channel)s

-- name: listen_again
-- Says when the bank is listened to next.
UPDATE interbank_news SET next_at = %(next_at)s, attempts = 0, lease = NULL, error = NULL
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])

-- name: listen_soon
-- Lets the bank be listened to now, if nobody does and it is not due yet.
UPDATE interbank_news SET next_at = %(at)s
WHERE book = %(book)s AND channel = %(channel)s AND next_at > %(at)s AND lease IS NULL

-- name: newest_unconfirmed
-- When that was sent whose confirmation can be waited for longest: what was sent last, among what goes by the same terms.
SELECT sent_at FROM settlement_transactions
WHERE book = %(book)s AND state = 'CONFIRMING' AND next_at IS NOT NULL AND sent_at IS NOT NULL
ORDER BY next_at DESC LIMIT 1

-- name: set_aside
-- Sets settlements aside of which a bank said what could not be booked, with why, for somebody to look at.
UPDATE settlement_transactions AS s SET next_at = NULL, lease = NULL, error = asked.error
FROM (
    SELECT %(book)s::int AS book, u.* FROM unnest(%(ids)s::uuid[], %(errors)s::text[]) AS u (id, error) OFFSET 0
) AS asked
WHERE s.book = asked.book AND s.id = asked.id AND s.state IN ('EXECUTING', 'CONFIRMING', 'IN_DOUBT')

-- name: newest_number
-- The last number of the journal.
SELECT coalesce(max(number), 0) AS number FROM journal WHERE book = %(book)s

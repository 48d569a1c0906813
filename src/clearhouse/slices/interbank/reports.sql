-- Reconciliation of nostros.

-- name: statement_read
-- How far a nostro's statement and our own bookings on it have been read.
SELECT theirs, ours FROM interbank_statement WHERE book = %(book)s AND bank = %(bank)s AND currency = %(currency)s

-- name: keep_statement
-- Notes how far both have been read.
INSERT INTO interbank_statement (book, bank, currency, id, theirs, ours)
VALUES (%(book)s, %(bank)s, %(currency)s, %(id)s, %(theirs)s, %(ours)s)
ON CONFLICT (book, bank, currency) DO UPDATE SET theirs = excluded.theirs, ours = excluded.ours

-- name: compare_all
-- Makes every nostro's statement due; what was set aside is tried again.
INSERT INTO interbank_statement (book, bank, currency, id, theirs, ours, next_at)
SELECT a.book, a.bank, a.currency, a.account AS id, '' AS theirs, '1970-01-01' AS ours, %(at)s AS next_at
FROM interbank_account AS a
WHERE a.book = %(book)s AND a.side = 'nostro'
ORDER BY a.bank, a.currency
ON CONFLICT (book, bank, currency) DO UPDATE SET next_at = excluded.next_at, attempts = 0, error = NULL

-- name: due_statements
-- Whose statements these are.
SELECT s.id, s.bank, s.currency
FROM (SELECT %(book)s::int AS book, u.id FROM unnest(%(ids)s::uuid[]) AS u (id) OFFSET 0) AS asked
JOIN interbank_statement AS s ON s.book = asked.book AND s.id = asked.id

-- name: compared
-- Nothing more is to be done about these until they are due again.
UPDATE interbank_statement SET next_at = NULL, attempts = 0, lease = NULL, error = NULL
WHERE book = %(book)s AND id = ANY(%(ids)s::uuid[])

-- name: our_bookings
-- What is on a nostro and what was booked on it from an instant on, both at one point, with the end-to-end id of what it was
-- booked for, a return's too. If nothing was booked, the balance stands alone.
SELECT n.balance, t.id, t.amount * CASE WHEN t.debit = n.account THEN 1 ELSE -1 END AS amount, t.booked, t.effective, t.reference,
    coalesce(carrying.carries, t.target, first.carries, first.hold) AS order_id
FROM nostro_accounts AS n
LEFT JOIN LATERAL (
    SELECT * FROM ledger_transfer
    WHERE book = %(book)s AND debit = n.account AND booked >= %(since)s AND kind IN (0, 2, 5)
    UNION ALL
    SELECT * FROM ledger_transfer
    WHERE book = %(book)s AND credit = n.account AND booked >= %(since)s AND kind IN (0, 2, 5)
) AS t ON true
LEFT JOIN settlement_transactions AS carrying
    ON carrying.book = t.book AND carrying.hold = t.target AND carrying.carries IS NOT NULL
LEFT JOIN settlement_transactions AS back ON back.book = t.book AND back.id = t.id
LEFT JOIN settlement_transactions AS first ON first.book = back.book AND first.id = back.compensates
WHERE n.book = %(book)s AND n.bank = %(bank)s AND n.currency = %(currency)s
ORDER BY t.booked, t.sequence

-- name: add_report
-- Keeps what a comparison came to.
INSERT INTO reconciliation_reports (
    book, id, bank, currency, exponent, status, our_balance, their_balance, matched, missing, unexpected, at
)
VALUES (
    %(book)s, %(id)s, %(bank)s, %(currency)s, %(exponent)s, %(status)s, %(our_balance)s, %(their_balance)s, %(matched)s,
    %(missing)s, %(unexpected)s, %(at)s
)

-- name: reports_page
-- Reports, newest first, of a bank.
SELECT id, bank, currency, exponent, status, our_balance, their_balance, matched, missing, unexpected, at
FROM reconciliation_reports
WHERE book = %(book)s AND (at, id) < (%(before)s, %(last)s) AND (%(bank)s::text IS NULL OR bank = %(bank)s)
ORDER BY at DESC, id DESC LIMIT %(most)s

-- name: report
-- A report.
SELECT id, bank, currency, exponent, status, our_balance, their_balance, matched, missing, unexpected, at
FROM reconciliation_reports WHERE book = %(book)s AND id = %(id)s

-- name: accounts_of_code
-- The accounts of a code, in one asset or in all, and how far the entries of each have been loaded.
SELECT a.id, a.code, a.asset, a.exponent, a.normal, l.booked, l.sequence
FROM ledger_account AS a
LEFT JOIN reconciliation_account AS l ON l.book = a.book AND l.name = %(name)s AND l.account = a.id
WHERE a.book = %(book)s AND a.code = %(code)s AND (%(asset)s::text IS NULL OR a.asset = %(asset)s::text)
ORDER BY a.asset

-- name: account_of_id
-- An account by its id, if it is in the asset that is asked for, and how far its entries have been loaded.
SELECT a.id, a.code, a.asset, a.exponent, a.normal, l.booked, l.sequence
FROM ledger_account AS a
LEFT JOIN reconciliation_account AS l ON l.book = a.book AND l.name = %(name)s AND l.account = a.id
WHERE a.book = %(book)s AND a.id = %(id)s AND (%(asset)s::text IS NULL OR a.asset = %(asset)s::text)

-- name: entries
-- What was booked on an account after a place, in order. No booking comes to lie before one that is seen: each takes the
-- account's row and is later than its last one.
SELECT t.id, t.transaction, t.booked, t.sequence, t.effective, t.debits, t.reference, t.external_reference, t.metadata
FROM (
    (
        SELECT id, transaction, booked, sequence, effective, amount AS debits, reference, external_reference, metadata
        FROM ledger_transfer
        WHERE book = %(book)s AND debit = %(account)s AND kind IN (0, 2, 5)
            AND (booked, sequence) > (%(booked)s::timestamptz, %(sequence)s::int) AND booked <= %(until)s::timestamptz
        ORDER BY booked, sequence LIMIT %(most)s
    )
    UNION ALL
    (
        SELECT id, transaction, booked, sequence, effective, -amount, reference, external_reference, metadata
        FROM ledger_transfer
        WHERE book = %(book)s AND credit = %(account)s AND kind IN (0, 2, 5)
            AND (booked, sequence) > (%(booked)s::timestamptz, %(sequence)s::int) AND booked <= %(until)s::timestamptz
        ORDER BY booked, sequence LIMIT %(most)s
    )
) AS t
ORDER BY t.booked, t.sequence
LIMIT %(most)s

-- name: posted
-- Which of these matches something was posted for.
SELECT m.batch, m.number
FROM unnest(%(batches)s::uuid[], %(numbers)s::int[]) AS u (batch, number)
JOIN reconciliation_match AS m ON m.book = %(book)s AND m.batch = u.batch AND m.number = u.number AND m.is_posted

-- name: keep
-- Notes how far the entries of an account have been loaded.
INSERT INTO reconciliation_account (book, name, account, booked, sequence)
VALUES (%(book)s, %(name)s, %(account)s, %(booked)s, %(sequence)s)
ON CONFLICT (book, name, account) DO UPDATE SET booked = excluded.booked, sequence = excluded.sequence

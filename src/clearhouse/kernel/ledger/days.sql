-- name: close_day
-- Closes every open day up to a given one; nothing happens if that one is closed already.
UPDATE ledger_day SET sealed_to = %(day)s
WHERE book = %(book)s AND sealed_to < %(day)s
RETURNING (SELECT d.sealed_to FROM ledger_day AS d WHERE d.book = ledger_day.book) AS before

-- name: add_seal
-- Remembers who closed which days, and when.
INSERT INTO ledger_seal (book, day, since, sealed_at, sealed_by)
VALUES (%(book)s, %(day)s, %(since)s, %(at)s, %(by)s)

-- name: untotalled
-- Closings whose sums have not been computed, each locked for whoever computes them.
SELECT day, since, sealed_at, sealed_by, totalled_at FROM ledger_seal
WHERE book = %(book)s AND totalled_at IS NULL
ORDER BY day LIMIT %(most)s
FOR NO KEY UPDATE SKIP LOCKED

-- name: mark_totalled
-- Remembers that the sums of a closing are there.
UPDATE ledger_seal SET totalled_at = %(at)s WHERE book = %(book)s AND day = %(day)s AND totalled_at IS NULL

-- name: add_totals
-- Sums, per asset, of everything that is effective on the days just closed. Nothing more can come: they are closed.
INSERT INTO ledger_seal_total (book, day, asset, transfers, debits, credits)
SELECT %(book)s, %(day)s, a.asset, count(*), sum(t.amount), sum(t.amount)
FROM (
    SELECT debit, amount FROM ledger_transfer
    WHERE book = %(book)s AND kind IN (0, 2, 5) AND effective > %(since)s AND effective <= %(day)s
        AND booked >= %(first)s AND booked < %(last)s AND effective = (booked AT TIME ZONE 'UTC')::date
    UNION ALL
    SELECT debit, amount FROM ledger_transfer
    WHERE book = %(book)s AND kind IN (0, 2, 5) AND effective > %(since)s AND effective <= %(day)s
        AND effective <> (booked AT TIME ZONE 'UTC')::date
) AS t
JOIN ledger_account AS a ON a.book = %(book)s AND a.id = t.debit
GROUP BY a.asset

-- name: seals
-- The days that were closed, newest first, before a given one.
SELECT day, since, sealed_at, sealed_by, totalled_at FROM ledger_seal
WHERE book = %(book)s AND day < %(before)s ORDER BY day DESC LIMIT %(most)s

-- name: seal
-- One closing.
SELECT day, since, sealed_at, sealed_by, totalled_at FROM ledger_seal WHERE book = %(book)s AND day = %(day)s

-- name: totals
-- The sums of one closing.
SELECT t.asset, t.transfers, t.debits, t.credits,
    (SELECT min(a.exponent) FROM ledger_account AS a WHERE a.book = t.book AND a.asset = t.asset) AS exponent
FROM ledger_seal_total AS t
WHERE t.book = %(book)s AND t.day = %(day)s
ORDER BY t.asset

-- name: open_day
-- The last closed day of a book.
SELECT sealed_to AS day FROM ledger_day WHERE book = %(book)s

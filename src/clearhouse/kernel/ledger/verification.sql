-- name: recomputed
-- Every account with its stored counters and those that its transfers add up to, where they differ, in the order of codes.
WITH moves AS (
    SELECT debit AS account, true AS is_debit, kind, amount, released FROM ledger_transfer WHERE book = %(book)s
    UNION ALL
    SELECT credit, false, kind, amount, released FROM ledger_transfer WHERE book = %(book)s
),
effects AS (
    SELECT account, is_debit,
        CASE WHEN kind IN (0, 2, 5) THEN amount ELSE 0 END AS posted,
        CASE WHEN kind = 1 THEN amount WHEN kind IN (2, 3, 4) THEN -coalesce(released, amount) ELSE 0 END AS pending
    FROM moves
),
sums AS (
    SELECT account,
        coalesce(sum(posted) FILTER (WHERE is_debit), 0) AS debits_posted,
        coalesce(sum(posted) FILTER (WHERE NOT is_debit), 0) AS credits_posted,
        coalesce(sum(pending) FILTER (WHERE is_debit), 0) AS debits_pending,
        coalesce(sum(pending) FILTER (WHERE NOT is_debit), 0) AS credits_pending
    FROM effects GROUP BY account
)
SELECT coalesce(a.code, 'no account ' || s.account::text) AS code, coalesce(a.asset, '') AS asset
FROM (SELECT * FROM ledger_account WHERE book = %(book)s) AS a
FULL JOIN sums AS s ON s.account = a.id
WHERE a.id IS NULL
    OR (a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending)
    <> (coalesce(s.debits_posted, 0), coalesce(s.credits_posted, 0), coalesce(s.debits_pending, 0), coalesce(s.credits_pending, 0))
ORDER BY a.code, a.asset
LIMIT 1

-- name: running
-- The first transfer whose counters do not follow from the account's transfer before it.
WITH lines AS (
    SELECT id, debit AS account, sequence, booked, true AS is_debit, kind, amount, released,
        debit_debits_posted AS dp, debit_credits_posted AS cp, debit_debits_pending AS dh, debit_credits_pending AS ch
    FROM ledger_transfer WHERE book = %(book)s
    UNION ALL
    SELECT id, credit, sequence, booked, false, kind, amount, released,
        credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending
    FROM ledger_transfer WHERE book = %(book)s
),
effects AS (
    SELECT *,
        CASE WHEN kind IN (0, 2, 5) THEN amount ELSE 0 END AS posted,
        CASE WHEN kind = 1 THEN amount WHEN kind IN (2, 3, 4) THEN -coalesce(released, amount) ELSE 0 END AS pending,
        lag(dp, 1, 0) OVER w AS dp0, lag(cp, 1, 0) OVER w AS cp0, lag(dh, 1, 0) OVER w AS dh0, lag(ch, 1, 0) OVER w AS ch0
    FROM lines
    WINDOW w AS (PARTITION BY account ORDER BY booked, sequence)
)
SELECT e.id, a.code, a.asset
FROM effects AS e
JOIN ledger_account AS a ON a.book = %(book)s AND a.id = e.account
WHERE (e.dp, e.cp, e.dh, e.ch) <> (
    e.dp0 + CASE WHEN e.is_debit THEN e.posted ELSE 0 END, e.cp0 + CASE WHEN e.is_debit THEN 0 ELSE e.posted END,
    e.dh0 + CASE WHEN e.is_debit THEN e.pending ELSE 0 END, e.ch0 + CASE WHEN e.is_debit THEN 0 ELSE e.pending END
)
ORDER BY a.code, a.asset, e.sequence
LIMIT 1

-- name: hold_differences
-- The first hold whose state does not follow from its captures and releases, or whose transfer is none or no hold: no foreign
-- key watches that (decision 0002).
SELECT h.id
FROM ledger_hold AS h
LEFT JOIN ledger_transfer AS t ON t.book = h.book AND t.id = h.id
LEFT JOIN (
    SELECT target, coalesce(sum(amount) FILTER (WHERE kind = 2), 0) AS captured,
        sum(coalesce(released, amount)) AS freed
    FROM ledger_transfer WHERE book = %(book)s AND target IS NOT NULL AND kind <> 5 GROUP BY target
) AS e ON e.target = h.id
WHERE h.book = %(book)s AND (
        t.kind IS DISTINCT FROM 1 OR h.captured <> coalesce(e.captured, 0) OR h.remaining <> t.amount - coalesce(e.freed, 0)
    )
ORDER BY h.id
LIMIT 1

-- name: reversal_differences
-- The first transfer whose sum of reversals is wrong, or above the original, or of which there is none.
SELECT coalesce(r.id, e.target) AS id
FROM (SELECT * FROM ledger_reversal WHERE book = %(book)s) AS r
FULL JOIN (
    SELECT target, sum(amount) AS reversed FROM ledger_transfer WHERE book = %(book)s AND kind = 5 GROUP BY target
) AS e ON e.target = r.id
LEFT JOIN ledger_transfer AS t ON t.book = %(book)s AND t.id = coalesce(r.id, e.target)
WHERE r.reversed IS DISTINCT FROM e.reversed OR t.id IS NULL OR r.reversed > t.amount
ORDER BY 1
LIMIT 1

-- name: shift_differences
-- The first account whose effective-day sums do not follow from its transfers.
WITH moved AS (
    SELECT debit AS account, effective, (booked AT TIME ZONE 'UTC')::date AS day, amount AS debits, 0 AS credits
    FROM ledger_transfer WHERE book = %(book)s AND kind IN (0, 2, 5) AND effective <> (booked AT TIME ZONE 'UTC')::date
    UNION ALL
    SELECT credit, effective, (booked AT TIME ZONE 'UTC')::date, 0, amount
    FROM ledger_transfer WHERE book = %(book)s AND kind IN (0, 2, 5) AND effective <> (booked AT TIME ZONE 'UTC')::date
),
expected AS (
    SELECT account, day, sum(debits) AS debits, sum(credits) AS credits FROM (
        SELECT account, effective AS day, debits, credits FROM moved
        UNION ALL
        SELECT account, day, -debits, -credits FROM moved
    ) AS both_days GROUP BY account, day
)
SELECT a.code, a.asset
FROM expected AS e
FULL JOIN (SELECT * FROM ledger_shift WHERE book = %(book)s) AS s ON s.account = e.account AND s.day = e.day
JOIN ledger_account AS a ON a.book = %(book)s AND a.id = coalesce(e.account, s.account)
WHERE (coalesce(e.debits, 0), coalesce(e.credits, 0)) <> (coalesce(s.debits, 0), coalesce(s.credits, 0))
ORDER BY a.code, a.asset
LIMIT 1

-- name: unbalanced
-- The first asset whose accounts do not add up to zero.
SELECT asset FROM ledger_account WHERE book = %(book)s
GROUP BY asset
HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_pending) <> sum(credits_pending)
ORDER BY asset
LIMIT 1

-- name: plan
-- Everything is read once, whatever the statistics say: no loops over loops, and room to sort.
SELECT set_config(name, setting, true)
FROM (
    VALUES ('enable_nestloop', 'off'), ('enable_seqscan', 'on'), ('enable_bitmapscan', 'on'), ('enable_sort', 'on'),
        ('random_page_cost', '1.1'), ('work_mem', '256MB'), ('jit', 'off')
) AS wanted (name, setting)

-- name: size
-- How much there is to verify.
SELECT (SELECT count(*) FROM ledger_account WHERE book = %(book)s) AS accounts,
    (SELECT count(*) FROM ledger_transfer WHERE book = %(book)s) AS transfers

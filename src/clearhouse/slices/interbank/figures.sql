-- The figures of interbank for Prometheus, in the names of the document.

-- name: settlement_figures
-- Settlements by state and currency: how many, how much of them is done, and within which time how many were.
SELECT state, currency, exponent, count(*) AS count, sum(amount) AS amount,
    coalesce(sum(extract(EPOCH FROM ended_at - accepted_at)), 0)::float8 AS seconds,
    count(*) FILTER (WHERE ended_at - accepted_at <= interval '0.1 seconds') AS tenth,
    count(*) FILTER (WHERE ended_at - accepted_at <= interval '1 second') AS one,
    count(*) FILTER (WHERE ended_at - accepted_at <= interval '5 seconds') AS five,
    count(*) FILTER (WHERE ended_at - accepted_at <= interval '30 seconds') AS thirty,
    count(*) FILTER (WHERE ended_at - accepted_at <= interval '300 seconds') AS minutes
FROM settlement_transactions WHERE book = %(book)s AND compensates IS NULL
GROUP BY state, currency, exponent ORDER BY state, currency

-- name: operation_figures
-- Atomic operations by state.
SELECT state, count(*) AS count FROM settlement_atomic_operations WHERE book = %(book)s GROUP BY state ORDER BY state

-- name: account_figures
-- What is on nostros and vostros.
SELECT 'nostro' AS side, bank, currency, exponent, balance FROM nostro_accounts WHERE book = %(book)s
UNION ALL
SELECT 'vostro', bank, currency, exponent, balance FROM vostro_accounts WHERE book = %(book)s
ORDER BY 1, 2, 3

-- name: discrepancy_figures
-- How many lines were found on one side only.
SELECT coalesce(sum(missing + unexpected), 0)::bigint AS count FROM reconciliation_reports WHERE book = %(book)s

-- How settling is, for everybody to ask.

-- name: unsent
-- How long the first settlement has waited whose turn it is to be sent.
SELECT max(extract(EPOCH FROM clock_timestamp() - s.next_at))::float8 AS seconds
FROM interbank_version AS b
CROSS JOIN LATERAL (
    SELECT t.next_at FROM settlement_transactions AS t
    WHERE t.book = b.book AND t.state = 'FUNDS_LOCKED' AND t.next_at IS NOT NULL ORDER BY t.next_at LIMIT 1
) AS s

-- name: unanswered
-- How long the bank has said nothing about the oldest that is in doubt.
SELECT max(extract(EPOCH FROM clock_timestamp() - s.sent_at))::float8 AS seconds
FROM interbank_version AS b
CROSS JOIN LATERAL (
    SELECT t.sent_at FROM settlement_transactions AS t
    WHERE t.book = b.book AND t.state = 'IN_DOUBT' AND t.sent_at IS NOT NULL ORDER BY t.sent_at LIMIT 1
) AS s

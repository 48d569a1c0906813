-- name: waiting
-- How much of each kind of work waits in a book, and since when.
SELECT 'number' AS name, count(*) AS waiting, min(at) AS since FROM journal WHERE book = %(book)s AND number IS NULL
UNION ALL
SELECT 'expire', count(*), min(expires_at) FROM ledger_hold
WHERE book = %(book)s AND state = 'pending' AND pinned_at IS NULL AND expires_at <= clock_timestamp()
UNION ALL
SELECT 'expire approvals', count(*), min(expires_at) FROM approval_request
WHERE book = %(book)s AND state = 'pending' AND expires_at <= clock_timestamp()
UNION ALL
SELECT 'send webhooks', count(*), min(next_at) FROM webhook_delivery
WHERE book = %(book)s AND state = 'pending' AND next_at <= clock_timestamp()
UNION ALL
SELECT 'total', count(*), min(sealed_at) FROM ledger_seal WHERE book = %(book)s AND totalled_at IS NULL

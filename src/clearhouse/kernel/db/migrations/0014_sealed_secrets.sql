-- Secrets of webhooks are sealed under keys that are not in the database. What was stored in plain before is sealed by the first
-- start after this step, which also seals anew what an older key sealed: so the writer may change it.
GRANT UPDATE (secret) ON webhook_secret TO clearhouse_writer;
COMMENT ON COLUMN webhook_secret.secret IS 'sealed: see kernel/access/sealing.py';

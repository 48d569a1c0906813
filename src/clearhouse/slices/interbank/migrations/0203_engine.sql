-- The engine's stages stand on the rows of settlements, statements and news: what the kernel's pipelines need of them.

-- Which attempt it is in; `attempts` is the stages' count of failures from now on. When its turn is stands in next_at.
ALTER TABLE settlement_transactions RENAME COLUMN attempts TO attempt;
ALTER TABLE settlement_transactions RENAME COLUMN due_at TO next_at;
DROP INDEX settlement_turn, settlement_due, settlement_review;
UPDATE settlement_transactions SET next_at = accepted_at WHERE state = 'FUNDS_LOCKED';
ALTER TABLE settlement_transactions DROP COLUMN rank, DROP COLUMN asked;
ALTER TABLE settlement_transactions
    ADD COLUMN attempts int NOT NULL DEFAULT 0, ADD COLUMN lease uuid, ADD COLUMN error text;
CREATE INDEX settlement_due ON settlement_transactions (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX settlement_aside ON settlement_transactions (book, state, id) WHERE error IS NOT NULL;
CREATE INDEX settlement_review ON settlement_transactions (book, review) WHERE waiting_for = 'review' AND next_at IS NULL;
GRANT UPDATE (attempts, lease, error) ON settlement_transactions TO clearhouse_writer;

-- Steps that were passed in one transaction have one time, so they are one row; the document's table is a view of them.
CREATE TABLE settlement_passage (
    book int NOT NULL,
    settlement uuid NOT NULL,
    attempt int NOT NULL,
    steps text[] NOT NULL
    CHECK (steps <@ ARRAY['VALIDATION', 'LOCK', 'INITIATE', 'CONFIRM', 'FINALIZE', 'ROLLBACK', 'DOUBT'] AND cardinality(steps) > 0),
    at timestamptz NOT NULL,
    PRIMARY KEY (book, settlement, attempt, steps)
);
INSERT INTO settlement_passage (book, settlement, attempt, steps, at)
SELECT book, settlement, attempt, ARRAY[step], at FROM settlement_operation_checkpoints;
DROP TABLE settlement_operation_checkpoints;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_passage
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Which book listens to which channel: one row, one listener, in whatever process.
ALTER TABLE interbank_news
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN state text NOT NULL DEFAULT 'listening' CHECK (state = 'listening'),
    ADD COLUMN next_at timestamptz DEFAULT clock_timestamp(), ADD COLUMN attempts int NOT NULL DEFAULT 0,
    ADD COLUMN lease uuid, ADD COLUMN error text;
CREATE UNIQUE INDEX interbank_news_id ON interbank_news (book, id);
CREATE INDEX interbank_news_due ON interbank_news (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX interbank_news_aside ON interbank_news (book, state, id) WHERE error IS NOT NULL;
GRANT UPDATE (state, next_at, attempts, lease, error) ON interbank_news TO clearhouse_writer;
INSERT INTO interbank_news (book, channel, cursor, read_at)
SELECT book, 'bank', '', clock_timestamp() FROM interbank_version
ON CONFLICT DO NOTHING;

-- A nostro's statement is compared when its row is due; its id is the account's.
ALTER TABLE interbank_statement
    ADD COLUMN id uuid, ADD COLUMN state text NOT NULL DEFAULT 'kept' CHECK (state = 'kept'),
    ADD COLUMN next_at timestamptz, ADD COLUMN attempts int NOT NULL DEFAULT 0,
    ADD COLUMN lease uuid, ADD COLUMN error text;
UPDATE interbank_statement AS s SET id = a.account
FROM interbank_account AS a
WHERE a.book = s.book AND a.bank = s.bank AND a.currency = s.currency AND a.side = 'nostro';
ALTER TABLE interbank_statement ALTER COLUMN id SET NOT NULL;
CREATE UNIQUE INDEX interbank_statement_id ON interbank_statement (book, id);
CREATE INDEX interbank_statement_due ON interbank_statement (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX interbank_statement_aside ON interbank_statement (book, state, id) WHERE error IS NOT NULL;
GRANT UPDATE (state, next_at, attempts, lease, error) ON interbank_statement TO clearhouse_writer;

-- The document's periods, in books that settle already; others get theirs with their first bank.
INSERT INTO schedule (book, id, name, state, cron, zone, job, arguments, set_at, set_by, next_at)
SELECT v.book, gen_random_uuid() AS id, j.name, 'active' AS state, j.cron, 'UTC' AS zone, j.name AS job, '{}' AS arguments,
    clock_timestamp() AS set_at, p.id AS set_by, clock_timestamp() AS next_at
FROM interbank_version AS v
CROSS JOIN (
    VALUES ('interbank.retry', '*/5 * * * *'), ('interbank.clean_up', '*/10 * * * *'),
    ('interbank.reconcile', '0 */6 * * *')
) AS j (name, cron)
CROSS JOIN (SELECT id FROM principal ORDER BY id LIMIT 1) AS p
ON CONFLICT (book, name) DO NOTHING;

GRANT SELECT, INSERT ON settlement_passage TO clearhouse_writer;
GRANT SELECT ON settlement_passage TO clearhouse_reader;
ALTER TABLE settlement_passage ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON settlement_passage FOR SELECT TO clearhouse_reader
USING (book = any(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON settlement_passage TO clearhouse_writer USING (true);

CREATE VIEW settlement_operation_checkpoints WITH (security_invoker = true) AS
SELECT p.book, p.settlement, p.attempt, s.step, p.at
FROM settlement_passage AS p CROSS JOIN LATERAL unnest(p.steps) AS s (step);
GRANT SELECT ON settlement_operation_checkpoints TO clearhouse_writer, clearhouse_reader;

-- An obligation is paid once, in whatever way: its id stands in one table, taken by a netting cycle's batch or by a settlement.

ALTER TABLE netting_obligation RENAME TO interbank_obligation;
-- A settlement's own row says everything else, so only the id stands here; a row of netting is the obligation itself.
ALTER TABLE interbank_obligation
    ADD COLUMN settlement uuid,
    ALTER COLUMN batch DROP NOT NULL, ALTER COLUMN payer DROP NOT NULL, ALTER COLUMN payee DROP NOT NULL,
    ALTER COLUMN currency DROP NOT NULL, ALTER COLUMN amount DROP NOT NULL, ALTER COLUMN recorded_at DROP NOT NULL,
    ALTER COLUMN recorded_by DROP NOT NULL,
    ADD CONSTRAINT taken_once CHECK (
        (settlement IS NULL) = (batch IS NOT NULL)
        AND num_nonnulls(batch, payer, payee, currency, amount, recorded_at, recorded_by) = CASE WHEN batch IS NULL THEN 0 ELSE 7 END
    );
DROP INDEX netting_obligation_batch;
CREATE INDEX interbank_obligation_batch ON interbank_obligation (book, batch, obligation_id) WHERE batch IS NOT NULL;

-- What is recorded stays as it is; a settlement that comes to nothing gives its id back.
DROP TRIGGER immutable ON interbank_obligation;
CREATE TRIGGER immutable BEFORE UPDATE OR TRUNCATE ON interbank_obligation FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER recorded BEFORE DELETE ON interbank_obligation
    FOR EACH ROW WHEN (old.settlement IS NULL) EXECUTE FUNCTION refuse_change();
GRANT DELETE ON interbank_obligation TO clearhouse_writer;

-- What was netted and executed both before this: the settlement has been sent or will be, and the cycle keeps its row.
INSERT INTO interbank_obligation (book, obligation_id, settlement)
SELECT book, obligation_id, id FROM settlement_transactions
WHERE state NOT IN ('FAILED', 'ROLLED_BACK') AND compensates IS NULL
ON CONFLICT (book, obligation_id) DO NOTHING;
DROP INDEX settlement_obligation;

-- at_once: its funds were locked in the transaction that accepted it, so those two steps have that time and no row of their own.
ALTER TABLE settlement_transactions ADD COLUMN at_once boolean NOT NULL DEFAULT false;
CREATE OR REPLACE VIEW settlement_operation_checkpoints WITH (security_invoker = true) AS
SELECT p.book, p.settlement, p.attempt, s.step, p.at
FROM settlement_passage AS p CROSS JOIN LATERAL unnest(p.steps) AS s (step)
UNION ALL
SELECT t.book, t.id AS settlement, 1 AS attempt, s.step, t.accepted_at AS at
FROM settlement_transactions AS t CROSS JOIN (VALUES ('VALIDATION'), ('LOCK')) AS s (step)
WHERE t.at_once;

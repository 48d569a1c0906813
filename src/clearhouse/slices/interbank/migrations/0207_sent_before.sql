-- An order that was sent and given up may still arrive: whoever settles its obligation again carries its end-to-end id.

-- carries: the end-to-end id that was sent and given up, by this settlement or by one before it; it is the id of this one's order.
-- heir: who carries this one's order now; what the bank says of it is said of the heir.
ALTER TABLE settlement_transactions ADD COLUMN carries uuid, ADD COLUMN heir uuid;
GRANT UPDATE (carries, heir) ON settlement_transactions TO clearhouse_writer;
CREATE INDEX settlement_carries ON settlement_transactions (book, hold) WHERE carries IS NOT NULL;

-- A settlement that came to nothing keeps the obligation whose order may still arrive, until another one takes that over.
DROP TRIGGER immutable ON interbank_obligation;
CREATE TRIGGER immutable BEFORE TRUNCATE ON interbank_obligation FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER handed_over BEFORE UPDATE ON interbank_obligation FOR EACH ROW
    WHEN (old.settlement IS NULL OR new.settlement IS NULL OR old.book <> new.book OR old.obligation_id <> new.obligation_id)
    EXECUTE FUNCTION refuse_change();
GRANT UPDATE (settlement) ON interbank_obligation TO clearhouse_writer;

-- What was given up before this and is nobody's else by now; the last four bits of an end-to-end id are its attempt.
UPDATE settlement_transactions SET carries = (left(id::text, 35) || to_hex(attempt - 1))::uuid
WHERE state = 'FAILED' AND reason = 'released_by_hand' AND attempt > 0;
INSERT INTO interbank_obligation (book, obligation_id, settlement)
SELECT DISTINCT ON (book, obligation_id) book, obligation_id, id FROM settlement_transactions
WHERE carries IS NOT NULL
ORDER BY book, obligation_id, ended_at DESC
ON CONFLICT (book, obligation_id) DO NOTHING;

-- late_settled: what lay in suspense is paid by the payer after all, through the settlement that carries the order.
ALTER TABLE compensation_transactions DROP CONSTRAINT compensation_transactions_cause_check;
ALTER TABLE compensation_transactions ADD CONSTRAINT compensation_transactions_cause_check
CHECK (cause IN ('return', 'late_confirmation', 'late_settled'));

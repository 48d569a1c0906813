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

-- Obligations that were recorded for netting and withdrawn: their ids are anybody's again. counted_until: the number of the last
-- cycle of their currency that goes on showing them: the aborted one that they counted for, or the one before the open one.
CREATE TABLE netting_withdrawn (
    book int NOT NULL,
    obligation_id text COLLATE "C" NOT NULL,
    batch uuid NOT NULL,
    payer text COLLATE "C" NOT NULL,
    payee text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    amount numeric NOT NULL,
    reference text,
    recorded_at timestamptz NOT NULL,
    recorded_by uuid NOT NULL,
    cycle uuid NOT NULL,
    counted_until bigint NOT NULL,
    reason text NOT NULL,
    withdrawn_at timestamptz NOT NULL,
    PRIMARY KEY (book, batch, obligation_id)
);
CREATE INDEX netting_withdrawn_obligation ON netting_withdrawn (book, obligation_id, withdrawn_at);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON netting_withdrawn
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON netting_withdrawn TO clearhouse_writer;
GRANT SELECT ON netting_withdrawn TO clearhouse_reader;
ALTER TABLE netting_withdrawn ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON netting_withdrawn FOR SELECT TO clearhouse_reader
USING (book = any(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON netting_withdrawn TO clearhouse_writer USING (true);

-- What is recorded leaves only by being withdrawn.
CREATE FUNCTION refuse_unless_withdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM netting_withdrawn AS w
        WHERE w.book = old.book AND w.batch = old.batch AND w.obligation_id = old.obligation_id
    ) THEN
        RETURN old;
    END IF;
    RAISE EXCEPTION 'an obligation that is recorded for netting is withdrawn, not deleted';
END $$;
DROP TRIGGER recorded ON interbank_obligation;
CREATE TRIGGER recorded BEFORE DELETE ON interbank_obligation
    FOR EACH ROW WHEN (old.settlement IS NULL) EXECUTE FUNCTION refuse_unless_withdrawn();

-- Items of one side that came together are a load: what is delivered in this house is events, to webhooks.

ALTER TABLE reconciliation_delivery RENAME TO reconciliation_load;
ALTER TABLE reconciliation_item RENAME COLUMN delivery TO load;
ALTER INDEX reconciliation_delivery_pkey RENAME TO reconciliation_load_pkey;
ALTER INDEX reconciliation_delivery_waiting RENAME TO reconciliation_load_waiting;
ALTER INDEX reconciliation_delivery_run RENAME TO reconciliation_load_run;
ALTER INDEX reconciliation_item_delivery RENAME TO reconciliation_item_load;

-- What somebody proposed to do with a match and who is asked for it; the account where its money waits, and who claimed that.
ALTER TABLE reconciliation_match
    ADD proposal text,
    ADD approval uuid,
    ADD suspense text,
    ADD claimed_at timestamptz,
    ADD claimed_to text,
    ADD CHECK ((proposal IS NULL) = (approval IS NULL)),
    ADD CHECK ((claimed_at IS NULL) = (claimed_to IS NULL)),
    ADD CHECK (claimed_at IS NULL OR (undone_at IS NULL AND kind = 'suspend'));
CREATE INDEX reconciliation_match_unclaimed ON reconciliation_match (book, at, batch, number)
    WHERE kind = 'suspend' AND undone_at IS NULL AND claimed_at IS NULL;
GRANT UPDATE (proposal, approval, claimed_at, claimed_to) ON reconciliation_match TO clearhouse_writer;

-- How far the entries of an account have been loaded: up to this one, and everything before it since the first load.
CREATE TABLE reconciliation_account (
    book int NOT NULL,
    name text COLLATE "C" NOT NULL,
    account uuid NOT NULL,
    booked timestamptz NOT NULL,
    sequence int NOT NULL,
    PRIMARY KEY (book, name, account),
    FOREIGN KEY (book, name) REFERENCES reconciliation,
    FOREIGN KEY (book, account) REFERENCES ledger_account
);
GRANT SELECT, INSERT ON reconciliation_account TO clearhouse_writer;
GRANT SELECT ON reconciliation_account TO clearhouse_reader;
GRANT UPDATE (booked, sequence) ON reconciliation_account TO clearhouse_writer;
ALTER TABLE reconciliation_account ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON reconciliation_account FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON reconciliation_account TO clearhouse_writer USING (true);

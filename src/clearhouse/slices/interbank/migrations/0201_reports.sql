-- Reconciliation of nostros: how far each statement has been read, and what each comparison came to.

CREATE TABLE interbank_statement (
    book int NOT NULL,
    bank text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    theirs text NOT NULL,
    ours timestamptz NOT NULL,
    PRIMARY KEY (book, bank, currency)
);

CREATE TABLE reconciliation_reports (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    bank text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    exponent int NOT NULL,
    status text NOT NULL CHECK (status IN ('BALANCED', 'IDENTIFIED', 'UNRESOLVED', 'INVESTIGATION_REQUIRED')),
    our_balance numeric NOT NULL,
    their_balance numeric NOT NULL,
    matched bigint NOT NULL,
    missing bigint NOT NULL,
    unexpected bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (book, id)
);
CREATE INDEX reconciliation_reports_newest ON reconciliation_reports (book, at, id);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation_reports
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON interbank_statement, reconciliation_reports TO clearhouse_writer;
GRANT SELECT ON interbank_statement, reconciliation_reports TO clearhouse_reader;
GRANT UPDATE (theirs, ours) ON interbank_statement TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['interbank_statement', 'reconciliation_reports'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

-- Disputes: what each organisation says of a line of a settled round, and what stands in the end.
CREATE TABLE records_word (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    organisation text COLLATE "C" NOT NULL CHECK (organisation <> ''),
    word text NOT NULL CHECK (word IN ('accepted', 'disputed')),
    remark text NOT NULL,
    at timestamptz NOT NULL,
    by_whom text NOT NULL,
    PRIMARY KEY (book, structure, round, key, organisation),
    FOREIGN KEY (book, structure, round) REFERENCES records_round
);

-- A dispute that is over: what was decided is never changed.
CREATE TABLE records_resolution (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    "values" text NOT NULL,
    remark text NOT NULL CHECK (remark <> ''),
    at timestamptz NOT NULL,
    by_whom text NOT NULL,
    PRIMARY KEY (book, structure, round, key),
    FOREIGN KEY (book, structure, round) REFERENCES records_round
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON records_resolution
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['records_word', 'records_resolution'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO clearhouse_writer, clearhouse_reader', name);
        EXECUTE format('GRANT INSERT ON %I TO clearhouse_writer', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;
GRANT UPDATE (word, remark, at, by_whom) ON records_word TO clearhouse_writer;

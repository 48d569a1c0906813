-- Records: structures, what was uploaded to them as it came, its sums by key, and the rounds that they are settled in.
-- The round of a structure is the cut `records:<settleid>`; it leads the keys of the sums, so settling touches no row of them.

CREATE TABLE records_structure (
    book int NOT NULL REFERENCES book,
    number int NOT NULL GENERATED ALWAYS AS IDENTITY,
    settleid text COLLATE "C" NOT NULL CHECK (settleid ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$'),
    primary_key text NOT NULL,
    metrics text[] NOT NULL CHECK (cardinality(metrics) BETWEEN 1 AND 50),
    aggregation text NOT NULL,
    settlement text NOT NULL,
    tolerance numeric NOT NULL CHECK (tolerance >= 0),
    asset text,
    exponent int,
    dispute_hours int NOT NULL CHECK (dispute_hours BETWEEN 0 AND 8784),
    sample text NOT NULL,
    changes bigint NOT NULL DEFAULT 0,
    operation text NOT NULL,
    at timestamptz NOT NULL,
    by_whom text NOT NULL,
    settled_at timestamptz NOT NULL,
    PRIMARY KEY (book, number),
    UNIQUE (book, settleid)
) WITH (fillfactor = 50);

-- Something that was sent at once. Its id comes of what its sender called it; sent again, it is found here.
CREATE TABLE records_upload (
    book int NOT NULL,
    id uuid NOT NULL,
    structure int NOT NULL,
    state text NOT NULL CHECK (state IN ('staged', 'counted')),
    digest bytea NOT NULL,
    organisation text NOT NULL,
    records bigint NOT NULL CHECK (records >= 0),
    repeated bigint NOT NULL DEFAULT 0 CHECK (repeated >= 0),
    change bigint,
    round bigint,
    at timestamptz NOT NULL,
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, structure) REFERENCES records_structure,
    CHECK ((state = 'counted') = (change IS NOT NULL AND round IS NOT NULL))
);
CREATE INDEX records_upload_staged ON records_upload (book, at) WHERE state = 'staged';

-- A record as it came, in its place in its upload. No foreign key: the upload was written in the same transaction or before.
CREATE TABLE records_record (
    book int NOT NULL,
    upload uuid NOT NULL,
    place int NOT NULL,
    key text COLLATE "C" NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (book, upload, place)
);

-- Records that brought an id of their own: no structure counts one twice.
CREATE TABLE records_known (
    book int NOT NULL,
    structure int NOT NULL,
    id text COLLATE "C" NOT NULL,
    upload uuid NOT NULL,
    PRIMARY KEY (book, structure, id)
);

-- What one change added to the sums: any past state is the sum of those up to it. The change comes before the key, so that rows are
-- appended to the index and not strewn over it.
CREATE TABLE records_delta (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    organisation text COLLATE "C" NOT NULL,
    metric int NOT NULL,
    change bigint NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    total numeric,
    least numeric,
    most numeric,
    latest text,
    PRIMARY KEY (book, structure, change, key, organisation, metric)
);

CREATE TABLE records_aggregate (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    organisation text COLLATE "C" NOT NULL,
    metric int NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    total numeric,
    least numeric,
    most numeric,
    latest text,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (book, structure, round, key, organisation, metric)
) WITH (fillfactor = 60);  -- sums are updated in place (HOT): no index may cover them

-- What of an upload in parts is still to be counted: one row a key, however many records.
CREATE TABLE records_staged (
    book int NOT NULL,
    upload uuid NOT NULL,
    key text COLLATE "C" NOT NULL,
    metric int NOT NULL,
    count bigint NOT NULL,
    total numeric,
    least numeric,
    most numeric,
    latest text,
    PRIMARY KEY (book, upload, key, metric),
    FOREIGN KEY (book, upload) REFERENCES records_upload
) WITH (fillfactor = 60);

-- Every change of a structure, in order.
CREATE TABLE records_change (
    book int NOT NULL,
    structure int NOT NULL,
    change bigint NOT NULL,
    operation text NOT NULL CHECK (operation IN ('Create', 'Update', 'Settle', 'Clear')),
    round bigint NOT NULL,
    upload uuid,
    at timestamptz NOT NULL,
    by_whom text NOT NULL,
    settled_at timestamptz NOT NULL,
    PRIMARY KEY (book, structure, change),
    FOREIGN KEY (book, structure) REFERENCES records_structure,
    CHECK ((operation = 'Update') = (upload IS NOT NULL))
);
CREATE INDEX records_change_at ON records_change (book, structure, at, change);

-- A round that is over: settled, or cleared and so hidden.
CREATE TABLE records_round (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    ended text NOT NULL CHECK (ended IN ('settled', 'cleared')),
    change bigint NOT NULL,
    at timestamptz NOT NULL,
    by_whom text NOT NULL,
    disputable_until timestamptz NOT NULL,
    PRIMARY KEY (book, structure, round),
    FOREIGN KEY (book, structure) REFERENCES records_structure
);

-- Settled rounds whose positions are owed to the ledger, or in it.
CREATE TABLE records_booking (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('due', 'booked')),
    transactions text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (book, structure, round),
    FOREIGN KEY (book, structure, round) REFERENCES records_round
);
CREATE INDEX records_booking_due ON records_booking (book, structure, round) WHERE state = 'due';

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON records_delta
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON records_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON records_round
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What was counted stays: only an upload that never was may go, and its records before it.
CREATE FUNCTION refuse_forgetting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM gone AS g JOIN clearhouse.records_upload AS u ON u.book = g.book AND u.id = g.upload WHERE u.state = 'counted'
    ) THEN
        RAISE EXCEPTION 'records that were counted are never removed';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER kept AFTER DELETE ON records_record
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION refuse_forgetting();
CREATE FUNCTION refuse_forgetting_upload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.state = 'counted' THEN
        RAISE EXCEPTION 'an upload that was counted is never removed and never changes';
    END IF;
    RETURN CASE WHEN tg_op = 'DELETE' THEN old ELSE new END;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON records_upload FOR EACH ROW EXECUTE FUNCTION refuse_forgetting_upload();

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['records_structure', 'records_upload', 'records_record', 'records_known', 'records_delta',
        'records_aggregate', 'records_staged', 'records_change', 'records_round', 'records_booking'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO clearhouse_writer, clearhouse_reader', name);
        EXECUTE format('GRANT INSERT ON %I TO clearhouse_writer', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;
GRANT UPDATE (changes, operation, at, by_whom, settled_at) ON records_structure TO clearhouse_writer;
GRANT UPDATE (state, digest, records, repeated, change, round) ON records_upload TO clearhouse_writer;
GRANT UPDATE (count, total, least, most, latest, first_at, last_at) ON records_aggregate TO clearhouse_writer;
GRANT UPDATE (count, total, least, most, latest), DELETE ON records_staged TO clearhouse_writer;
GRANT UPDATE (state, transactions) ON records_booking TO clearhouse_writer;
GRANT DELETE ON records_record, records_upload TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;

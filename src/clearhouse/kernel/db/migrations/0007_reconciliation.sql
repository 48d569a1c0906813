-- Reconciliation: two sides of items, the rules that match them, what each run found, and the breaks that are left.
-- Items, matches, their parts and sums have no foreign keys: a run writes them by the million under rows that it has just
-- locked, and nothing they speak of is ever removed.

-- What is reconciled, by its name. Whoever matches anything of it holds this row.
CREATE TABLE reconciliation (
    book int NOT NULL REFERENCES book,
    name text COLLATE "C" NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    version int NOT NULL CHECK (version > 0),
    PRIMARY KEY (book, name)
);

-- Its rules, as JSON. A run keeps the version that it was made by.
CREATE TABLE reconciliation_rules (
    book int NOT NULL,
    name text COLLATE "C" NOT NULL,
    version int NOT NULL,
    rules text NOT NULL,
    set_at timestamptz NOT NULL,
    set_by uuid NOT NULL REFERENCES principal (id),
    PRIMARY KEY (book, name, version),
    FOREIGN KEY (book, name) REFERENCES reconciliation
);

-- Items that came together for one side. The next run takes them in.
CREATE TABLE reconciliation_delivery (
    book int NOT NULL,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    side text NOT NULL CHECK (side IN ('ours', 'theirs')),
    items bigint NOT NULL CHECK (items >= 0),
    at timestamptz NOT NULL,
    by uuid NOT NULL,
    run uuid,
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, name) REFERENCES reconciliation
);
CREATE INDEX reconciliation_delivery_waiting ON reconciliation_delivery (book, name) WHERE run IS NULL;
CREATE INDEX reconciliation_delivery_run ON reconciliation_delivery (book, run) WHERE run IS NOT NULL;

-- amount: in smallest units, above zero where the thing itself grows. Of a side, an id is one item however often it comes.
CREATE TABLE reconciliation_item (
    book int NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    side text NOT NULL CHECK (side IN ('ours', 'theirs')),
    id text COLLATE "C" NOT NULL,
    delivery uuid NOT NULL,
    asset text NOT NULL,
    exponent int NOT NULL,
    amount numeric NOT NULL CHECK (amount <> 0),
    day date NOT NULL,
    reference text COLLATE "C",
    end_to_end text COLLATE "C",
    text text,
    PRIMARY KEY (book, number),
    UNIQUE (book, name, side, id)
);
CREATE INDEX reconciliation_item_delivery ON reconciliation_item (book, delivery);

-- What a run came to: `carried` are the items it found open, `digest` is of everything that it matched.
CREATE TABLE reconciliation_run (
    book int NOT NULL,
    id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    version int NOT NULL,
    at timestamptz NOT NULL,
    by uuid NOT NULL,
    carried bigint[] NOT NULL,
    matches bigint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, name, version) REFERENCES reconciliation_rules
);
CREATE INDEX reconciliation_run_name ON reconciliation_run (book, name, id);

CREATE TABLE reconciliation_sum (
    book int NOT NULL,
    run uuid NOT NULL,
    side text NOT NULL,
    asset text NOT NULL,
    exponent int NOT NULL,
    new_items bigint NOT NULL,
    new numeric NOT NULL,
    carried_items bigint NOT NULL,
    carried numeric NOT NULL,
    matched_items bigint NOT NULL,
    matched numeric NOT NULL,
    open_items bigint NOT NULL,
    open numeric NOT NULL,
    PRIMARY KEY (book, run, side, asset),
    CHECK (new_items + carried_items = matched_items + open_items AND new + carried = matched + open)
);

-- Items that belong together. `batch` is the run or the command that found so, `rule` the rule's place in its set.
-- difference: ours less theirs, which is what is posted where `is_posted`.
CREATE TABLE reconciliation_match (
    book int NOT NULL,
    batch uuid NOT NULL,
    number int NOT NULL,
    name text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('rule', 'hand', 'match', 'write_off', 'suspend', 'accept')),
    rule int,
    asset text NOT NULL,
    exponent int NOT NULL,
    difference numeric NOT NULL,
    is_posted boolean NOT NULL,
    ours bigint[] NOT NULL,
    theirs bigint[] NOT NULL,
    digest bytea NOT NULL,
    at timestamptz NOT NULL,
    by uuid NOT NULL,
    undone_at timestamptz,
    undone_by uuid,
    PRIMARY KEY (book, batch, number),
    CHECK ((kind = 'rule') = (rule IS NOT NULL)),
    CHECK ((undone_at IS NULL) = (undone_by IS NULL)),
    CHECK (NOT is_posted OR difference <> 0)
);

-- An item is part of one match at a time: two that match at once meet here.
CREATE TABLE reconciliation_part (
    book int NOT NULL,
    item bigint NOT NULL,
    batch uuid NOT NULL,
    number int NOT NULL,
    PRIMARY KEY (book, item)
);

-- An item that a run left open. It is closed by a match, and open again when that is undone.
CREATE TABLE reconciliation_break (
    book int NOT NULL,
    item bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    day date NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closed')),
    reason text NOT NULL,
    owner uuid REFERENCES principal (id),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    proposal text,
    approval uuid,
    PRIMARY KEY (book, item),
    FOREIGN KEY (book, approval) REFERENCES approval_request,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    CHECK ((proposal IS NULL) = (approval IS NULL))
);
CREATE INDEX reconciliation_break_day ON reconciliation_break (book, state, day, item);
CREATE INDEX reconciliation_break_owner ON reconciliation_break (book, owner, state, day, item) WHERE owner IS NOT NULL;
CREATE INDEX reconciliation_break_open ON reconciliation_break (book, name) WHERE state = 'open';

CREATE TABLE reconciliation_remark (
    book int NOT NULL,
    item bigint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    by uuid NOT NULL REFERENCES principal (id),
    text text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (book, item, id),
    FOREIGN KEY (book, item) REFERENCES reconciliation_break
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation_item
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation_remark
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON reconciliation, reconciliation_rules, reconciliation_delivery, reconciliation_item, reconciliation_run,
    reconciliation_sum, reconciliation_match, reconciliation_part, reconciliation_break, reconciliation_remark
    TO clearhouse_writer;
GRANT SELECT ON reconciliation, reconciliation_rules, reconciliation_delivery, reconciliation_item, reconciliation_run,
    reconciliation_sum, reconciliation_match, reconciliation_part, reconciliation_break, reconciliation_remark
    TO clearhouse_reader;
GRANT UPDATE (version) ON reconciliation TO clearhouse_writer;
GRANT UPDATE (run) ON reconciliation_delivery TO clearhouse_writer;
GRANT UPDATE (undone_at, undone_by) ON reconciliation_match TO clearhouse_writer;
GRANT UPDATE (state, reason, owner, closed_at, proposal, approval) ON reconciliation_break TO clearhouse_writer;
GRANT DELETE ON reconciliation_part TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['reconciliation', 'reconciliation_rules', 'reconciliation_delivery', 'reconciliation_item',
        'reconciliation_run', 'reconciliation_sum', 'reconciliation_match', 'reconciliation_part', 'reconciliation_break',
        'reconciliation_remark'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

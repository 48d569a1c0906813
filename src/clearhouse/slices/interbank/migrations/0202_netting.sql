-- Netting: cycles that gather obligations between banks, what each bank is to pay or to get, and how far that is settled.

-- A cycle of a currency is one position of the cut `netting:CURRENCY`. settle: somebody wants it settled as soon as it is netted.
-- committing_at: from here on it is settled, whatever comes. reason: why it is taken back, or was.
CREATE TABLE netting_cycle (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    currency text NOT NULL,
    exponent int NOT NULL,
    number bigint NOT NULL CHECK (number > 0),
    method text NOT NULL CHECK (method IN ('gross', 'bilateral', 'multilateral')),
    state text NOT NULL CHECK (state IN ('OPEN', 'CLOSED', 'SETTLING', 'SETTLED', 'ABORTED')),
    settle boolean NOT NULL DEFAULT false,
    obligations bigint,
    positions bigint,
    gross numeric,
    net numeric,
    reason text,
    carried_to uuid,
    opened_at timestamptz NOT NULL,
    opened_by uuid NOT NULL,
    closed_at timestamptz,
    netted_at timestamptz,
    committing_at timestamptz,
    ended_at timestamptz,
    next_at timestamptz,
    attempts int NOT NULL DEFAULT 0,
    lease uuid,
    error text,
    PRIMARY KEY (book, id),
    UNIQUE (book, currency, number),
    CHECK ((state = 'OPEN') = (closed_at IS NULL)),
    CHECK ((state IN ('SETTLED', 'ABORTED')) = (ended_at IS NOT NULL)),
    CHECK (state NOT IN ('SETTLING', 'SETTLED') OR netted_at IS NOT NULL),
    CHECK (committing_at IS NULL OR state IN ('SETTLING', 'SETTLED') AND reason IS NULL),
    CHECK (state <> 'ABORTED' OR reason IS NOT NULL),
    CHECK (carried_to IS NULL OR state = 'ABORTED')
);
CREATE UNIQUE INDEX netting_cycle_open ON netting_cycle (book, currency) WHERE state = 'OPEN';
CREATE INDEX netting_cycle_due ON netting_cycle (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX netting_cycle_failed ON netting_cycle (book, state, id) WHERE error IS NOT NULL;
CREATE INDEX netting_cycle_newest ON netting_cycle (book, opened_at, id);

-- What was recorded together counts for one cycle; after that was aborted, for the one that it was carried to, without some banks.
CREATE TABLE netting_batch (
    book int NOT NULL,
    cycle uuid NOT NULL,
    id uuid NOT NULL,
    without text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (book, cycle, id)
);
CREATE INDEX netting_batch_own ON netting_batch (book, id);

-- What one bank owes another. No foreign keys to the banks, which are looked up before and never removed.
CREATE TABLE netting_obligation (
    book int NOT NULL,
    obligation_id text COLLATE "C" NOT NULL CHECK (length(obligation_id) BETWEEN 1 AND 100),
    batch uuid NOT NULL,
    payer text COLLATE "C" NOT NULL,
    payee text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    reference text,
    recorded_at timestamptz NOT NULL,
    recorded_by uuid NOT NULL,
    PRIMARY KEY (book, obligation_id),
    CHECK (payer <> payee)
);
CREATE INDEX netting_obligation_batch ON netting_obligation (book, batch, obligation_id);

-- What a cycle's obligations of one bank towards another come to.
CREATE TABLE netting_flow (
    book int NOT NULL,
    cycle uuid NOT NULL,
    payer text COLLATE "C" NOT NULL,
    payee text COLLATE "C" NOT NULL,
    obligations bigint NOT NULL CHECK (obligations > 0),
    amount numeric NOT NULL CHECK (amount > 0),
    PRIMARY KEY (book, cycle, payer, payee)
);

-- net is what the bank gets (above zero) or pays: from or to the counterparty, or where there is none through the clearing account.
-- turn: those of the lower are committed before any of the higher. tries: how often the ledger refused to commit it.
CREATE TABLE netting_position (
    book int NOT NULL,
    cycle uuid NOT NULL,
    place bigint NOT NULL,
    bank text COLLATE "C" NOT NULL,
    counterparty text COLLATE "C",
    obligation_id text COLLATE "C",
    obligations bigint NOT NULL,
    sent numeric NOT NULL,
    received numeric NOT NULL,
    net numeric NOT NULL,
    turn int NOT NULL CHECK (turn IN (0, 1)),
    state text NOT NULL DEFAULT 'RECORDED' CHECK (state IN ('RECORDED', 'RESERVED', 'COMMITTED', 'SETTLED')),
    tries int NOT NULL DEFAULT 0,
    reason text,
    PRIMARY KEY (book, cycle, place),
    CHECK (net = received - sent)
);
CREATE INDEX netting_position_turn ON netting_position (book, cycle, state, turn, tries, place);

-- The tables of legal transitions stand in netting/cycle.py; a test holds both against each other.
CREATE FUNCTION refuse_netting_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (tg_table_name, old.state, new.state) IN (
        ('netting_cycle', 'OPEN', 'CLOSED'), ('netting_cycle', 'CLOSED', 'SETTLING'), ('netting_cycle', 'CLOSED', 'SETTLED'),
        ('netting_cycle', 'CLOSED', 'ABORTED'), ('netting_cycle', 'SETTLING', 'SETTLED'),
        ('netting_cycle', 'SETTLING', 'ABORTED'),
        ('netting_position', 'RECORDED', 'RESERVED'), ('netting_position', 'RESERVED', 'RECORDED'),
        ('netting_position', 'RESERVED', 'COMMITTED'), ('netting_position', 'COMMITTED', 'SETTLED')
    ) THEN
        RETURN new;
    END IF;
    RAISE EXCEPTION 'a % that is % never becomes %', tg_table_name, old.state, new.state;
END $$;
CREATE TRIGGER legal BEFORE UPDATE OF state ON netting_cycle
    FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION refuse_netting_change();
CREATE TRIGGER legal BEFORE UPDATE OF state ON netting_position
    FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION refuse_netting_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON netting_obligation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON netting_batch
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON netting_flow
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON netting_cycle, netting_batch, netting_obligation, netting_flow, netting_position
    TO clearhouse_writer;
GRANT SELECT ON netting_cycle, netting_batch, netting_obligation, netting_flow, netting_position TO clearhouse_reader;
GRANT UPDATE (
    state, settle, obligations, positions, gross, net, reason, carried_to, closed_at, netted_at, committing_at, ended_at,
    next_at, attempts, lease, error
) ON netting_cycle TO clearhouse_writer;
GRANT UPDATE (state, tries, reason) ON netting_position TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['netting_cycle', 'netting_batch', 'netting_obligation', 'netting_flow', 'netting_position']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

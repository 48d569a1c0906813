-- The ground floor: roles, books, the ledger, keys and the journal. Every key leads with the book.

-- Roles belong to the server, not to the database: they may be there already. ------------------------------------------
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clearhouse_writer') THEN
        CREATE ROLE clearhouse_writer NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clearhouse_reader') THEN
        CREATE ROLE clearhouse_reader NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clearhouse_app') THEN
        CREATE ROLE clearhouse_app NOLOGIN NOINHERIT;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server was migrated at the same moment
END $$;
GRANT clearhouse_writer, clearhouse_reader TO clearhouse_app;
GRANT pg_read_all_stats TO clearhouse_reader;  -- an as-of instant is refused while a writer may still book before it
GRANT USAGE ON SCHEMA clearhouse TO clearhouse_writer, clearhouse_reader;

CREATE TABLE book (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    title text NOT NULL DEFAULT '',
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The ledger ----------------------------------------------------------------------------------------------------------
CREATE TABLE asset (
    book int NOT NULL REFERENCES book,
    code text NOT NULL CHECK (code ~ '^[A-Z][A-Z0-9_.-]{1,15}$'),
    exponent int NOT NULL CHECK (exponent BETWEEN 0 AND 30),
    PRIMARY KEY (book, code)
);

CREATE TABLE ledger_account (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    code text NOT NULL,
    asset text NOT NULL,
    exponent int NOT NULL,
    normal text NOT NULL CHECK (normal IN ('debit', 'credit')),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'frozen', 'closed')),
    floor numeric,
    ceiling numeric,
    version bigint NOT NULL DEFAULT 0,
    debits_posted numeric NOT NULL DEFAULT 0,
    credits_posted numeric NOT NULL DEFAULT 0,
    debits_pending numeric NOT NULL DEFAULT 0,
    credits_pending numeric NOT NULL DEFAULT 0,
    booked timestamptz NOT NULL DEFAULT '1970-01-01Z',
    opened_at timestamptz NOT NULL,
    metadata text,
    PRIMARY KEY (book, id),
    UNIQUE (book, code, asset),
    CHECK (floor <= ceiling),
    CHECK (least(debits_posted, credits_posted, debits_pending, credits_pending) >= 0)
) WITH (fillfactor = 50);  -- counters are updated in place (HOT): no index may cover them

-- kind: 0 posted, 1 hold, 2 capture, 3 release, 4 expiry, 5 reversal.
-- amount: what becomes posted, or (hold, release, expiry) what enters or leaves pending. released: what a final
-- capture takes out of pending; one that is not final takes its amount. sequence: its place in its batch; no two batches that share an account
-- have the same `booked`, so (booked, sequence) orders what happened to an account.
-- No foreign keys to the accounts: post_transfers has just updated them under (book, id), and accounts are never deleted.
CREATE TABLE ledger_transfer (
    book int NOT NULL,
    id uuid NOT NULL,
    sequence int NOT NULL,
    booked timestamptz NOT NULL,
    transaction uuid NOT NULL,
    debit uuid NOT NULL,
    credit uuid NOT NULL,
    effective date NOT NULL,
    position int NOT NULL,
    kind int NOT NULL CHECK (kind BETWEEN 0 AND 5),
    amount numeric NOT NULL CHECK (amount > 0),
    debit_debits_posted numeric NOT NULL,
    debit_credits_posted numeric NOT NULL,
    debit_debits_pending numeric NOT NULL,
    debit_credits_pending numeric NOT NULL,
    credit_debits_posted numeric NOT NULL,
    credit_credits_posted numeric NOT NULL,
    credit_debits_pending numeric NOT NULL,
    credit_credits_pending numeric NOT NULL,
    target uuid,
    released numeric CHECK (released >= amount),
    expires_at timestamptz,
    reference text,
    external_reference text,
    metadata text,
    PRIMARY KEY (book, id),
    CHECK (debit <> credit),
    CHECK ((kind IN (0, 1)) = (target IS NULL)),
    CHECK (kind = 2 OR released IS NULL)
);
CREATE INDEX ledger_transfer_debit ON ledger_transfer (book, debit, booked, sequence);
CREATE INDEX ledger_transfer_credit ON ledger_transfer (book, credit, booked, sequence);
CREATE INDEX ledger_transfer_leg ON ledger_transfer (book, transaction, position) WHERE id <> transaction;
CREATE INDEX ledger_transfer_target ON ledger_transfer (book, target) WHERE target IS NOT NULL;
CREATE INDEX ledger_transfer_reference ON ledger_transfer (book, reference, id) WHERE reference IS NOT NULL;
CREATE INDEX ledger_transfer_external ON ledger_transfer (book, external_reference, id) WHERE external_reference IS NOT NULL;
CREATE INDEX ledger_transfer_shifted ON ledger_transfer (book, effective)
    WHERE effective <> (booked AT TIME ZONE 'UTC')::date;
CREATE INDEX ledger_transfer_booked ON ledger_transfer USING brin (booked);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are never changed or removed', tg_table_name;
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE ledger_hold (
    book int NOT NULL,
    id uuid NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'posted', 'voided', 'expired')),
    remaining numeric NOT NULL CHECK (remaining >= 0),
    captured numeric NOT NULL DEFAULT 0 CHECK (captured >= 0),
    expires_at timestamptz,
    pinned_at timestamptz,
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, id) REFERENCES ledger_transfer,
    CHECK ((state = 'pending') = (remaining > 0))
);
CREATE INDEX ledger_hold_expiring ON ledger_hold (expires_at) WHERE state = 'pending' AND pinned_at IS NULL;

CREATE TABLE ledger_reversal (
    book int NOT NULL,
    id uuid NOT NULL,
    reversed numeric NOT NULL CHECK (reversed > 0),
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, id) REFERENCES ledger_transfer
);

-- What effective dating moves between days: plus on the effective day, minus on the day of booking. A transfer that is
-- effective on the day it is booked writes nothing here, so the hot path pays nothing for it.
CREATE TABLE ledger_shift (
    book int NOT NULL,
    account uuid NOT NULL,
    day date NOT NULL,
    debits numeric NOT NULL,
    credits numeric NOT NULL,
    PRIMARY KEY (book, account, day),
    FOREIGN KEY (book, account) REFERENCES ledger_account
);

CREATE TABLE ledger_day (
    book int PRIMARY KEY REFERENCES book,
    sealed_to date NOT NULL DEFAULT '0001-01-01'
);

CREATE TABLE ledger_seal (
    book int NOT NULL REFERENCES book,
    day date NOT NULL,
    since date NOT NULL,
    sealed_at timestamptz NOT NULL,
    sealed_by text NOT NULL,
    totalled_at timestamptz,
    PRIMARY KEY (book, day)
);

CREATE INDEX ledger_seal_untotalled ON ledger_seal (book, day) WHERE totalled_at IS NULL;

CREATE TABLE ledger_seal_total (
    book int NOT NULL,
    day date NOT NULL,
    asset text NOT NULL,
    transfers bigint NOT NULL,
    debits numeric NOT NULL,
    credits numeric NOT NULL,
    PRIMARY KEY (book, day, asset),
    FOREIGN KEY (book, day) REFERENCES ledger_seal
);

-- Posts a batch that was decided: writes the accounts' new counters where nobody has touched them since they were read,
-- appends the transfers, and says when that was and on which day transfers without a date of their own count. Success means
-- that nobody came between, so the clock may be read first: a booking is later than the last one of each of these accounts.
-- Batches of one lane, which is one process's, are written one after another: what the next one is made of is read while the
-- one before it commits. Lane 0 is nobody's.
-- OFFSET 0 lets no condition through, so accounts are looked up one by one in the order of the ids, whatever the statistics
-- say (a new table has none): it costs what it touches, and two writers that share accounts never wait in a circle.
CREATE FUNCTION post_transfers(
    a_book int, a_sealed date, ids uuid[], versions bigint[], a_debits numeric[], a_credits numeric[],
    a_held_debits numeric[], a_held_credits numeric[], last_booked timestamptz, moves ledger_transfer[], lane bigint,
    OUT booked_at timestamptz, OUT day date
) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_material = off SET enable_memoize = off
AS $$
DECLARE touched bigint;
BEGIN
    IF lane <> 0 THEN
        PERFORM pg_advisory_xact_lock(lane);
    END IF;
    PERFORM pg_advisory_xact_lock_shared(1, a_book);
    IF a_sealed IS DISTINCT FROM (SELECT d.sealed_to FROM clearhouse.ledger_day AS d WHERE d.book = a_book) THEN
        RAISE EXCEPTION 'a day was closed since it was read' USING ERRCODE = 'CH001';
    END IF;
    booked_at := greatest(clock_timestamp(), last_booked + interval '1 microsecond');
    day := greatest((booked_at AT TIME ZONE 'UTC')::date, a_sealed + 1);
    UPDATE clearhouse.ledger_account AS a
    SET version = n.version + 1, debits_posted = n.debits, credits_posted = n.credits,
        debits_pending = coalesce(n.held_debits, 0), credits_pending = coalesce(n.held_credits, 0), booked = booked_at
    FROM (
        SELECT a_book AS book, u.*
        FROM unnest(ids, versions, a_debits, a_credits, a_held_debits, a_held_credits)
            AS u (id, version, debits, credits, held_debits, held_credits) OFFSET 0
    ) AS n
    WHERE a.book = n.book AND a.id = n.id AND a.version = n.version AND a.booked < booked_at;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> cardinality(ids) THEN
        RAISE EXCEPTION 'accounts changed since they were read' USING ERRCODE = 'CH001';
    END IF;
    INSERT INTO clearhouse.ledger_transfer (
        book, id, sequence, booked, transaction, debit, credit, effective, position, kind, amount,
        debit_debits_posted, debit_credits_posted, debit_debits_pending, debit_credits_pending,
        credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending,
        target, released, expires_at, reference, external_reference, metadata
    )
    SELECT a_book, m.id, m.sequence, booked_at, m.transaction, m.debit, m.credit, coalesce(m.effective, day),
        m.position, m.kind, m.amount,
        m.debit_debits_posted, m.debit_credits_posted, m.debit_debits_pending, m.debit_credits_pending,
        m.credit_debits_posted, m.credit_credits_posted, m.credit_debits_pending, m.credit_credits_pending,
        m.target, m.released, m.expires_at, m.reference, m.external_reference, m.metadata
    FROM unnest(moves) AS m;
END $$;

-- The door ------------------------------------------------------------------------------------------------------------
CREATE TABLE command_key (
    book int NOT NULL REFERENCES book,
    principal uuid NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    answer text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (book, principal, kind, key)
);
CREATE INDEX command_key_at ON command_key USING brin (at);

-- The journal: one row a transaction, written last. number and chain are the sequencer's, set once. ----------------------
CREATE TABLE journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    book int NOT NULL REFERENCES book,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    principal text NOT NULL,
    lines text NOT NULL,
    digest bytea NOT NULL,
    number bigint,
    chain bytea,
    CHECK ((number IS NULL) = (chain IS NULL))
);
CREATE UNIQUE INDEX journal_number ON journal (book, number) WHERE number IS NOT NULL;
CREATE INDEX journal_unsealed ON journal (id) WHERE number IS NULL;

CREATE FUNCTION refuse_journal_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'UPDATE' AND old.number IS NULL AND new.number IS NOT NULL
        AND (new.id, new.book, new.at, new.kind, new.principal, new.lines, new.digest)
        IS NOT DISTINCT FROM (old.id, old.book, old.at, old.kind, old.principal, old.lines, old.digest) THEN
        RETURN new;
    END IF;
    RAISE EXCEPTION 'journal rows are never changed or removed';
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON journal FOR EACH ROW EXECUTE FUNCTION refuse_journal_change();
CREATE TRIGGER kept BEFORE TRUNCATE ON journal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who may touch what --------------------------------------------------------------------------------------------------
GRANT SELECT ON ALL TABLES IN SCHEMA clearhouse TO clearhouse_writer, clearhouse_reader;
REVOKE ALL ON command_key FROM clearhouse_reader;
GRANT INSERT ON book, asset, ledger_account, ledger_transfer, ledger_hold, ledger_reversal, ledger_shift, ledger_day,
    ledger_seal, ledger_seal_total, command_key, journal TO clearhouse_writer;
GRANT UPDATE ON ledger_account, ledger_hold, ledger_reversal, ledger_shift, ledger_day TO clearhouse_writer;
GRANT UPDATE (totalled_at) ON ledger_seal TO clearhouse_writer;
GRANT UPDATE (number, chain) ON journal TO clearhouse_writer;
GRANT DELETE ON command_key TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['asset', 'ledger_account', 'ledger_transfer', 'ledger_hold', 'ledger_reversal',
        'ledger_shift', 'ledger_day', 'ledger_seal', 'ledger_seal_total', 'journal'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
    ALTER TABLE command_key ENABLE ROW LEVEL SECURITY;
    CREATE POLICY every_book ON command_key TO clearhouse_writer USING (true);
    ALTER TABLE book ENABLE ROW LEVEL SECURITY;
    CREATE POLICY every_book ON book TO clearhouse_writer USING (true);
    CREATE POLICY own_books ON book FOR SELECT TO clearhouse_reader
        USING (id = ANY (current_setting('clearhouse.books')::int[]));
END $$;

INSERT INTO book (name, title) VALUES ('main', 'The main book');
INSERT INTO ledger_day (book) SELECT id FROM book;

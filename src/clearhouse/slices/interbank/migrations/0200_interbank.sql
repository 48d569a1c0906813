-- Interbank: banks, our accounts with them and theirs with us, windows, rules, and settlements with every step they took.

CREATE TABLE interbank_bank (
    book int NOT NULL REFERENCES book,
    bic text COLLATE "C" NOT NULL CHECK (bic ~ '^[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 140),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'suspended')),
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (book, bic)
);

-- A nostro is ours at another bank, a vostro is another bank's with us. The ledger owns what is on them.
CREATE TABLE interbank_account (
    book int NOT NULL,
    side text NOT NULL CHECK (side IN ('nostro', 'vostro')),
    bank text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    account uuid NOT NULL,
    number text NOT NULL CHECK (length(number) BETWEEN 1 AND 64),
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (book, side, bank, currency),
    FOREIGN KEY (book, bank) REFERENCES interbank_bank,
    FOREIGN KEY (book, account) REFERENCES ledger_account
);

-- When a currency is settled, and through which method ('' is every other): by a rule or by one of the book's calendars.
CREATE TABLE settlement_windows (
    book int NOT NULL REFERENCES book,
    currency text NOT NULL,
    method text NOT NULL CHECK (method IN ('', 'SWIFT', 'SEPA', 'LOCAL_ACH', 'MOCK')),
    calendar text NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (book, currency, method)
);

-- What may leave a bank's vostro without a person looking at it; bank '' is every bank that has no line of its own.
CREATE TABLE interbank_limit (
    book int NOT NULL REFERENCES book,
    bank text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    single numeric CHECK (single >= 0),
    daily numeric CHECK (daily >= 0),
    hourly int CHECK (hourly >= 0),
    set_at timestamptz NOT NULL,
    PRIMARY KEY (book, bank, currency)
);

-- The list of those with whom nobody settles before a person has looked: names as they were given.
CREATE TABLE interbank_sanction (
    book int NOT NULL REFERENCES book,
    name text COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 300),
    source text NOT NULL,
    PRIMARY KEY (book, name)
);

-- Processes remember all of the above; this number tells them when to read it again.
CREATE TABLE interbank_version (
    book int PRIMARY KEY REFERENCES book,
    version bigint NOT NULL
);

-- priority: 0 urgent, 1 high, 2 normal. rank: when its turn is; a lower priority is an arrival so much later, so nothing starves.
-- No foreign keys to the banks: they are looked up before and never removed, and a key would lock their rows at every insert.
-- due_at: when something is to be done with it by itself. hold: the lock on its funds, while there is one or was.
CREATE TABLE settlement_transactions (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    obligation_id text COLLATE "C" NOT NULL CHECK (length(obligation_id) BETWEEN 1 AND 100),
    from_bank text COLLATE "C" NOT NULL,
    to_bank text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    exponent int NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    method text NOT NULL CHECK (method IN ('SWIFT', 'SEPA', 'LOCAL_ACH', 'MOCK')),
    priority int NOT NULL CHECK (priority BETWEEN 0 AND 2),
    rank timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN (
        'PENDING', 'VALIDATING', 'FUNDS_LOCKED', 'EXECUTING', 'CONFIRMING', 'COMPLETED', 'FAILED', 'ROLLED_BACK', 'IN_DOUBT'
    )),
    waiting_for text CHECK (waiting_for IN ('window', 'review', 'retry')),
    due_at timestamptz,
    attempts int NOT NULL DEFAULT 0,
    asked int NOT NULL DEFAULT 0,
    hold uuid,
    captured numeric NOT NULL DEFAULT 0,
    returned numeric NOT NULL DEFAULT 0,
    reason text,
    remark text,
    review uuid,
    reviewed boolean NOT NULL DEFAULT false,
    parties text,
    compensates uuid,
    accepted_at timestamptz NOT NULL,
    accepted_by uuid NOT NULL,
    sent_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (book, id),
    CHECK (from_bank <> to_bank),
    CHECK (captured <= amount AND returned <= captured),
    CHECK (state <> 'COMPLETED' OR captured = amount),
    CHECK (waiting_for IS NULL OR state IN ('PENDING', 'FAILED')),
    CHECK (state NOT IN ('FUNDS_LOCKED', 'EXECUTING', 'CONFIRMING', 'IN_DOUBT') OR hold IS NOT NULL)
) WITH (fillfactor = 60);
-- An obligation is settled once: another settlement of it is possible only where the one before came to nothing.
CREATE UNIQUE INDEX settlement_obligation ON settlement_transactions (book, obligation_id)
    WHERE state NOT IN ('FAILED', 'ROLLED_BACK');
CREATE INDEX settlement_turn ON settlement_transactions (book, rank) WHERE state = 'FUNDS_LOCKED';
CREATE INDEX settlement_due ON settlement_transactions (book, due_at) WHERE due_at IS NOT NULL AND state <> 'FUNDS_LOCKED';
CREATE INDEX settlement_review ON settlement_transactions (book, id) WHERE waiting_for = 'review';
CREATE INDEX settlement_accepted ON settlement_transactions (book, accepted_at, id);
CREATE INDEX settlement_payer ON settlement_transactions (book, from_bank, accepted_at, id);
CREATE INDEX settlement_payee ON settlement_transactions (book, to_bank, accepted_at, id);

-- The table of legal transitions stands in settlement.py; a test holds both against each other.
CREATE FUNCTION refuse_settlement_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.state = old.state AND old.state NOT IN ('ROLLED_BACK') OR (old.state, new.state) IN (
        ('PENDING', 'VALIDATING'), ('PENDING', 'FUNDS_LOCKED'), ('PENDING', 'FAILED'), ('PENDING', 'ROLLED_BACK'),
        ('VALIDATING', 'PENDING'), ('VALIDATING', 'FUNDS_LOCKED'), ('VALIDATING', 'FAILED'), ('VALIDATING', 'ROLLED_BACK'),
        ('FUNDS_LOCKED', 'EXECUTING'), ('FUNDS_LOCKED', 'ROLLED_BACK'),
        ('EXECUTING', 'CONFIRMING'), ('EXECUTING', 'COMPLETED'), ('EXECUTING', 'FAILED'), ('EXECUTING', 'IN_DOUBT'),
        ('CONFIRMING', 'COMPLETED'), ('CONFIRMING', 'FAILED'), ('CONFIRMING', 'IN_DOUBT'),
        ('IN_DOUBT', 'COMPLETED'), ('IN_DOUBT', 'FAILED'), ('FAILED', 'PENDING')
    ) THEN
        RETURN new;
    END IF;
    RAISE EXCEPTION 'a settlement that is % never becomes %', old.state, new.state;
END $$;
CREATE TRIGGER legal BEFORE UPDATE OF state ON settlement_transactions
    FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state OR old.state = 'ROLLED_BACK')
    EXECUTE FUNCTION refuse_settlement_change();

-- Every step of every attempt, with its time.
CREATE TABLE settlement_operation_checkpoints (
    book int NOT NULL,
    settlement uuid NOT NULL,
    attempt int NOT NULL,
    step text NOT NULL CHECK (step IN ('VALIDATION', 'LOCK', 'INITIATE', 'CONFIRM', 'FINALIZE', 'ROLLBACK', 'DOUBT')),
    at timestamptz NOT NULL,
    PRIMARY KEY (book, settlement, attempt, step)
);

-- How far the word of the banks has been read: what comes after the cursor is new.
CREATE TABLE interbank_news (
    book int NOT NULL REFERENCES book,
    channel text NOT NULL,
    cursor text NOT NULL,
    read_at timestamptz NOT NULL,
    PRIMARY KEY (book, channel)
);

-- What had to be put right after the fact, each once: a return, or a confirmation of what was given up.
CREATE TABLE compensation_transactions (
    book int NOT NULL,
    settlement uuid NOT NULL,
    reference text COLLATE "C" NOT NULL,
    cause text NOT NULL CHECK (cause IN ('return', 'late_confirmation')),
    amount numeric NOT NULL CHECK (amount > 0),
    compensation uuid,
    transaction uuid NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (book, settlement, reference),
    FOREIGN KEY (book, settlement) REFERENCES settlement_transactions,
    FOREIGN KEY (book, compensation) REFERENCES settlement_transactions
);

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_operation_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON compensation_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON interbank_bank, interbank_account, settlement_windows, interbank_limit, interbank_sanction,
    interbank_version, settlement_transactions, settlement_operation_checkpoints, interbank_news,
    compensation_transactions TO clearhouse_writer;
GRANT SELECT ON interbank_bank, interbank_account, settlement_windows, interbank_limit, interbank_sanction,
    interbank_version, settlement_transactions, settlement_operation_checkpoints, interbank_news,
    compensation_transactions TO clearhouse_reader;
GRANT UPDATE (name, state) ON interbank_bank TO clearhouse_writer;
GRANT UPDATE (calendar, set_at), DELETE ON settlement_windows TO clearhouse_writer;
GRANT UPDATE (single, daily, hourly, set_at), DELETE ON interbank_limit TO clearhouse_writer;
GRANT DELETE ON interbank_sanction TO clearhouse_writer;
GRANT UPDATE (cursor, read_at) ON interbank_news TO clearhouse_writer;
GRANT UPDATE (version) ON interbank_version TO clearhouse_writer;
GRANT UPDATE (
    state, waiting_for, due_at, attempts, asked, hold, captured, returned, reason, remark, review, reviewed, sent_at, ended_at
) ON settlement_transactions TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['interbank_bank', 'interbank_account', 'settlement_windows', 'interbank_limit',
        'interbank_sanction', 'interbank_version', 'settlement_transactions', 'settlement_operation_checkpoints',
        'interbank_news', 'compensation_transactions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

-- The document's other tables, where the kernel owns what is in them. Each is read with the rights of who asks.
CREATE VIEW nostro_accounts WITH (security_invoker = true) AS
SELECT i.book, i.bank, i.currency, i.number, i.opened_at, a.id AS account, a.code, a.exponent, a.state, a.floor, a.ceiling,
    a.debits_posted - a.credits_posted AS balance, a.credits_pending AS held,
    a.debits_posted - a.credits_posted - a.credits_pending AS available
FROM interbank_account AS i JOIN ledger_account AS a ON a.book = i.book AND a.id = i.account
WHERE i.side = 'nostro';

CREATE VIEW vostro_accounts WITH (security_invoker = true) AS
SELECT i.book, i.bank, i.currency, i.number, i.opened_at, a.id AS account, a.code, a.exponent, a.state, a.floor, a.ceiling,
    a.credits_posted - a.debits_posted AS balance, a.debits_pending AS held,
    a.credits_posted - a.debits_posted - a.debits_pending AS available
FROM interbank_account AS i JOIN ledger_account AS a ON a.book = i.book AND a.id = i.account
WHERE i.side = 'vostro';

CREATE VIEW fund_locks WITH (security_invoker = true) AS
SELECT s.book, s.id AS settlement, h.id AS hold, s.from_bank, s.to_bank, s.currency, s.exponent, s.amount, h.remaining,
    h.captured, h.state, h.expires_at, h.pinned_at
FROM settlement_transactions AS s JOIN ledger_hold AS h ON h.book = s.book AND h.id = s.hold;

CREATE VIEW settlement_atomic_operations WITH (security_invoker = true) AS
SELECT s.book, s.id AS settlement, s.attempts, s.accepted_at AS started_at, s.ended_at, CASE
    WHEN s.state = 'COMPLETED' THEN 'COMMITTED'
    WHEN s.state IN ('FAILED', 'ROLLED_BACK') THEN 'ROLLED_BACK'
    WHEN s.state = 'IN_DOUBT' THEN 'IN_DOUBT'
    ELSE 'IN_PROGRESS'
END AS state
FROM settlement_transactions AS s;

GRANT SELECT ON nostro_accounts, vostro_accounts, fund_locks, settlement_atomic_operations
    TO clearhouse_writer, clearhouse_reader;

-- The simulated bank: somebody else's books, which happen to be kept here. Nothing of ours refers to them, and nothing of
-- theirs to ours but the book whose bank it is. Whoever changes them holds the advisory lock (250, book) first, so numbers
-- rise in the order of the commits.

-- A bank's settings, and the number of its last event.
CREATE TABLE bank_head (
    book int PRIMARY KEY REFERENCES book,
    seed bigint NOT NULL DEFAULT 0,
    ahead_seconds float8 NOT NULL DEFAULT 0,
    latency_seconds float8 NOT NULL DEFAULT 0,
    rails text NOT NULL DEFAULT '[]',
    lies text NOT NULL DEFAULT '[]',
    last bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Its accounts: ours, which it keeps for us; its counterparties'; what it could not apply; and where money comes from.
-- A balance is what the bank owes the holder. What is reserved for orders that were accepted is still in the balance.
CREATE TABLE bank_account (
    book int NOT NULL REFERENCES book,
    id int GENERATED ALWAYS AS IDENTITY,
    code text NOT NULL CHECK (length(code) BETWEEN 1 AND 140),
    currency text NOT NULL,
    exponent int NOT NULL CHECK (exponent BETWEEN 0 AND 30),
    role text NOT NULL CHECK (role IN ('customer', 'counterparty', 'suspense', 'cash')),
    credit_line numeric NOT NULL DEFAULT 0 CHECK (credit_line >= 0),
    balance numeric NOT NULL DEFAULT 0,
    reserved numeric NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (book, id),
    UNIQUE (book, code, currency)
) WITH (fillfactor = 50);  -- counters are updated in place (HOT): no index may cover them

-- An order, once it arrived. A refused one is kept too: it has the same answer however often it comes.
-- No foreign keys to the accounts: their rows are updated in the same transaction, and accounts are never deleted.
CREATE TABLE bank_order (
    book int NOT NULL,
    id uuid NOT NULL,
    content bytea NOT NULL CHECK (length(content) = 32),
    state text NOT NULL CHECK (state IN ('refused', 'received', 'accepted', 'partly', 'confirmed', 'rejected', 'returned')),
    account int,
    payee int,
    amount numeric NOT NULL DEFAULT 0 CHECK (amount >= 0),
    confirmed numeric NOT NULL DEFAULT 0 CHECK (confirmed BETWEEN 0 AND amount),
    returned numeric NOT NULL DEFAULT 0 CHECK (returned BETWEEN 0 AND confirmed),
    method text NOT NULL,
    payer text NOT NULL,
    reference text NOT NULL,
    code text NOT NULL DEFAULT '',
    value date NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (book, id),
    CHECK ((state = 'refused') OR (account IS NOT NULL AND payee IS NOT NULL AND amount > 0))
) WITH (fillfactor = 80);

CREATE INDEX bank_order_open ON bank_order (book, account) WHERE state IN ('received', 'accepted', 'partly');

-- What will become of an order, and when by the bank's clock.
CREATE TABLE bank_step (
    book int NOT NULL,
    due timestamptz NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    order_id uuid NOT NULL,
    act text NOT NULL CHECK (act IN ('confirm', 'repeat', 'reject', 'return')),
    amount numeric NOT NULL CHECK (amount >= 0),
    code text NOT NULL,
    PRIMARY KEY (book, due, id),
    FOREIGN KEY (book, order_id) REFERENCES bank_order
);

-- What happened: at once the bank's journal of double entries, the statement of each account, and the news of it. Where no
-- money moved there is no debit and no credit.
CREATE TABLE bank_event (
    book int NOT NULL,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    value date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('confirmed', 'repeated', 'rejected', 'returned', 'funding')),
    order_id uuid,
    state text CHECK (state IN ('partly', 'confirmed', 'rejected', 'returned')),
    debit int,
    credit int,
    amount numeric NOT NULL CHECK (amount >= 0),
    total numeric NOT NULL,
    debit_balance numeric,
    credit_balance numeric,
    code text NOT NULL,
    reference text NOT NULL,
    PRIMARY KEY (book, number),
    CHECK ((debit IS NULL) = (credit IS NULL) AND (debit IS NULL) = (kind IN ('repeated', 'rejected'))),
    CHECK (debit <> credit),
    CHECK (debit IS NULL OR amount > 0),
    CHECK ((order_id IS NULL) = (state IS NULL))
);
CREATE INDEX bank_event_debit ON bank_event (book, debit, number) WHERE debit IS NOT NULL;
CREATE INDEX bank_event_credit ON bank_event (book, credit, number) WHERE credit IS NOT NULL;
CREATE INDEX bank_event_order ON bank_event (book, order_id, number) WHERE order_id IS NOT NULL;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON bank_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Orders that were lost on their way here, as they were told to be: the simulation's memory, not the bank's.
CREATE TABLE bank_lost (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    PRIMARY KEY (book, id)
);

GRANT SELECT, INSERT ON bank_head, bank_account, bank_order, bank_step, bank_event, bank_lost TO clearhouse_writer;
GRANT SELECT ON bank_head, bank_account, bank_order, bank_step, bank_event, bank_lost TO clearhouse_reader;
GRANT UPDATE (seed, ahead_seconds, latency_seconds, rails, lies, last) ON bank_head TO clearhouse_writer;
GRANT UPDATE (balance, reserved, credit_line) ON bank_account TO clearhouse_writer;
GRANT UPDATE (state, confirmed, returned, code) ON bank_order TO clearhouse_writer;
GRANT DELETE ON bank_step TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['bank_head', 'bank_account', 'bank_order', 'bank_step', 'bank_event', 'bank_lost'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

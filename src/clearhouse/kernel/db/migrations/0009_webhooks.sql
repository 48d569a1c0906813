-- Webhooks: where events go, with which secrets they are signed, and what became of each.

-- `number` and `place` are where an endpoint is in the log: every event up to there that it wants has its delivery.
CREATE TABLE webhook_endpoint (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
    description text NOT NULL CHECK (length(description) <= 200),
    types text[] NOT NULL,
    state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
    reason text NOT NULL CHECK (reason IN ('', 'asked', 'gone')),
    added_at timestamptz NOT NULL,
    added_by uuid NOT NULL REFERENCES principal (id),
    changed_at timestamptz NOT NULL,
    number bigint NOT NULL CHECK (number >= 0),
    place int NOT NULL CHECK (place >= 0),
    PRIMARY KEY (book, id),
    CHECK ((state = 'enabled') = (reason = ''))
);
CREATE INDEX webhook_enabled ON webhook_endpoint (book, id) WHERE state = 'enabled';

-- Two are good while one replaces the other. No reader sees them.
CREATE TABLE webhook_secret (
    book int NOT NULL,
    endpoint uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    secret text NOT NULL,
    made_at timestamptz NOT NULL,
    ends_at timestamptz,
    PRIMARY KEY (book, endpoint, id),
    FOREIGN KEY (book, endpoint) REFERENCES webhook_endpoint
);

-- One event for one endpoint. `next_at` of one that is being sent is when it may be taken from a sender that has died.
CREATE TABLE webhook_delivery (
    book int NOT NULL,
    endpoint uuid NOT NULL,
    number bigint NOT NULL,
    place int NOT NULL,
    type text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts int NOT NULL CHECK (attempts >= 0),
    made_at timestamptz NOT NULL,
    next_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    ended_at timestamptz,
    status int,
    answer text NOT NULL CHECK (length(answer) <= 500),
    PRIMARY KEY (book, endpoint, number, place),
    FOREIGN KEY (book, endpoint) REFERENCES webhook_endpoint,
    CHECK ((state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX webhook_due ON webhook_delivery (book, endpoint, next_at) WHERE state = 'pending';
CREATE INDEX webhook_state ON webhook_delivery (book, endpoint, state, number, place);
CREATE INDEX webhook_old ON webhook_delivery (ended_at) WHERE state = 'delivered';

GRANT SELECT, INSERT ON webhook_endpoint, webhook_secret, webhook_delivery TO clearhouse_writer;
GRANT SELECT ON webhook_endpoint, webhook_delivery TO clearhouse_reader;
GRANT UPDATE (url, description, types, state, reason, changed_at, number, place) ON webhook_endpoint TO clearhouse_writer;
GRANT UPDATE (ends_at) ON webhook_secret TO clearhouse_writer;
GRANT UPDATE (state, attempts, next_at, ends_at, ended_at, status, answer) ON webhook_delivery TO clearhouse_writer;
GRANT DELETE ON webhook_secret, webhook_delivery TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['webhook_endpoint', 'webhook_delivery'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
    ALTER TABLE webhook_secret ENABLE ROW LEVEL SECURITY;
    CREATE POLICY every_book ON webhook_secret TO clearhouse_writer USING (true);
END $$;

-- Pipelines: which stages a transaction made work for, schedules, and what they set going.

-- Not part of what the chain covers: it says what to do next, not what happened.
ALTER TABLE journal ADD COLUMN wakes text[];

CREATE TABLE schedule (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]*([.][a-z0-9_-]+)*$' AND length(name) <= 63),
    state text NOT NULL CHECK (state IN ('active', 'paused')),
    cron text NOT NULL,
    zone text NOT NULL,
    job text NOT NULL,
    arguments text NOT NULL,
    set_at timestamptz NOT NULL,
    set_by uuid NOT NULL REFERENCES principal (id),
    next_at timestamptz,
    attempts int NOT NULL DEFAULT 0,
    lease uuid,
    error text,
    PRIMARY KEY (book, id),
    UNIQUE (book, name)
);
CREATE INDEX schedule_due ON schedule (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedule_failed ON schedule (book, state, id) WHERE error IS NOT NULL;

-- One row for each time that a schedule fired. due_at is the tick it was for; fired_at later where the tick was missed.
CREATE TABLE firing (
    book int NOT NULL,
    id uuid NOT NULL,
    schedule uuid NOT NULL,
    job text NOT NULL,
    arguments text NOT NULL,
    due_at timestamptz NOT NULL,
    fired_at timestamptz NOT NULL,
    by_hand boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'done')),
    done_at timestamptz,
    next_at timestamptz,
    attempts int NOT NULL DEFAULT 0,
    lease uuid,
    error text,
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, schedule) REFERENCES schedule,
    CHECK ((state = 'done') = (done_at IS NOT NULL))
);
-- A tick fires once, whoever claims it.
CREATE UNIQUE INDEX firing_tick ON firing (book, schedule, due_at) WHERE NOT by_hand;
CREATE INDEX firing_due ON firing (book, state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX firing_failed ON firing (book, state, id) WHERE error IS NOT NULL;
CREATE INDEX firing_done ON firing (done_at) WHERE state = 'done';
CREATE INDEX firing_schedule ON firing (book, schedule, fired_at);

GRANT SELECT, INSERT ON schedule, firing TO clearhouse_writer;
GRANT SELECT ON schedule, firing TO clearhouse_reader;
GRANT UPDATE (state, cron, zone, job, arguments, set_at, set_by, next_at, attempts, lease, error) ON schedule
    TO clearhouse_writer;
GRANT UPDATE (state, done_at, next_at, attempts, lease, error) ON firing TO clearhouse_writer;
GRANT DELETE ON firing TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['schedule', 'firing'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

-- Messages that came in and had no effect: not understood, or refused for good.

-- `body` is cut at a limit, `length` is how long it was. A replay that was asked for is `due` until a worker has tried it; each
-- try has a key of its own, made with `replays`.
CREATE TABLE inbox_dead (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL,
    subscription text COLLATE "C" NOT NULL,
    message text NOT NULL,
    source text NOT NULL,
    subject text NOT NULL,
    body bytea NOT NULL,
    length bigint NOT NULL CHECK (length >= length(body)),
    code text NOT NULL,
    reason text NOT NULL,
    dead_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'due', 'replayed', 'dismissed')),
    replays int NOT NULL DEFAULT 0 CHECK (replays >= 0),
    decided_at timestamptz,
    decided_by text,
    remark text NOT NULL DEFAULT '',
    PRIMARY KEY (book, id),
    CHECK ((decided_at IS NULL) = (decided_by IS NULL)),
    CHECK (state = 'waiting' OR decided_at IS NOT NULL)
);
CREATE INDEX inbox_dead_at ON inbox_dead (book, dead_at, id);
CREATE INDEX inbox_dead_subscription ON inbox_dead (book, subscription, dead_at, id);
CREATE INDEX inbox_dead_due ON inbox_dead (book, subscription, id) WHERE state = 'due';

CREATE FUNCTION refuse_dead_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (old.state, new.state) IN (
        ('waiting', 'due'), ('waiting', 'dismissed'), ('dismissed', 'due'), ('due', 'replayed'), ('due', 'waiting')
    ) THEN
        RETURN new;
    END IF;
    RAISE EXCEPTION 'a dead letter that is % never becomes %', old.state, new.state;
END $$;
CREATE TRIGGER legal BEFORE UPDATE ON inbox_dead FOR EACH ROW EXECUTE FUNCTION refuse_dead_change();

GRANT SELECT, INSERT, DELETE ON inbox_dead TO clearhouse_writer;
GRANT SELECT ON inbox_dead TO clearhouse_reader;
GRANT UPDATE (code, reason, state, replays, decided_at, decided_by, remark) ON inbox_dead TO clearhouse_writer;

ALTER TABLE inbox_dead ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON inbox_dead FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON inbox_dead TO clearhouse_writer USING (true);

-- Who reads the events of a book, and how far each has come.

-- (number, place) is the first line that was not read. A lease says who is at work, and until when nobody else may be;
-- one that fails is left alone until `due_at`.
CREATE TABLE event_reader (
    book int NOT NULL REFERENCES book,
    name text COLLATE "C" NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$'),
    number bigint NOT NULL CHECK (number >= 0),
    place int NOT NULL DEFAULT 0 CHECK (place >= 0),
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease uuid,
    leased_until timestamptz,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts int NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    failing_since timestamptz,
    problem text,
    PRIMARY KEY (book, name),
    CHECK ((lease IS NULL) = (leased_until IS NULL)),
    CHECK ((attempts = 0) = (failing_since IS NULL) AND (attempts = 0) = (problem IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX event_reader_name ON event_reader (name, book);

GRANT SELECT, INSERT, DELETE ON event_reader TO clearhouse_writer;
GRANT SELECT ON event_reader TO clearhouse_reader;
GRANT UPDATE (number, place, moved_at, lease, leased_until, due_at, attempts, failing_since, problem) ON event_reader
    TO clearhouse_writer;

ALTER TABLE event_reader ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON event_reader FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON event_reader TO clearhouse_writer USING (true);

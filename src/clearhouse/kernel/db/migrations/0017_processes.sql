-- What each process that works here said last of its loops: of no book, for `/health` of every process, and forgotten soon.
CREATE TABLE process (
    id uuid PRIMARY KEY,
    said_at timestamptz NOT NULL,
    loops text[] NOT NULL,  -- those that stand still
    seconds float8[] NOT NULL  -- and for how long each of them had when it was said
);
CREATE INDEX process_said ON process (said_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON process TO clearhouse_writer;
GRANT SELECT ON process TO clearhouse_reader;

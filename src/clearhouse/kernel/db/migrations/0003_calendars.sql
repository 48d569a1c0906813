-- Calendars of a book's own, beside the rules that everybody has. `days` are the open days of the week (Monday is 0).
CREATE TABLE calendar (
    book int NOT NULL REFERENCES book,
    name text COLLATE "C" NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    title text NOT NULL,
    days int[] NOT NULL CHECK (cardinality(days) > 0 AND days <@ '{0,1,2,3,4,5,6}'),
    follows text[] NOT NULL,
    zone text NOT NULL,
    opens time NOT NULL,
    closes time NOT NULL,
    eve boolean NOT NULL,
    cut_off time,
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (book, name),
    CHECK (NOT eve OR closes <= opens)
);

-- A day on which a calendar is closed, or with `closes_at` closes early.
CREATE TABLE calendar_day (
    book int NOT NULL,
    calendar text COLLATE "C" NOT NULL,
    day date NOT NULL,
    closes_at time,
    PRIMARY KEY (book, calendar, day),
    FOREIGN KEY (book, calendar) REFERENCES calendar
);

GRANT SELECT ON calendar, calendar_day TO clearhouse_writer, clearhouse_reader;
GRANT INSERT ON calendar, calendar_day TO clearhouse_writer;
GRANT UPDATE (title, days, follows, zone, opens, closes, eve, cut_off) ON calendar TO clearhouse_writer;
GRANT UPDATE (closes_at), DELETE ON calendar_day TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['calendar', 'calendar_day'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

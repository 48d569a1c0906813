-- People and services, what they may do in which book, and the keys that they show.

-- `book` is where a principal is at home: its administrators issue its keys. Grants may be in any book.
CREATE TABLE principal (
    book int NOT NULL REFERENCES book,
    id uuid NOT NULL UNIQUE,
    name text NOT NULL,
    organisation text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('person', 'service')),
    added_at timestamptz NOT NULL,
    disabled_at timestamptz,
    PRIMARY KEY (book, id),
    UNIQUE (book, name)
);

CREATE TABLE access_grant (
    book int NOT NULL REFERENCES book,
    principal uuid NOT NULL REFERENCES principal (id),
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'auditor', 'admin')),
    granted_at timestamptz NOT NULL,
    granted_by text NOT NULL,
    PRIMARY KEY (book, principal, role)
);
CREATE INDEX access_grant_principal ON access_grant (principal);

CREATE TABLE access_key (
    book int NOT NULL,
    id uuid NOT NULL UNIQUE,
    principal uuid NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    label text NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, principal) REFERENCES principal
);
CREATE INDEX access_key_principal ON access_key (book, principal);

GRANT SELECT ON principal, access_grant TO clearhouse_writer, clearhouse_reader;
GRANT SELECT ON access_key TO clearhouse_writer;
GRANT SELECT (book, id, principal, label, issued_at, expires_at, revoked_at) ON access_key TO clearhouse_reader;
GRANT INSERT ON principal, access_grant, access_key TO clearhouse_writer;
GRANT UPDATE (disabled_at) ON principal TO clearhouse_writer;
GRANT UPDATE (revoked_at) ON access_key TO clearhouse_writer;
GRANT DELETE ON access_grant TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['principal', 'access_grant', 'access_key'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;
CREATE POLICY own_books ON access_grant FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY own_books ON access_key FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY own_books ON principal FOR SELECT TO clearhouse_reader
    USING (
        book = ANY(current_setting('clearhouse.books')::int[])
        OR id IN (SELECT g.principal FROM access_grant AS g WHERE g.book = ANY(current_setting('clearhouse.books')::int[]))
    );

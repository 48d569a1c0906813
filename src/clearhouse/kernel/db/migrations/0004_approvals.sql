-- Approvals: the rules of who releases what, the requests for it, and every step that was taken on each.

-- The rules of a kind of subject. A new version leaves the others as they were: a request keeps the one it was made under.
CREATE TABLE approval_policy (
    book int NOT NULL REFERENCES book,
    kind text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_]*([.][a-z0-9_]+)*$' AND length(kind) <= 63),
    version int NOT NULL CHECK (version > 0),
    hours int NOT NULL CHECK (hours BETWEEN 1 AND 8784),
    set_at timestamptz NOT NULL,
    set_by uuid NOT NULL REFERENCES principal (id),
    PRIMARY KEY (book, kind, version)
);

CREATE TABLE approval_level (
    book int NOT NULL,
    kind text NOT NULL,
    version int NOT NULL,
    level int NOT NULL CHECK (level BETWEEN 1 AND 10),
    role text CHECK (role IN ('viewer', 'operator', 'approver', 'auditor', 'admin')),
    people uuid[] NOT NULL,
    count int NOT NULL CHECK (count BETWEEN 1 AND 10),
    PRIMARY KEY (book, kind, version, level),
    FOREIGN KEY (book, kind, version) REFERENCES approval_policy,
    CHECK ((role IS NULL) = (cardinality(people) > 0))
);

-- The smallest amount of an asset that a level is asked about; a level without any is always asked.
CREATE TABLE approval_threshold (
    book int NOT NULL,
    kind text NOT NULL,
    version int NOT NULL,
    level int NOT NULL,
    asset text NOT NULL,
    exponent int NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    PRIMARY KEY (book, kind, version, level, asset),
    FOREIGN KEY (book, kind, version, level) REFERENCES approval_level
);

-- Who had a hand in a subject, whatever its content was at the time: none of them ever approves it.
CREATE TABLE approval_maker (
    book int NOT NULL REFERENCES book,
    kind text NOT NULL,
    subject text NOT NULL,
    principal uuid NOT NULL REFERENCES principal (id),
    part text NOT NULL CHECK (part IN ('creator', 'editor', 'submitter')),
    PRIMARY KEY (book, kind, subject, principal, part)
);

CREATE TABLE approval_request (
    book int NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    version int NOT NULL,
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    content bytea NOT NULL CHECK (length(content) = 32),
    title text NOT NULL,
    amounts text NOT NULL,
    levels int[] NOT NULL CHECK (cardinality(levels) > 0),
    requested_at timestamptz NOT NULL,
    requested_by uuid NOT NULL,
    replaces uuid,
    state text NOT NULL CHECK (state IN ('pending', 'approved', 'rejected', 'withdrawn', 'voided', 'expired')),
    level int NOT NULL CHECK (level = ANY(levels)),
    given int NOT NULL CHECK (given >= 0),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (book, id),
    FOREIGN KEY (book, kind, version) REFERENCES approval_policy,
    FOREIGN KEY (book, replaces) REFERENCES approval_request,
    CHECK ((state = 'pending') = (ended_at IS NULL))
);
-- Of one subject, one content at a time can be approved: two requests at once meet here.
CREATE UNIQUE INDEX approval_live ON approval_request (book, kind, subject) WHERE state IN ('pending', 'approved');
CREATE INDEX approval_listed ON approval_request (book, requested_at, id);
CREATE INDEX approval_of_subject ON approval_request (book, kind, subject, requested_at, id);
CREATE INDEX approval_waiting ON approval_request (book, requested_at, id) WHERE state = 'pending';
CREATE INDEX approval_due ON approval_request (book, expires_at) WHERE state = 'pending';

CREATE FUNCTION refuse_approval_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.state = 'pending' OR (old.state = 'approved' AND new.state = 'voided') THEN
        RETURN new;
    END IF;
    RAISE EXCEPTION 'an approval that is % never becomes %', old.state, new.state;
END $$;
CREATE TRIGGER legal BEFORE UPDATE ON approval_request FOR EACH ROW EXECUTE FUNCTION refuse_approval_change();

CREATE TABLE approval_step (
    book int NOT NULL,
    request uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    act text NOT NULL CHECK (act IN ('approved', 'rejected', 'withdrawn', 'voided', 'expired')),
    level int NOT NULL,
    principal uuid REFERENCES principal (id),
    remark text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (book, request, id),
    FOREIGN KEY (book, request) REFERENCES approval_request,
    CHECK (principal IS NOT NULL OR act IN ('voided', 'expired'))
);
-- Each approval of a request is another person's.
CREATE UNIQUE INDEX approval_person ON approval_step (book, request, principal) WHERE act = 'approved';
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON approval_step
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON approval_policy, approval_level, approval_threshold, approval_maker, approval_request, approval_step
    TO clearhouse_writer;
GRANT SELECT ON approval_policy, approval_level, approval_threshold, approval_maker, approval_request, approval_step
    TO clearhouse_reader;
GRANT UPDATE (state, level, given, expires_at, ended_at) ON approval_request TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['approval_policy', 'approval_level', 'approval_threshold', 'approval_maker',
        'approval_request', 'approval_step'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

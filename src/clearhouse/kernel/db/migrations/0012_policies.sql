-- Approvals, grown up: rules that end, changes of rules that wait for a word, whom each request asks, and how much it moves.

-- The last version of rules that were taken back has no levels; `approval` is the request by which others agreed to a version.
ALTER TABLE approval_policy ADD COLUMN retired boolean NOT NULL DEFAULT false;
ALTER TABLE approval_policy ADD COLUMN approval uuid;
ALTER TABLE approval_policy ADD FOREIGN KEY (book, approval) REFERENCES approval_request;

-- What is done once a request of the kind `approvals.policy` is approved, as it was written.
CREATE TABLE approval_change (
    book int NOT NULL,
    request uuid NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (book, request),
    FOREIGN KEY (book, request) REFERENCES approval_request
);

-- How much of each asset a request moves, in whole assets: lists are filtered by it.
CREATE TABLE approval_amount (
    book int NOT NULL,
    request uuid NOT NULL,
    asset text NOT NULL,
    amount numeric NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (book, request, asset),
    FOREIGN KEY (book, request) REFERENCES approval_request
);

-- Whom a pending request asks now: a role, or the id of a person. What waits for somebody is found here, not by looking
-- through everything that waits for anybody.
CREATE TABLE approval_asked (
    book int NOT NULL,
    who text NOT NULL,
    requested_at timestamptz NOT NULL,
    request uuid NOT NULL,
    PRIMARY KEY (book, who, requested_at, request),
    FOREIGN KEY (book, request) REFERENCES approval_request
);
CREATE INDEX approval_asked_request ON approval_asked (book, request);

-- The id of the command that a step came with: the same word again is the same step.
ALTER TABLE approval_step ADD COLUMN word uuid;
CREATE UNIQUE INDEX approval_word ON approval_step (book, word) WHERE word IS NOT NULL;

-- A list in one state looks at what is in that state.
DROP INDEX approval_waiting;
CREATE INDEX approval_in_state ON approval_request (book, state, requested_at, id);
CREATE INDEX approval_of_kind ON approval_request (book, kind, state, requested_at, id);

INSERT INTO approval_amount (book, request, asset, amount)
SELECT r.book, r.id, s.sum ->> 'currency', sum(abs((s.sum ->> 'amount')::numeric))
FROM approval_request AS r CROSS JOIN LATERAL jsonb_array_elements(r.amounts::jsonb) AS s (sum)
GROUP BY r.book, r.id, s.sum ->> 'currency';

INSERT INTO approval_asked (book, who, requested_at, request)
SELECT r.book, w.who, r.requested_at, r.id
FROM approval_request AS r
JOIN approval_level AS l ON l.book = r.book AND l.kind = r.kind AND l.version = r.version AND l.level = r.level
CROSS JOIN LATERAL unnest(array_remove(l.role || l.people::text[], NULL)) AS w (who)
WHERE r.state = 'pending';

GRANT SELECT, INSERT ON approval_change, approval_amount, approval_asked TO clearhouse_writer;
GRANT SELECT ON approval_change, approval_amount, approval_asked TO clearhouse_reader;
GRANT DELETE ON approval_asked TO clearhouse_writer;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['approval_change', 'approval_amount', 'approval_asked'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;

-- Items of one side that came together are a load: what is delivered in this house is events, to webhooks.

ALTER TABLE reconciliation_delivery RENAME TO reconciliation_load;
ALTER TABLE reconciliation_item RENAME COLUMN delivery TO load;
ALTER INDEX reconciliation_delivery_pkey RENAME TO reconciliation_load_pkey;
ALTER INDEX reconciliation_delivery_waiting RENAME TO reconciliation_load_waiting;
ALTER INDEX reconciliation_delivery_run RENAME TO reconciliation_load_run;
ALTER INDEX reconciliation_item_delivery RENAME TO reconciliation_item_load;

-- What somebody proposed to do with a match and who is asked for it; the account where its money waits, and who claimed that.
ALTER TABLE reconciliation_match
    ADD proposal text,
    ADD approval uuid,
    ADD suspense text,
    ADD claimed_at timestamptz,
    ADD claimed_to text,
    ADD CHECK ((proposal IS NULL) = (approval IS NULL)),
    ADD CHECK ((claimed_at IS NULL) = (claimed_to IS NULL)),
    ADD CHECK (claimed_at IS NULL OR (undone_at IS NULL AND kind = 'suspend'));
CREATE INDEX reconciliation_match_unclaimed ON reconciliation_match (book, at, batch, number)
    WHERE kind = 'suspend' AND undone_at IS NULL AND claimed_at IS NULL;
GRANT UPDATE (proposal, approval, claimed_at, claimed_to) ON reconciliation_match TO clearhouse_writer;

-- How far the entries of an account have been loaded: up to this one, and everything before it since the first load.
CREATE TABLE reconciliation_account (
    book int NOT NULL,
    name text COLLATE "C" NOT NULL,
    account uuid NOT NULL,
    booked timestamptz NOT NULL,
    sequence int NOT NULL,
    PRIMARY KEY (book, name, account),
    FOREIGN KEY (book, name) REFERENCES reconciliation,
    FOREIGN KEY (book, account) REFERENCES ledger_account
);
GRANT SELECT, INSERT ON reconciliation_account TO clearhouse_writer;
GRANT SELECT ON reconciliation_account TO clearhouse_reader;
GRANT UPDATE (booked, sequence) ON reconciliation_account TO clearhouse_writer;
ALTER TABLE reconciliation_account ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON reconciliation_account FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON reconciliation_account TO clearhouse_writer USING (true);

-- Items and their matches by number, for what has to go through many: from `dense` on they are read one after another, since
-- most of those are wanted, and before it each is looked up. Planned as part of the statement that asks, like a view.
CREATE FUNCTION reconciliation_items(a_book int, numbers bigint[], dense bigint) RETURNS SETOF reconciliation_item
LANGUAGE sql STABLE AS $$
    SELECT i.*
    FROM unnest(numbers) AS u (number)
    JOIN reconciliation_item AS i ON i.number = u.number
    WHERE u.number >= dense AND i.book = a_book AND i.number >= dense
    UNION ALL
    SELECT f.*
    FROM unnest(numbers) AS u (number)
    CROSS JOIN LATERAL (SELECT i.* FROM reconciliation_item AS i WHERE i.book = a_book AND i.number = u.number OFFSET 0) AS f
    WHERE u.number < dense
$$;
CREATE FUNCTION reconciliation_parts(a_book int, numbers bigint[], dense bigint) RETURNS SETOF reconciliation_part
LANGUAGE sql STABLE AS $$
    SELECT p.*
    FROM unnest(numbers) AS u (number)
    JOIN reconciliation_part AS p ON p.item = u.number
    WHERE u.number >= dense AND p.book = a_book AND p.item >= dense
    UNION ALL
    SELECT f.*
    FROM unnest(numbers) AS u (number)
    CROSS JOIN LATERAL (SELECT p.* FROM reconciliation_part AS p WHERE p.book = a_book AND p.item = u.number OFFSET 0) AS f
    WHERE u.number < dense
$$;

-- Items of a match that was undone: no rule matches its two sides with each other again. `undone` counts the undone matches of a
-- rule set, and a run keeps how many there were, so that it can be made again.
CREATE TABLE reconciliation_apart (
    book int NOT NULL,
    item bigint NOT NULL,
    undone int NOT NULL CHECK (undone > 0),
    side text NOT NULL CHECK (side IN ('ours', 'theirs')),
    PRIMARY KEY (book, item, undone)
);
ALTER TABLE reconciliation ADD undone int NOT NULL DEFAULT 0 CHECK (undone >= 0);
ALTER TABLE reconciliation_run ADD undone int NOT NULL DEFAULT 0 CHECK (undone >= 0);
GRANT SELECT, INSERT ON reconciliation_apart TO clearhouse_writer;
GRANT SELECT ON reconciliation_apart TO clearhouse_reader;
GRANT UPDATE (undone) ON reconciliation TO clearhouse_writer;
ALTER TABLE reconciliation_apart ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON reconciliation_apart FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON reconciliation_apart TO clearhouse_writer USING (true);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation_apart
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

WITH earlier AS (
    SELECT book, name, ours, theirs, row_number() OVER (PARTITION BY book, name ORDER BY undone_at, batch, number)::int AS undone
    FROM reconciliation_match WHERE undone_at IS NOT NULL AND ours <> '{}' AND theirs <> '{}'
),
counted AS (
    UPDATE reconciliation AS n SET undone = e.undone
    FROM (SELECT book, name, max(undone) AS undone FROM earlier GROUP BY book, name) AS e
    WHERE n.book = e.book AND n.name = e.name
)
INSERT INTO reconciliation_apart (book, item, undone, side)
SELECT e.book, u.item, e.undone, 'ours' FROM earlier AS e CROSS JOIN LATERAL unnest(e.ours) AS u (item)
UNION ALL
SELECT e.book, u.item, e.undone, 'theirs' FROM earlier AS e CROSS JOIN LATERAL unnest(e.theirs) AS u (item);

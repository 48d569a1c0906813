-- Large uploads are counted whole without holding anybody up; records that brought an id are told from others under it.

-- What an upload with many keys adds stays here, as what its change added: its sums are merged into those of its round later.
ALTER TABLE records_staged ADD COLUMN organisation text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE records_aggregate ADD COLUMN latest_change bigint NOT NULL DEFAULT 0;  -- merged late, a latest value may be an old one
ALTER TABLE records_upload ADD COLUMN robbed boolean NOT NULL DEFAULT false;  -- another upload has taken records that it had brought

-- Uploads that are counted, and whose sums are merged up to a key.
CREATE TABLE records_pending (
    book int NOT NULL,
    structure int NOT NULL,
    round bigint NOT NULL,
    change bigint NOT NULL,
    upload uuid NOT NULL,
    at timestamptz NOT NULL,
    merged text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (book, structure, round, change),
    FOREIGN KEY (book, upload) REFERENCES records_upload
);

-- A state in the middle of a long round, so that others are found from it. It comes of the changes, and may be made again.
CREATE TABLE records_snapshot (
    book int NOT NULL,
    structure int NOT NULL,
    change bigint NOT NULL,
    round bigint NOT NULL,
    PRIMARY KEY (book, structure, change),
    FOREIGN KEY (book, structure, change) REFERENCES records_change
);
CREATE TABLE records_snapshot_cell (
    book int NOT NULL,
    structure int NOT NULL,
    change bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    organisation text COLLATE "C" NOT NULL,
    metric int NOT NULL,
    count bigint NOT NULL,
    total numeric,
    least numeric,
    most numeric,
    latest text,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (book, structure, change, key, organisation, metric),
    FOREIGN KEY (book, structure, change) REFERENCES records_snapshot
);

-- An id belongs to whoever may use it again: where organisations are kept apart, each has its own. Of a record that was there before
-- this migration nobody knows what it was: its digest is empty, and equal to any.
ALTER TABLE records_known ADD COLUMN organisation text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE records_known ADD COLUMN digest bytea NOT NULL DEFAULT '';
ALTER TABLE records_known DROP CONSTRAINT records_known_pkey;
ALTER TABLE records_known ADD PRIMARY KEY (book, structure, organisation, id);
CREATE INDEX records_known_upload ON records_known (book, upload);

-- What changes after one and up to another added, whether it was counted at once or as a whole.
CREATE FUNCTION records_added(its_book int, its_structure int, after bigint, until bigint) RETURNS TABLE (
    change bigint, key text, metric int, organisation text, count bigint, total numeric, "least" numeric, most numeric,
    latest text
) LANGUAGE sql STABLE AS $$
    SELECT d.change, d.key, d.metric, d.organisation, d.count, d.total, d.least, d.most, d.latest
    FROM clearhouse.records_delta AS d
    WHERE d.book = its_book AND d.structure = its_structure AND d.change > after AND d.change <= until
    UNION ALL
    SELECT c.change, s.key, s.metric, s.organisation, s.count, s.total, s.least, s.most, s.latest
    FROM clearhouse.records_change AS c JOIN clearhouse.records_staged AS s ON s.book = c.book AND s.upload = c.upload
    WHERE c.book = its_book AND c.structure = its_structure AND c.change > after AND c.change <= until
$$;

-- The sums of a round after a change: those of its base, and what was added since. The base is a snapshot, or where the round began.
CREATE FUNCTION records_then(its_book int, its_structure int, base bigint, until bigint) RETURNS TABLE (
    key text, metric int, organisation text, count bigint, total numeric, "least" numeric, most numeric, latest text,
    first_at timestamptz, last_at timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT t.key, t.metric, t.organisation, sum(t.count)::bigint, sum(t.total), min(t.least), max(t.most),
        (array_agg(t.latest ORDER BY t.change DESC) FILTER (WHERE t.latest IS NOT NULL))[1],
        least(min(t.first_at), (
            SELECT c.at FROM clearhouse.records_change AS c
            WHERE c.book = its_book AND c.structure = its_structure
                AND c.change = min(t.change) FILTER (WHERE t.first_at IS NULL)
        )),
        greatest(max(t.last_at), (
            SELECT c.at FROM clearhouse.records_change AS c
            WHERE c.book = its_book AND c.structure = its_structure
                AND c.change = max(t.change) FILTER (WHERE t.first_at IS NULL)
        ))
    FROM (
        SELECT n.key, n.metric, n.organisation, n.change, n.count, n.total, n.least, n.most, n.latest, n.first_at, n.last_at
        FROM clearhouse.records_snapshot_cell AS n
        WHERE n.book = its_book AND n.structure = its_structure AND n.change = base
        UNION ALL
        SELECT d.key, d.metric, d.organisation, d.change, d.count, d.total, d.least, d.most, d.latest, NULL, NULL
        FROM clearhouse.records_added(its_book, its_structure, base, until) AS d
    ) AS t
    GROUP BY t.key, t.organisation, t.metric
$$;

CREATE OR REPLACE FUNCTION refuse_forgetting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT o.book, o.upload FROM gone AS o) AS g
        JOIN clearhouse.records_upload AS u ON u.book = g.book AND u.id = g.upload WHERE u.state = 'counted'
    ) THEN
        RAISE EXCEPTION 'records that were counted are never removed, nor what they added changed';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER kept AFTER DELETE ON records_staged
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION refuse_forgetting();
CREATE TRIGGER same AFTER UPDATE ON records_staged
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION refuse_forgetting();
CREATE TRIGGER kept AFTER DELETE ON records_known
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION refuse_forgetting();
CREATE TRIGGER same AFTER UPDATE ON records_known
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION refuse_forgetting();

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['records_pending', 'records_snapshot', 'records_snapshot_cell'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO clearhouse_writer, clearhouse_reader', name);
        EXECUTE format('GRANT INSERT ON %I TO clearhouse_writer', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY own_books ON %I FOR SELECT TO clearhouse_reader'
            ' USING (book = ANY (current_setting(''clearhouse.books'')::int[]))', name);
        EXECUTE format('CREATE POLICY every_book ON %I TO clearhouse_writer USING (true)', name);
    END LOOP;
END $$;
GRANT UPDATE (latest_change) ON records_aggregate TO clearhouse_writer;
GRANT UPDATE (robbed) ON records_upload TO clearhouse_writer;
GRANT UPDATE (merged), DELETE ON records_pending TO clearhouse_writer;
GRANT UPDATE (upload, digest), DELETE ON records_known TO clearhouse_writer;

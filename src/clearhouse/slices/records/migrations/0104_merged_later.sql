-- Whatever an upload adds is set aside before its round is entered, and merged behind everybody's back: who counts holds no sum.
-- A record is found by its key, and how much was added is known, so that snapshots are taken where much was.

ALTER TABLE records_structure ADD COLUMN added bigint NOT NULL DEFAULT 0;  -- how many sums all of its changes added to
ALTER TABLE records_change ADD COLUMN added bigint NOT NULL DEFAULT 0;  -- the same up to this change, at most
ALTER TABLE records_upload ADD COLUMN sums bigint NOT NULL DEFAULT 0;  -- how many sums it adds to, at most: parts may repeat keys
ALTER TABLE records_pending ADD COLUMN sums bigint NOT NULL DEFAULT 9223372036854775807;  -- what waits now is merged in parts
ALTER TABLE records_pending ALTER COLUMN sums DROP DEFAULT;
ALTER TABLE records_snapshot ADD COLUMN cells bigint NOT NULL DEFAULT 0;
UPDATE records_snapshot AS n SET cells = (
    SELECT count(*) FROM records_snapshot_cell AS c
    WHERE c.book = n.book AND c.structure = n.structure AND c.change = n.change
);

-- The records of a key lie together in each upload; a place has one record, since its upload is written by one at a time.
ALTER TABLE records_record DROP CONSTRAINT records_record_pkey;
ALTER TABLE records_record ADD PRIMARY KEY (book, upload, key, place);

-- No foreign keys where there are rows without number: what they speak of was written in the same transaction or before.
ALTER TABLE records_staged DROP CONSTRAINT records_staged_book_upload_fkey;
ALTER TABLE records_snapshot_cell DROP CONSTRAINT records_snapshot_cell_book_structure_change_fkey;

GRANT UPDATE (added) ON records_structure TO clearhouse_writer;
GRANT UPDATE (sums) ON records_upload TO clearhouse_writer;
GRANT UPDATE (cells) ON records_snapshot TO clearhouse_writer;

-- As before, but for the fence: without one, and without statistics, each change would be looked for in what all of them added.
CREATE OR REPLACE FUNCTION records_added(its_book int, its_structure int, after bigint, until bigint) RETURNS TABLE (
    change bigint, key text, metric int, organisation text, count bigint, total numeric, "least" numeric, most numeric,
    latest text
) LANGUAGE sql STABLE AS $$
    SELECT d.change, d.key, d.metric, d.organisation, d.count, d.total, d.least, d.most, d.latest
    FROM clearhouse.records_delta AS d
    WHERE d.book = its_book AND d.structure = its_structure AND d.change > after AND d.change <= until
    UNION ALL
    SELECT c.change, s.key, s.metric, s.organisation, s.count, s.total, s.least, s.most, s.latest
    FROM clearhouse.records_change AS c
    CROSS JOIN LATERAL (
        SELECT w.key, w.metric, w.organisation, w.count, w.total, w.least, w.most, w.latest FROM clearhouse.records_staged AS w
        WHERE w.book = c.book AND w.upload = c.upload OFFSET 0
    ) AS s
    WHERE c.book = its_book AND c.structure = its_structure AND c.change > after AND c.change <= until
$$;

-- Cuts: where a stream of writes is split in two. Advisory locks with two keys are theirs alone: (book, number of the cut),
-- and number 0 is the ledger's day of that book, which stands in ledger_day.
CREATE TABLE cut (
    book int NOT NULL REFERENCES book,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    number int NOT NULL GENERATED ALWAYS AS IDENTITY CHECK (number > 0),
    position bigint NOT NULL DEFAULT 1 CHECK (position > 0),
    moved_at timestamptz NOT NULL,
    PRIMARY KEY (book, name),
    UNIQUE (book, number)
);

-- A position is never taken back: what was counted behind it was read already.
CREATE FUNCTION refuse_cut_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.position = old.position + 1 THEN
        RETURN new;
    END IF;
    RAISE EXCEPTION 'a cut moves on by one, not from % to %', old.position, new.position;
END $$;
CREATE TRIGGER onward BEFORE UPDATE ON cut FOR EACH ROW EXECUTE FUNCTION refuse_cut_change();

-- What a writer does: keep everybody from moving these cuts until the transaction ends, then read where they stand. The
-- locks are taken in the order of the numbers, so writers and closers never wait in a circle. Each statement of this
-- function has a snapshot of its own, so the second one sees whatever the first one waited for.
CREATE FUNCTION enter_cuts(a_book int, names text[]) RETURNS TABLE (name text, "position" bigint) LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(a_book, entered.number)
    FROM (
        SELECT c.number FROM clearhouse.cut AS c WHERE c.book = a_book AND c.name = ANY (names) ORDER BY c.number OFFSET 0
    ) AS entered;
    RETURN QUERY SELECT c.name, c.position FROM clearhouse.cut AS c WHERE c.book = a_book AND c.name = ANY (names);
END $$;

-- What a closer does: wait until nobody writes, and move on by one. The locks go with the commit, which is to come at once.
CREATE FUNCTION move_cuts(a_book int, names text[], at timestamptz) RETURNS TABLE (name text, "position" bigint)
LANGUAGE plpgsql SET enable_seqscan = off
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(a_book, entered.number)
    FROM (
        SELECT c.number FROM clearhouse.cut AS c WHERE c.book = a_book AND c.name = ANY (names) ORDER BY c.number OFFSET 0
    ) AS entered;
    RETURN QUERY UPDATE clearhouse.cut AS c SET position = c.position + 1, moved_at = at
    WHERE c.book = a_book AND c.name = ANY (names) RETURNING c.name, c.position;
END $$;

-- The ledger's day is the cut number 0 of its book. As in the ground floor but for the key of that lock.
CREATE OR REPLACE FUNCTION post_transfers(
    a_book int, a_sealed date, ids uuid[], versions bigint[], a_debits numeric[], a_credits numeric[],
    a_held_debits numeric[], a_held_credits numeric[], last_booked timestamptz, moves ledger_transfer[], lane bigint,
    OUT booked_at timestamptz, OUT day date
) LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_material = off SET enable_memoize = off
AS $$
DECLARE touched bigint;
BEGIN
    IF lane <> 0 THEN
        PERFORM pg_advisory_xact_lock(lane);
    END IF;
    PERFORM pg_advisory_xact_lock_shared(a_book, 0);
    IF a_sealed IS DISTINCT FROM (SELECT d.sealed_to FROM clearhouse.ledger_day AS d WHERE d.book = a_book) THEN
        RAISE EXCEPTION 'a day was closed since it was read' USING ERRCODE = 'CH001';
    END IF;
    booked_at := greatest(clock_timestamp(), last_booked + interval '1 microsecond');
    day := greatest((booked_at AT TIME ZONE 'UTC')::date, a_sealed + 1);
    UPDATE clearhouse.ledger_account AS a
    SET version = n.version + 1, debits_posted = n.debits, credits_posted = n.credits,
        debits_pending = coalesce(n.held_debits, 0), credits_pending = coalesce(n.held_credits, 0), booked = booked_at
    FROM (
        SELECT a_book AS book, u.*
        FROM unnest(ids, versions, a_debits, a_credits, a_held_debits, a_held_credits)
            AS u (id, version, debits, credits, held_debits, held_credits) OFFSET 0
    ) AS n
    WHERE a.book = n.book AND a.id = n.id AND a.version = n.version AND a.booked < booked_at;
    GET DIAGNOSTICS touched = ROW_COUNT;
    IF touched <> cardinality(ids) THEN
        RAISE EXCEPTION 'accounts changed since they were read' USING ERRCODE = 'CH001';
    END IF;
    INSERT INTO clearhouse.ledger_transfer (
        book, id, sequence, booked, transaction, debit, credit, effective, position, kind, amount,
        debit_debits_posted, debit_credits_posted, debit_debits_pending, debit_credits_pending,
        credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending,
        target, released, expires_at, reference, external_reference, metadata
    )
    SELECT a_book, m.id, m.sequence, booked_at, m.transaction, m.debit, m.credit, coalesce(m.effective, day),
        m.position, m.kind, m.amount,
        m.debit_debits_posted, m.debit_credits_posted, m.debit_debits_pending, m.debit_credits_pending,
        m.credit_debits_posted, m.credit_credits_posted, m.credit_debits_pending, m.credit_credits_pending,
        m.target, m.released, m.expires_at, m.reference, m.external_reference, m.metadata
    FROM unnest(moves) AS m;
END $$;

REVOKE EXECUTE ON FUNCTION enter_cuts, move_cuts FROM public;
GRANT EXECUTE ON FUNCTION enter_cuts, move_cuts TO clearhouse_writer;
GRANT SELECT ON cut TO clearhouse_writer, clearhouse_reader;
GRANT INSERT ON cut TO clearhouse_writer;
GRANT UPDATE (position, moved_at) ON cut TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;
ALTER TABLE cut ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_books ON cut FOR SELECT TO clearhouse_reader
    USING (book = ANY(current_setting('clearhouse.books')::int[]));
CREATE POLICY every_book ON cut TO clearhouse_writer USING (true);

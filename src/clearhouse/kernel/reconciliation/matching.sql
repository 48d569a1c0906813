-- name: plan
-- Everything given is read once a rule, with room to sort. No merging: it would compare all equal items with each other. And
-- no loops, whatever the statistics say, which know nothing of a book that is new: what is looked up one by one is written so that
-- there is no other way, and all else would be compared each with each. No table is read whole: a run costs what it is given,
-- and not what was matched before.
SELECT set_config(name, setting, true)
FROM (
    VALUES ('enable_nestloop', 'off'), ('enable_hashjoin', 'on'), ('enable_mergejoin', 'off'), ('enable_seqscan', 'off'),
        ('enable_bitmapscan', 'on'), ('enable_material', 'on'), ('enable_memoize', 'off'),
        ('random_page_cost', '1.1'), ('work_mem', '64MB'), ('jit', 'off'),
        ('hash_mem_multiplier', '1'), ('plan_cache_mode', 'force_custom_plan'), ('max_parallel_workers_per_gather', '0')
) AS wanted (name, setting)

-- name: plan_as_before
-- Back to how a writer looks things up.
SELECT set_config(name, reset_val, true) FROM pg_settings
WHERE name IN (
    'enable_nestloop', 'enable_hashjoin', 'enable_mergejoin', 'enable_seqscan', 'enable_bitmapscan', 'enable_material',
    'enable_memoize', 'random_page_cost', 'jit', 'hash_mem_multiplier', 'plan_cache_mode', 'max_parallel_workers_per_gather'
)

-- name: left
-- What of some items is in no match, as an array that goes back as it comes, and how many of each side that are.
SELECT coalesce(array_agg(i.number ORDER BY i.number)::text, '{}') AS items,
    count(*) FILTER (WHERE i.side = 'ours') AS ours, count(*) FILTER (WHERE i.side = 'theirs') AS theirs,
    coalesce(max(i.number), 0) AS last
FROM reconciliation_items(%(book)s, %(left)s::bigint[], %(dense)s) AS i
LEFT JOIN reconciliation_parts(%(book)s, %(left)s::bigint[], %(dense)s) AS p ON p.item = i.number
WHERE p.item IS NULL

-- name: exact
-- One of ours with one of theirs that has the same key and amount: the first with the first, by date and id, and so on.
-- By amount, the key is the day, ours moved by so many: distance by distance, so that nearer days come first. Two that meet
-- though they were undone stay apart; in the next turn, everyone of the smaller side is beside another one.
WITH rest AS (
    SELECT i.number, i.side, i.id, i.asset, i.exponent, i.amount, i.day,
        CASE %(by)s::text
            WHEN 'reference' THEN i.reference WHEN 'end_to_end' THEN i.end_to_end
            ELSE (i.day + CASE i.side WHEN 'ours' THEN %(shift)s::int ELSE 0 END)::text
        END AS key
    FROM reconciliation_items(%(book)s, %(left)s::bigint[], %(dense)s) AS i
),
ours AS (
    SELECT r.*, row_number() OVER (PARTITION BY asset, key, amount ORDER BY day, id) AS place,
        CASE WHEN %(turn)s::int > 0 THEN count(*) OVER (PARTITION BY asset, key, amount) END AS size
    FROM rest AS r WHERE side = 'ours' AND key IS NOT NULL
),
theirs AS (
    SELECT r.*, row_number() OVER (PARTITION BY asset, key, amount ORDER BY day, id) AS place,
        CASE WHEN %(turn)s::int > 0 THEN count(*) OVER (PARTITION BY asset, key, amount) END AS size
    FROM rest AS r WHERE side = 'theirs' AND key IS NOT NULL
),
pairs AS MATERIALIZED (
    SELECT o.number AS our, t.number AS their, o.asset, o.exponent, o.id AS our_id, t.id AS their_id, a.our IS NOT NULL AS is_apart,
        %(first)s::bigint + row_number() OVER (PARTITION BY a.our IS NULL ORDER BY o.day, o.id) AS number
    FROM ours AS o
    JOIN theirs AS t
        ON t.asset = o.asset AND t.key = o.key AND t.amount = o.amount AND (%(turn)s::int > 0 OR t.place = o.place)
    LEFT JOIN unnest(%(apart_ours)s::bigint[], %(apart_theirs)s::bigint[]) AS a (our, their)
        ON a.our = o.number AND a.their = t.number
    WHERE %(turn)s::int = 0 OR CASE
            WHEN o.size <= t.size THEN t.place = (o.place - 1 + %(turn)s::int) %% t.size + 1
            ELSE o.place = (t.place - 1 + %(turn)s::int) %% o.size + 1
        END
),
matches AS (
    INSERT INTO reconciliation_match (
        book, batch, number, name, kind, rule, asset, exponent, difference, is_posted, ours, theirs, digest, at, by
    )
    SELECT %(book)s, %(batch)s, p.number, %(name)s, 'rule', %(rule)s, p.asset, p.exponent, 0, false, ARRAY[p.our],
        ARRAY[p.their], sha256(convert_to(concat_ws(E'\x1e', %(rule)s::int, p.asset, 0, p.our_id, p.their_id), 'UTF8')),
        %(at)s, %(who)s
    FROM pairs AS p WHERE NOT p.is_apart
),
parts AS (
    INSERT INTO reconciliation_part (book, item, batch, number)
    SELECT %(book)s, u.item, %(batch)s, p.number FROM pairs AS p CROSS JOIN LATERAL (VALUES (p.our), (p.their)) AS u (item)
    WHERE NOT p.is_apart
    ORDER BY u.item
)
SELECT count(*) FILTER (WHERE NOT p.is_apart) AS found, count(*) FILTER (WHERE p.is_apart) AS apart FROM pairs AS p

-- name: nearest
-- One of ours with one of theirs that has the same key and an amount within the tolerance. Along a line of amounts, those
-- next to each other that are closer than their neighbours on both sides belong together; who is left is looked at again. Two
-- that were undone are not close; who stands behind them is for people.
WITH rest AS (
    SELECT i.number, i.side, i.id, i.asset, i.exponent, i.amount, i.day, w.tolerance,
        i.number = ANY(%(apart_ours)s::bigint[] || %(apart_theirs)s::bigint[]) AS is_apart,
        CASE %(by)s::text
            WHEN 'reference' THEN i.reference WHEN 'end_to_end' THEN i.end_to_end
            ELSE (i.day + CASE i.side WHEN 'ours' THEN %(shift)s::int ELSE 0 END)::text
        END AS key
    FROM reconciliation_items(%(book)s, %(left)s::bigint[], %(dense)s) AS i
    JOIN unnest(%(assets)s::text[], %(tolerances)s::numeric[]) AS w (asset, tolerance) ON w.asset = i.asset
),
neighbours AS (
    SELECT r.*, row_number() OVER w AS place, lead(r.number) OVER w AS next,
        CASE WHEN lead(r.side) OVER w <> r.side AND lead(r.amount) OVER w - r.amount <= r.tolerance
            THEN lead(r.amount) OVER w - r.amount END AS gap
    FROM rest AS r WHERE r.key IS NOT NULL
    WINDOW w AS (PARTITION BY r.asset, r.key ORDER BY r.amount, r.day, r.id, r.side)
),
line AS (
    SELECT number, side, asset, key, place, next, CASE
            WHEN NOT is_apart OR NOT EXISTS (
                SELECT FROM unnest(%(apart_ours)s::bigint[], %(apart_theirs)s::bigint[]) AS a (our, their)
                WHERE (a.our, a.their) IN ((n.number, n.next), (n.next, n.number))
            ) THEN gap END AS gap
    FROM neighbours AS n
),
around AS (
    SELECT l.*, lag(l.gap) OVER w AS gap_before, lead(l.gap) OVER w AS gap_after
    FROM line AS l WINDOW w AS (PARTITION BY l.asset, l.key ORDER BY l.place)
),
close AS (
    SELECT CASE side WHEN 'ours' THEN number ELSE next END AS our, CASE side WHEN 'ours' THEN next ELSE number END AS their
    FROM around
    WHERE gap IS NOT NULL AND (gap_before IS NULL OR gap < gap_before) AND (gap_after IS NULL OR gap <= gap_after)
),
pairs AS MATERIALIZED (
    SELECT c.our, c.their, o.asset, o.exponent, o.id AS our_id, t.id AS their_id, o.amount - t.amount AS difference,
        %(first)s::bigint + row_number() OVER (ORDER BY o.day, o.id) AS number
    FROM close AS c
    JOIN rest AS o ON o.number = c.our
    JOIN rest AS t ON t.number = c.their
),
matches AS (
    INSERT INTO reconciliation_match (
        book, batch, number, name, kind, rule, asset, exponent, difference, is_posted, ours, theirs, digest, at, by
    )
    SELECT %(book)s, %(batch)s, p.number, %(name)s, 'rule', %(rule)s, p.asset, p.exponent, p.difference, p.difference <> 0,
        ARRAY[p.our], ARRAY[p.their],
        sha256(convert_to(concat_ws(E'\x1e', %(rule)s::int, p.asset, p.difference, p.our_id, p.their_id), 'UTF8')),
        %(at)s, %(who)s
    FROM pairs AS p
),
parts AS (
    INSERT INTO reconciliation_part (book, item, batch, number)
    SELECT %(book)s, u.item, %(batch)s, p.number FROM pairs AS p CROSS JOIN LATERAL (VALUES (p.our), (p.their)) AS u (item)
    ORDER BY u.item
)
SELECT count(*) AS found FROM pairs

-- name: several
-- One item of one side with all of the other that have the same key, if their sums are within the tolerance, they are not too
-- many, and none of them was undone with the one.
WITH rest AS (
    SELECT i.number, i.side, i.id, i.asset, i.exponent, i.amount, i.day, coalesce(w.tolerance, 0) AS tolerance,
        i.number = ANY(%(apart_ours)s::bigint[] || %(apart_theirs)s::bigint[]) AS is_apart,
        CASE %(by)s::text WHEN 'reference' THEN i.reference ELSE i.end_to_end END AS key
    FROM reconciliation_items(%(book)s, %(left)s::bigint[], %(dense)s) AS i
    LEFT JOIN unnest(%(assets)s::text[], %(tolerances)s::numeric[]) AS w (asset, tolerance) ON w.asset = i.asset
),
sums AS (
    SELECT asset, key, min(exponent) AS exponent, min(tolerance) AS tolerance, bool_or(is_apart) AS is_apart,
        count(*) FILTER (WHERE side = 'ours') AS our_count, count(*) FILTER (WHERE side = 'theirs') AS their_count,
        sum(CASE side WHEN 'ours' THEN amount ELSE -amount END) AS difference,
        array_agg(number ORDER BY day, id) FILTER (WHERE side = 'ours') AS ours,
        array_agg(number ORDER BY day, id) FILTER (WHERE side = 'theirs') AS theirs,
        string_agg(id, E'\x1f' ORDER BY day, id) FILTER (WHERE side = 'ours') AS our_ids,
        string_agg(id, E'\x1f' ORDER BY day, id) FILTER (WHERE side = 'theirs') AS their_ids
    FROM rest WHERE key IS NOT NULL
    GROUP BY asset, key
    HAVING least(count(*) FILTER (WHERE side = 'ours'), count(*) FILTER (WHERE side = 'theirs')) = 1
        AND count(*) <= %(most)s
),
pairs AS MATERIALIZED (
    SELECT s.*, %(first)s::bigint + row_number() OVER (ORDER BY s.asset, s.key) AS number
    FROM sums AS s
    WHERE abs(s.difference) <= s.tolerance AND CASE
            WHEN s.is_apart THEN NOT EXISTS (
                SELECT FROM unnest(%(apart_ours)s::bigint[], %(apart_theirs)s::bigint[]) AS a (our, their)
                WHERE a.our = ANY(s.ours) AND a.their = ANY(s.theirs)
            ) ELSE true
        END
),
matches AS (
    INSERT INTO reconciliation_match (
        book, batch, number, name, kind, rule, asset, exponent, difference, is_posted, ours, theirs, digest, at, by
    )
    SELECT %(book)s, %(batch)s, p.number, %(name)s, 'rule', %(rule)s, p.asset, p.exponent, p.difference, p.difference <> 0,
        p.ours, p.theirs,
        sha256(convert_to(concat_ws(E'\x1e', %(rule)s::int, p.asset, p.difference, p.our_ids, p.their_ids), 'UTF8')),
        %(at)s, %(who)s
    FROM pairs AS p
),
parts AS (
    INSERT INTO reconciliation_part (book, item, batch, number)
    SELECT %(book)s, u.item, %(batch)s, p.number FROM pairs AS p CROSS JOIN LATERAL unnest(p.ours || p.theirs) AS u (item)
    ORDER BY u.item
)
SELECT count(*) AS found FROM pairs

-- name: digest
-- What a run matched, in a word: the same items and the same rules give the same.
SELECT sha256(coalesce(string_agg(m.digest, ''::bytea ORDER BY m.number), ''::bytea)) AS digest, count(*) AS matches
FROM reconciliation_match AS m
WHERE m.book = %(book)s AND m.batch = %(batch)s

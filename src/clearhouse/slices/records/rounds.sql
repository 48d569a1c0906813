-- name: end
-- Rounds that are over, and the changes that ended them.
WITH ended AS (
    INSERT INTO records_round (book, structure, round, ended, change, at, by_whom, disputable_until)
    SELECT %(book)s, r.structure, r.round, %(ended)s, r.change, r.at, r.by_whom, r.until
    FROM unnest(
        %(structures)s::int[], %(rounds)s::bigint[], %(changes)s::bigint[], %(at)s::timestamptz[], %(by)s::text[],
        %(until)s::timestamptz[]
    ) AS r (structure, round, change, at, by_whom, until)
)

INSERT INTO records_change (book, structure, change, operation, round, at, by_whom, settled_at, added)
SELECT %(book)s, r.structure, r.change, %(operation)s, r.round, r.at, r.by_whom, r.settled, r.added
FROM unnest(
    %(structures)s::int[], %(rounds)s::bigint[], %(changes)s::bigint[], %(at)s::timestamptz[], %(by)s::text[],
    %(settled)s::timestamptz[], %(added)s::bigint[]
) AS r (structure, round, change, at, by_whom, settled, added)

-- name: rounds
-- Settled rounds of a structure, newest first.
SELECT r.round, r.change, r.at, r.by_whom, r.disputable_until FROM records_round AS r
WHERE r.book = %(book)s AND r.structure = %(structure)s AND r.round < %(before)s AND r.ended = 'settled'
ORDER BY r.round DESC LIMIT %(most)s

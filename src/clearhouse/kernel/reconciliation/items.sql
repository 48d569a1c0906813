-- name: add_items
-- Items of a load that are not there yet, in the order of their ids: two loads at once never wait in a circle.
INSERT INTO reconciliation_item (
    book, name, side, id, load, asset, exponent, amount, day, reference, end_to_end, text
)
SELECT %(book)s, %(name)s, %(side)s, u.id, %(load)s, u.asset, u.exponent, u.amount, u.day,
    nullif(u.reference, ''), nullif(u.end_to_end, ''), nullif(u.text, '')
FROM unnest(
    %(ids)s::text[], %(assets)s::text[], %(exponents)s::int[], %(amounts)s::numeric[], %(days)s::date[],
    %(references)s::text[], %(ends)s::text[], %(texts)s::text[]
) AS u (id, asset, exponent, amount, day, reference, end_to_end, text)
ORDER BY u.id COLLATE "C"
ON CONFLICT (book, name, side, id) DO NOTHING

-- name: changed
-- The first item, by its id, that is there with another content, and what of it is another. Each is looked up: if the planner
-- thinks that there are few, it compares every one that is there with all that came; and by the order, in the right index.
SELECT i.id, CASE
        WHEN i.asset <> u.asset THEN 'currency' WHEN i.amount <> u.amount THEN 'amount' WHEN i.day <> u.day THEN 'date'
        WHEN coalesce(i.reference, '') <> u.reference THEN 'reference'
        WHEN coalesce(i.end_to_end, '') <> u.end_to_end THEN 'end-to-end id' ELSE 'text'
    END AS field
FROM unnest(
    %(ids)s::text[], %(assets)s::text[], %(exponents)s::int[], %(amounts)s::numeric[], %(days)s::date[],
    %(references)s::text[], %(ends)s::text[], %(texts)s::text[]
) AS u (id, asset, exponent, amount, day, reference, end_to_end, text)
CROSS JOIN LATERAL (
    SELECT i.* FROM reconciliation_item AS i
    WHERE i.book = %(book)s AND i.name = %(name)s AND i.side = %(side)s AND i.id BETWEEN u.id COLLATE "C" AND u.id COLLATE "C"
    ORDER BY i.id LIMIT 1
) AS i
WHERE (i.asset, i.exponent, i.amount, i.day) <> (u.asset, u.exponent, u.amount, u.day)
    OR (coalesce(i.reference, ''), coalesce(i.end_to_end, ''), coalesce(i.text, '')) <> (u.reference, u.end_to_end, u.text)
ORDER BY i.id
LIMIT 1

-- name: add_load
-- Remembers that items came together.
INSERT INTO reconciliation_load (book, id, name, side, items, at, by)
VALUES (%(book)s, %(id)s, %(name)s, %(side)s, %(items)s, %(at)s, %(by)s)

-- name: items
-- Items by their numbers.
SELECT number, name, side, id, asset, exponent, amount, day, reference, end_to_end, text
FROM reconciliation_item
WHERE book = %(book)s AND number = ANY(%(numbers)s::bigint[])

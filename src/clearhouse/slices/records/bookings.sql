-- name: owe
-- Rounds that are to be posted to the ledger.
INSERT INTO records_booking (book, structure, round, state)
SELECT %(book)s, b.structure, b.round, 'due' FROM unnest(%(structures)s::int[], %(rounds)s::bigint[]) AS b (structure, round)

-- name: due
-- Rounds that are to be posted and are not yet, in whatever book, after one of them.
SELECT b.book, b.structure, s.settleid, b.round FROM records_booking AS b JOIN records_structure AS s
    ON s.book = b.book AND s.number = b.structure
WHERE b.state = 'due' AND (b.book, b.structure, b.round) > (%(book)s, %(structure)s, %(round)s)
ORDER BY b.book, b.structure, b.round LIMIT %(most)s

-- name: claim
-- A round that is to be posted, locked for whoever posts it.
SELECT b.state, b.transactions FROM records_booking AS b
WHERE b.book = %(book)s AND b.structure = %(structure)s AND b.round = %(round)s FOR NO KEY UPDATE

-- name: booked
-- A round that is in the ledger.
UPDATE records_booking SET state = 'booked', transactions = %(transactions)s::text[]
WHERE book = %(book)s AND structure = %(structure)s AND round = %(round)s AND state = 'due'

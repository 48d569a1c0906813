-- name: match
-- A match.
SELECT batch, number, name, kind, rule, asset, exponent, difference, is_posted, ours, theirs, at, by, undone_at, undone_by,
    proposal, approval, suspense, claimed_at, claimed_to
FROM reconciliation_match
WHERE book = %(book)s AND batch = %(batch)s AND number = %(number)s

-- name: matches_page
-- The matches of a batch, in order.
SELECT batch, number, name, kind, rule, asset, exponent, difference, is_posted, ours, theirs, at, by, undone_at, undone_by,
    proposal, approval, suspense, claimed_at, claimed_to
FROM reconciliation_match
WHERE book = %(book)s AND batch = %(batch)s AND number > %(after)s
ORDER BY number
LIMIT %(most)s

-- name: add_match
-- A match that people made.
INSERT INTO reconciliation_match (
    book, batch, number, name, kind, asset, exponent, difference, is_posted, ours, theirs, digest, at, by, suspense
)
VALUES (
    %(book)s, %(batch)s, 1, %(name)s, %(kind)s, %(asset)s, %(exponent)s, %(difference)s, %(is_posted)s, %(ours)s::bigint[],
    %(theirs)s::bigint[], %(digest)s, %(at)s, %(by)s, %(suspense)s
)

-- name: add_parts
-- Makes items part of a match; one that is part of another is refused by the key.
INSERT INTO reconciliation_part (book, item, batch, number)
SELECT %(book)s, u.item, %(batch)s, 1 FROM unnest(%(items)s::bigint[]) AS u (item) ORDER BY u.item

-- name: close
-- Closes breaks that are open.
UPDATE reconciliation_break SET state = 'closed', closed_at = %(at)s
WHERE book = %(book)s AND item = ANY(%(items)s::bigint[]) AND state = 'open'

-- name: unclaimed
-- The matches whose money waits in suspense, those that wait longest first.
SELECT batch, number, name, kind, rule, asset, exponent, difference, is_posted, ours, theirs, at, by, undone_at, undone_by,
    proposal, approval, suspense, claimed_at, claimed_to
FROM reconciliation_match
WHERE book = %(book)s AND kind = 'suspend' AND undone_at IS NULL AND claimed_at IS NULL
    AND (at, batch, number) > (%(at)s::timestamptz, %(batch)s::uuid, %(number)s::int)
ORDER BY at, batch, number
LIMIT %(most)s

-- name: amend
-- Remembers what is to become of a match that stands, once that is approved.
UPDATE reconciliation_match SET proposal = %(proposal)s, approval = %(approval)s
WHERE book = %(book)s AND batch = %(batch)s AND number = %(number)s AND undone_at IS NULL AND claimed_at IS NULL

-- name: undo
-- Undoes a match that stands and whose money nobody claimed.
UPDATE reconciliation_match SET undone_at = %(at)s, undone_by = %(by)s
WHERE book = %(book)s AND batch = %(batch)s AND number = %(number)s AND undone_at IS NULL AND claimed_at IS NULL

-- name: claim
-- Notes where the money of a match went that waited in suspense.
UPDATE reconciliation_match SET claimed_at = %(at)s, claimed_to = %(account)s
WHERE book = %(book)s AND batch = %(batch)s AND number = %(number)s AND undone_at IS NULL AND claimed_at IS NULL
    AND kind = 'suspend'

-- name: free_parts
-- Takes items out of a match.
DELETE FROM reconciliation_part
WHERE book = %(book)s AND item = ANY(%(items)s::bigint[]) AND batch = %(batch)s AND number = %(number)s

-- name: reopen
-- Opens the breaks of items that are in no match any more, as they were; a proposal that has been carried out is over.
INSERT INTO reconciliation_break (book, item, name, day, state, reason, opened_at)
SELECT %(book)s, i.number, i.name, i.day, 'open', 'undone', %(at)s::timestamptz
FROM reconciliation_item AS i
WHERE i.book = %(book)s AND i.number = ANY(%(items)s::bigint[])
ORDER BY i.number
ON CONFLICT (book, item) DO UPDATE SET state = 'open', closed_at = NULL, proposal = NULL, approval = NULL

-- name: keep_apart
-- Remembers that two sides were undone, so that no run matches them with each other again. Their rule set is held.
WITH counted AS (
    UPDATE reconciliation SET undone = undone + 1 WHERE book = %(book)s AND name = %(name)s RETURNING undone
)
INSERT INTO reconciliation_apart (book, item, undone, side)
SELECT %(book)s, u.item, c.undone, u.side
FROM counted AS c
CROSS JOIN (
    SELECT unnest(%(ours)s::bigint[]) AS item, 'ours' AS side UNION ALL SELECT unnest(%(theirs)s::bigint[]), 'theirs'
) AS u

-- name: names_of_matches
-- Which rule sets some matches belong to.
SELECT DISTINCT m.name
FROM unnest(%(batches)s::uuid[], %(numbers)s::int[]) AS u (batch, number)
JOIN reconciliation_match AS m ON m.book = %(book)s AND m.batch = u.batch AND m.number = u.number

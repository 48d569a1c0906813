-- name: breaks
-- Breaks by their items.
SELECT b.item, b.name, b.day, b.state, b.reason, b.owner, b.opened_at, b.closed_at, b.proposal, b.approval, i.side, i.id, i.asset,
    i.exponent, i.amount, i.reference, i.end_to_end, i.text, p.batch, p.number
FROM reconciliation_break AS b
JOIN reconciliation_item AS i ON i.book = b.book AND i.number = b.item
LEFT JOIN reconciliation_part AS p ON p.book = b.book AND p.item = b.item
WHERE b.book = %(book)s AND b.item = ANY(%(items)s::bigint[])

-- name: names
-- Which rule sets some breaks belong to.
SELECT DISTINCT name FROM reconciliation_break WHERE book = %(book)s AND item = ANY(%(items)s::bigint[]) ORDER BY name

-- name: page
-- Breaks, the oldest first.
SELECT b.item, b.name, b.day, b.state, b.reason, b.owner, b.opened_at, b.closed_at, b.proposal, b.approval, i.side, i.id, i.asset,
    i.exponent, i.amount, i.reference, i.end_to_end, i.text, p.batch, p.number
FROM reconciliation_break AS b
JOIN reconciliation_item AS i ON i.book = b.book AND i.number = b.item
LEFT JOIN reconciliation_part AS p ON p.book = b.book AND p.item = b.item
WHERE b.book = %(book)s AND b.state = %(state)s AND (b.day, b.item) > (%(day)s::date, %(item)s::bigint) AND b.day <= %(until)s::date
    AND (%(reason)s::text IS NULL OR b.reason = %(reason)s) AND (%(name)s::text IS NULL OR b.name = %(name)s)
ORDER BY b.day, b.item
LIMIT %(most)s

-- name: page_of_owner
-- One owner's breaks, the oldest first.
SELECT b.item, b.name, b.day, b.state, b.reason, b.owner, b.opened_at, b.closed_at, b.proposal, b.approval, i.side, i.id, i.asset,
    i.exponent, i.amount, i.reference, i.end_to_end, i.text, p.batch, p.number
FROM reconciliation_break AS b
JOIN reconciliation_item AS i ON i.book = b.book AND i.number = b.item
LEFT JOIN reconciliation_part AS p ON p.book = b.book AND p.item = b.item
WHERE b.book = %(book)s AND b.owner = %(owner)s AND b.state = %(state)s AND (b.day, b.item) > (%(day)s::date, %(item)s::bigint)
    AND b.day <= %(until)s::date
    AND (%(reason)s::text IS NULL OR b.reason = %(reason)s) AND (%(name)s::text IS NULL OR b.name = %(name)s)
ORDER BY b.day, b.item
LIMIT %(most)s

-- name: is_of_book
-- Whether somebody has a role in the book and is not shut out.
SELECT p.id FROM principal AS p
WHERE p.id = %(id)s AND p.disabled_at IS NULL
    AND EXISTS (SELECT FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id)

-- name: assign
-- Gives a break that is open to somebody, or to nobody.
UPDATE reconciliation_break SET owner = %(owner)s WHERE book = %(book)s AND item = %(item)s AND state = 'open'

-- name: explain
-- Says why a break that is open is there.
UPDATE reconciliation_break SET reason = %(reason)s WHERE book = %(book)s AND item = %(item)s AND state = 'open'

-- name: add_remark
-- What somebody said about a break.
INSERT INTO reconciliation_remark (book, item, by, text, at) VALUES (%(book)s, %(item)s, %(by)s, %(text)s, %(at)s)

-- name: remarks
-- What was said about breaks, in order.
SELECT item, by, text, at FROM reconciliation_remark
WHERE book = %(book)s AND item = ANY(%(items)s::bigint[])
ORDER BY item, id

-- name: propose
-- Remembers how a break that is open is to be resolved, once that is approved.
UPDATE reconciliation_break SET proposal = %(proposal)s, approval = %(approval)s
WHERE book = %(book)s AND item = %(item)s AND state = 'open'

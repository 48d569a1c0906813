-- name: add_names
-- Gives rule sets their place; what they say follows.
INSERT INTO reconciliation (book, name, version)
SELECT %(book)s, u.name, 1 FROM unnest(%(names)s::text[]) AS u (name) ORDER BY u.name
ON CONFLICT DO NOTHING

-- name: lock_names
-- Holds rule sets, in the order of their names.
SELECT FROM reconciliation WHERE book = %(book)s AND name = ANY(%(names)s::text[]) ORDER BY name FOR NO KEY UPDATE

-- name: add_rules
-- A new version of a rule set that is held.
WITH moved AS (
    UPDATE reconciliation SET version = %(version)s::int WHERE book = %(book)s AND name = %(name)s
)
INSERT INTO reconciliation_rules (book, name, version, rules, set_at, set_by)
VALUES (%(book)s, %(name)s, %(version)s, %(rules)s, %(at)s, %(by)s)

-- name: current
-- Rule sets as they are now.
SELECT r.name, r.version, r.rules, r.set_at, r.set_by
FROM reconciliation AS n
JOIN reconciliation_rules AS r ON r.book = n.book AND r.name = n.name AND r.version = n.version
WHERE n.book = %(book)s AND n.name = ANY(%(names)s::text[])
ORDER BY n.name

-- name: version
-- One version of a rule set, or the one that holds now.
SELECT r.name, r.version, r.rules, r.set_at, r.set_by
FROM reconciliation AS n
JOIN reconciliation_rules AS r ON r.book = n.book AND r.name = n.name AND r.version = coalesce(%(version)s::int, n.version)
WHERE n.book = %(book)s AND n.name = %(name)s

-- name: page
-- Rule sets as they are now, by name.
SELECT r.name, r.version, r.rules, r.set_at, r.set_by
FROM reconciliation AS n
JOIN reconciliation_rules AS r ON r.book = n.book AND r.name = n.name AND r.version = n.version
WHERE n.book = %(book)s AND n.name > %(after)s
ORDER BY n.name
LIMIT %(most)s

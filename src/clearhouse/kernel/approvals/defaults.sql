-- Rules that a product brings, where a book has none.

-- name: adopt
-- The first version of rules, unless the book ever had some of its own.
INSERT INTO approval_policy (book, kind, version, hours, set_at, set_by)
VALUES (%(book)s, %(kind)s, 1, %(hours)s, %(at)s, %(by)s)
ON CONFLICT (book, kind, version) DO NOTHING

-- name: adopt_level
-- The one level that they have.
INSERT INTO approval_level (book, kind, version, level, role, people, count)
VALUES (%(book)s, %(kind)s, 1, 1, %(role)s, '{}', %(count)s)

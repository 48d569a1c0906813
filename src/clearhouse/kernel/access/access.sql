-- name: main_book
-- The book that administrates the others.
SELECT id, name, title, opened_at FROM book WHERE name = 'main'

-- name: all_books
-- Every book.
SELECT id, name, title, opened_at FROM book ORDER BY id

-- name: books
-- The books that the reader may see.
SELECT name, title, opened_at FROM book ORDER BY name

-- name: books_named
-- Books by name.
SELECT name, title, opened_at FROM book WHERE name = ANY(%(names)s::text[]) ORDER BY name

-- name: open_book
-- Opens a book with its calendar of closed days and its first administrator; one that is there stays as it is.
WITH opened AS (
    INSERT INTO book (name, title, opened_at) VALUES (%(name)s, %(title)s, %(at)s)
    ON CONFLICT (name) DO NOTHING RETURNING id
),
days AS (
    INSERT INTO ledger_day (book) SELECT id FROM opened
)
INSERT INTO access_grant (book, principal, role, granted_at, granted_by)
SELECT opened.id, %(principal)s, 'admin', %(at)s, 'opened the book' FROM opened
WHERE EXISTS (SELECT FROM principal WHERE id = %(principal)s)

-- name: add_principal
-- A new principal, unless its name is taken in its book.
INSERT INTO principal (book, id, name, organisation, kind, added_at)
VALUES (%(book)s, %(id)s, %(name)s, %(organisation)s, %(kind)s, %(at)s)
ON CONFLICT DO NOTHING

-- name: principal
-- A principal that is at home in a book or has a role in it, with those roles.
SELECT p.id, p.name, p.organisation, p.kind, p.added_at, p.disabled_at,
    ARRAY(SELECT g.role FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id ORDER BY g.role) AS roles
FROM principal AS p
WHERE p.id = %(id)s
    AND (p.book = %(book)s OR EXISTS (SELECT FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id))

-- name: grantable
-- A principal that this book knows, or that is at home where whoever asks administers.
SELECT p.id FROM principal AS p
WHERE p.id = %(id)s AND p.disabled_at IS NULL AND (
    p.book = %(book)s
    OR EXISTS (SELECT FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id)
    OR EXISTS (SELECT FROM access_grant AS g WHERE g.book = p.book AND g.principal = %(by)s AND g.role = 'admin')
)

-- name: principal_at_home
-- A principal of a book, with its roles there.
SELECT p.id, p.name, p.organisation, p.kind, p.added_at, p.disabled_at,
    ARRAY(SELECT g.role FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id ORDER BY g.role) AS roles
FROM principal AS p
WHERE p.book = %(book)s AND p.id = %(id)s

-- name: principal_with_roles
-- A principal with its roles in this book, wherever it is at home.
SELECT p.id, p.name, p.organisation, p.kind, p.added_at, p.disabled_at,
    ARRAY(SELECT g.role FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id ORDER BY g.role) AS roles
FROM principal AS p
WHERE p.id = %(id)s

-- name: principals
-- Those who are at home in a book or have a role in it, by name.
SELECT p.id, p.name, p.organisation, p.kind, p.added_at, p.disabled_at,
    ARRAY(SELECT g.role FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id ORDER BY g.role) AS roles
FROM principal AS p
WHERE (p.name, p.id) > (%(after)s, %(id)s)
    AND (p.book = %(book)s OR EXISTS (SELECT FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id))
ORDER BY p.name, p.id
LIMIT %(most)s

-- name: revoke_roles
-- Takes away every role in a book but these.
DELETE FROM access_grant WHERE book = %(book)s AND principal = %(principal)s AND role <> ALL(%(roles)s::text[])

-- name: grant_roles
-- Gives roles in a book; those that are there stay as they are.
INSERT INTO access_grant (book, principal, role, granted_at, granted_by)
SELECT %(book)s, %(principal)s, n.role, %(at)s, %(by)s FROM unnest(%(roles)s::text[]) AS n (role)
ON CONFLICT DO NOTHING

-- name: disable_principal
-- Shuts a principal out, once.
UPDATE principal SET disabled_at = %(at)s WHERE book = %(book)s AND id = %(id)s AND disabled_at IS NULL

-- name: add_key
-- A new key of a principal that is at home in the book and not shut out.
INSERT INTO access_key (book, id, principal, digest, label, issued_at, expires_at)
SELECT p.book, %(id)s::uuid AS key, p.id, %(digest)s, %(label)s, %(at)s, %(expires_at)s
FROM principal AS p
WHERE p.book = %(book)s AND p.id = %(principal)s AND p.disabled_at IS NULL
ON CONFLICT DO NOTHING
RETURNING id

-- name: key
-- A key of a book.
SELECT id, principal, label, issued_at, expires_at, revoked_at FROM access_key WHERE book = %(book)s AND id = %(id)s

-- name: keys_of
-- The keys of a principal, newest first.
SELECT id, principal, label, issued_at, expires_at, revoked_at FROM access_key
WHERE book = %(book)s AND principal = %(principal)s ORDER BY id DESC

-- name: revoke_key
-- Makes a key worthless, once.
UPDATE access_key SET revoked_at = %(at)s WHERE book = %(book)s AND id = %(id)s AND revoked_at IS NULL

-- name: revoke_labelled
-- Revokes the keys with a label, whosever they are, but one.
UPDATE access_key SET revoked_at = %(at)s
WHERE book = %(book)s AND label = %(label)s AND id <> %(id)s AND revoked_at IS NULL

-- name: replaced_key
-- A key that was revoked, if another with its label is good.
SELECT k.id FROM access_key AS k
WHERE k.book = %(book)s AND k.id = %(id)s AND k.revoked_at IS NOT NULL
    AND EXISTS (SELECT FROM access_key AS o WHERE o.book = k.book AND o.label = k.label AND o.revoked_at IS NULL)

-- name: credential
-- A key that is still good, and whose it is.
SELECT k.principal, k.digest FROM access_key AS k
WHERE k.id = %(id)s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())

-- name: caller
-- A principal that is not shut out, with one row for each role it has anywhere, or one without.
SELECT p.id, p.name, p.organisation, p.kind, b.id AS book, b.name AS book_name, g.role
FROM principal AS p
LEFT JOIN access_grant AS g ON g.principal = p.id
LEFT JOIN book AS b ON b.id = g.book
WHERE p.id = %(id)s AND p.disabled_at IS NULL

-- name: administrators
-- Who administrates a book and is not shut out.
SELECT p.id FROM principal AS p
JOIN access_grant AS g ON g.book = %(book)s AND g.principal = p.id AND g.role = 'admin'
WHERE p.disabled_at IS NULL
ORDER BY p.id

-- name: named
-- The principal of this name that is at home in a book.
SELECT p.id FROM book AS b JOIN principal AS p ON p.book = b.id AND p.name = %(name)s WHERE b.name = %(book)s

-- name: policies_page
-- The rules that hold now, by kind of subject.
SELECT p.kind, p.version, p.hours, p.set_at, p.set_by, p.retired, p.approval
FROM approval_policy AS p
WHERE p.book = %(book)s AND p.kind > %(after)s AND NOT p.retired
    AND NOT EXISTS (
        SELECT FROM approval_policy AS n WHERE n.book = p.book AND n.kind = p.kind AND n.version > p.version
    )
ORDER BY p.kind
LIMIT %(most)s

-- name: policies
-- The last version of the rules for some kinds of subject, be it that they were taken back.
SELECT DISTINCT ON (p.kind) p.kind, p.version, p.hours, p.set_at, p.set_by, p.retired, p.approval
FROM approval_policy AS p
WHERE p.book = %(book)s AND p.kind = ANY(%(kinds)s::text[])
ORDER BY p.kind, p.version DESC

-- name: versions
-- Every version of the rules for a kind of subject, newest first.
SELECT p.kind, p.version, p.hours, p.set_at, p.set_by, p.retired, p.approval
FROM approval_policy AS p
WHERE p.book = %(book)s AND p.kind = %(kind)s AND p.version < %(before)s
ORDER BY p.version DESC
LIMIT %(most)s

-- name: levels
-- The levels of some rules, in order, with the amounts from which each is asked.
SELECT l.kind, l.version, l.level, l.role, l.people, l.count,
    ARRAY(
        SELECT t.asset FROM approval_threshold AS t
        WHERE t.book = l.book AND t.kind = l.kind AND t.version = l.version AND t.level = l.level ORDER BY t.asset
    ) AS assets,
    ARRAY(
        SELECT t.exponent FROM approval_threshold AS t
        WHERE t.book = l.book AND t.kind = l.kind AND t.version = l.version AND t.level = l.level ORDER BY t.asset
    ) AS exponents,
    ARRAY(
        SELECT t.amount FROM approval_threshold AS t
        WHERE t.book = l.book AND t.kind = l.kind AND t.version = l.version AND t.level = l.level ORDER BY t.asset
    ) AS amounts
FROM unnest(%(kinds)s::text[], %(versions)s::int[]) AS u (kind, version)
JOIN approval_level AS l ON l.book = %(book)s AND l.kind = u.kind AND l.version = u.version
ORDER BY l.kind, l.version, l.level

-- name: add_policy
-- A new version of rules.
INSERT INTO approval_policy (book, kind, version, hours, set_at, set_by, retired, approval)
VALUES (%(book)s, %(kind)s, %(version)s, %(hours)s, %(at)s, %(by)s, %(retired)s, %(approval)s)

-- name: add_levels
-- The levels of new rules; `people` is an array of arrays as text, since those do not unnest by one.
INSERT INTO approval_level (book, kind, version, level, role, people, count)
SELECT %(book)s, %(kind)s, %(version)s, u.level, u.role, u.people::uuid[], u.count
FROM unnest(%(levels)s::int[], %(roles)s::text[], %(people)s::text[], %(counts)s::int[]) AS u (level, role, people, count)

-- name: add_thresholds
-- The amounts from which levels of new rules are asked.
INSERT INTO approval_threshold (book, kind, version, level, asset, exponent, amount)
SELECT %(book)s, %(kind)s, %(version)s, u.level, u.asset, u.exponent, u.amount
FROM unnest(%(levels)s::int[], %(assets)s::text[], %(exponents)s::int[], %(amounts)s::numeric[])
    AS u (level, asset, exponent, amount)

-- name: candidates
-- The people of a book who may decide at all and are not shut out, with every role they have there.
SELECT p.id, p.kind,
    ARRAY(SELECT g.role FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id ORDER BY g.role) AS roles
FROM principal AS p
WHERE p.kind = 'person' AND p.disabled_at IS NULL
    AND p.id IN (SELECT g.principal FROM access_grant AS g WHERE g.book = %(book)s AND g.role = ANY(%(deciding)s::text[]))
ORDER BY p.id

-- name: standing
-- Some principals, if they are not shut out, with the roles that they have in a book at this moment.
SELECT p.id, p.kind,
    ARRAY(SELECT g.role FROM access_grant AS g WHERE g.book = %(book)s AND g.principal = p.id ORDER BY g.role) AS roles
FROM principal AS p
WHERE p.id = ANY(%(ids)s::uuid[]) AND p.disabled_at IS NULL

-- name: makers
-- Who had a hand in some subjects.
SELECT DISTINCT m.kind, m.subject, m.principal
FROM unnest(%(kinds)s::text[], %(subjects)s::text[]) AS u (kind, subject)
CROSS JOIN LATERAL (
    SELECT m.kind, m.subject, m.principal FROM approval_maker AS m
    WHERE m.book = %(book)s AND m.kind = u.kind AND m.subject = u.subject OFFSET 0
) AS m

-- name: add_makers
-- Remembers who had a hand in subjects; the system is nobody.
INSERT INTO approval_maker (book, kind, subject, principal, part)
SELECT %(book)s, u.kind, u.subject, u.principal, u.part
FROM unnest(%(kinds)s::text[], %(subjects)s::text[], %(principals)s::uuid[], %(parts)s::text[])
    AS u (kind, subject, principal, part)
ORDER BY u.kind, u.subject, u.principal, u.part
ON CONFLICT DO NOTHING

-- name: lock_live
-- What is pending or approved of some subjects, locked in id order. Found subject by subject and locked by its key: joined, it may
-- be everything that is live in the book that is read, if the planner thinks that this is little. Who is no longer live when we
-- have the lock is told by how it ended, since a state would lead to the index of what is live.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM approval_request AS r
WHERE r.book = %(book)s AND (r.ended_at IS NULL OR r.state = 'approved') AND r.id = ANY(ARRAY(
    SELECT l.id
    FROM unnest(%(kinds)s::text[], %(subjects)s::text[]) AS u (kind, subject)
    CROSS JOIN LATERAL (
        SELECT l.id FROM approval_request AS l
        WHERE l.book = %(book)s AND l.kind = u.kind AND l.subject = u.subject AND l.state IN ('pending', 'approved') OFFSET 0
    ) AS l
))
ORDER BY r.id FOR NO KEY UPDATE OF r

-- name: lock_requests
-- Some requests, locked in id order.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM approval_request AS r
WHERE r.book = %(book)s AND r.id = ANY(%(ids)s::uuid[])
ORDER BY r.id FOR NO KEY UPDATE OF r

-- name: subjects
-- What some requests are about.
SELECT r.id, r.kind, r.subject FROM approval_request AS r WHERE r.book = %(book)s AND r.id = ANY(%(ids)s::uuid[])

-- name: request
-- A request.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM approval_request AS r
WHERE r.book = %(book)s AND r.id = %(id)s

-- name: listed
-- Requests of a book in some states, newest first: of each state as many as are wanted, and of those the newest.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM unnest(%(states)s::text[]) AS u (state)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM approval_request AS r
    WHERE r.book = %(book)s AND r.state = u.state AND (r.requested_at, r.id) < (%(before)s, %(id)s)
        AND (%(currency)s::text IS NULL OR EXISTS (
            SELECT FROM approval_amount AS a
            WHERE a.book = r.book AND a.request = r.id AND a.asset = %(currency)s::text
                AND a.amount >= coalesce(%(at_least)s::numeric, 0) AND a.amount < coalesce(%(below)s::numeric, 'infinity')
            OFFSET 0
        ))
    ORDER BY r.requested_at DESC, r.id DESC
    LIMIT %(most)s
) AS r
ORDER BY r.requested_at DESC, r.id DESC
LIMIT %(most)s

-- name: listed_of_kind
-- The same of one kind of subject. Kind and state are put as bounds of what is read in order, and not as what they equal: so only
-- the index of kinds has this order, and no statistics lead along another one, through all that is in that state.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM unnest(%(states)s::text[]) AS u (state)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM approval_request AS r
    WHERE r.book = %(book)s AND (r.kind, r.state) >= (%(kind)s, u.state)
        AND (r.kind, r.state, r.requested_at, r.id) < (%(kind)s, u.state, %(before)s, %(id)s)
        AND (%(currency)s::text IS NULL OR EXISTS (
            SELECT FROM approval_amount AS a
            WHERE a.book = r.book AND a.request = r.id AND a.asset = %(currency)s::text
                AND a.amount >= coalesce(%(at_least)s::numeric, 0) AND a.amount < coalesce(%(below)s::numeric, 'infinity')
            OFFSET 0
        ))
    ORDER BY r.kind DESC, r.state DESC, r.requested_at DESC, r.id DESC
    LIMIT %(most)s
) AS r
ORDER BY r.requested_at DESC, r.id DESC
LIMIT %(most)s

-- name: listed_of_subject
-- Requests for one subject in some states, newest first.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM approval_request AS r
WHERE r.book = %(book)s AND r.kind = %(kind)s AND r.subject = %(subject)s AND (r.requested_at, r.id) < (%(before)s, %(id)s)
    AND r.state = ANY(%(states)s::text[])
    AND (%(currency)s::text IS NULL OR EXISTS (
        SELECT FROM approval_amount AS a
        WHERE a.book = r.book AND a.request = r.id AND a.asset = %(currency)s::text
            AND a.amount >= coalesce(%(at_least)s::numeric, 0) AND a.amount < coalesce(%(below)s::numeric, 'infinity')
        OFFSET 0
    ))
ORDER BY r.requested_at DESC, r.id DESC
LIMIT %(most)s

-- name: inbox
-- What waits for one person, oldest first: it asks for one of their roles or for them, they had no hand in it, and they have
-- not approved it yet. Of each role as many as are wanted, and of those the oldest; a request asks for one role or for people.
-- One after another as they wait, each looked up by its key: OFFSET 0 keeps the planner from beginning with what waits for others,
-- and an order of ids, which is none where they equal something, from finding one by an index that has them behind something else.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM unnest(%(who)s::text[]) AS u (who)
CROSS JOIN LATERAL (
    SELECT r.*
    FROM approval_asked AS w
    CROSS JOIN LATERAL (
        SELECT r.* FROM approval_request AS r
        WHERE r.book = %(book)s AND r.id BETWEEN w.request AND w.request ORDER BY r.id OFFSET 0
    ) AS r
    WHERE w.book = %(book)s AND w.who = u.who AND w.kind = coalesce(%(kind)s::text, '')
        AND (w.requested_at, w.request) > (%(after)s, %(id)s) AND r.state = 'pending' AND r.expires_at > %(at)s
        AND (%(currency)s::text IS NULL OR EXISTS (
            SELECT FROM approval_amount AS a
            WHERE a.book = r.book AND a.request = r.id AND a.asset = %(currency)s::text
                AND a.amount >= coalesce(%(at_least)s::numeric, 0) AND a.amount < coalesce(%(below)s::numeric, 'infinity')
            OFFSET 0
        ))
        AND NOT EXISTS (
            SELECT FROM approval_maker AS m
            WHERE m.book = r.book AND m.kind = r.kind AND m.subject = r.subject AND m.principal = %(me)s OFFSET 0
        )
        AND NOT EXISTS (
            SELECT FROM approval_step AS s
            WHERE s.book = r.book AND s.request = r.id AND s.principal = %(me)s AND s.act = 'approved' OFFSET 0
        )
    ORDER BY w.requested_at, w.request
    LIMIT %(most)s
) AS r
ORDER BY r.requested_at, r.id
LIMIT %(most)s

-- name: steps
-- What was done on some requests, in order.
SELECT s.request, s.act, s.level, s.principal, s.remark, s.at
FROM approval_step AS s
WHERE s.book = %(book)s AND s.request = ANY(%(ids)s::uuid[])
ORDER BY s.request, s.id

-- name: words
-- What was done already by these commands.
SELECT s.word, s.request, s.act, s.level, s.remark
FROM approval_step AS s
WHERE s.book = %(book)s AND s.word = ANY(%(words)s::uuid[])

-- name: add_requests
-- New requests; two at once for one subject meet at the index of what is live.
INSERT INTO approval_request (
    book, id, kind, version, subject, content, title, amounts, levels, requested_at, requested_by, replaces,
    state, level, given, expires_at, ended_at
)
SELECT %(book)s, u.id, u.kind, u.version, u.subject, u.content, u.title, u.amounts, u.levels::int[], %(at)s::timestamptz,
    u.requested_by, u.replaces, u.state, u.level, 0, u.expires_at, CASE WHEN u.state <> 'pending' THEN %(at)s::timestamptz END
FROM unnest(
    %(ids)s::uuid[], %(kinds)s::text[], %(versions)s::int[], %(subjects)s::text[], %(contents)s::bytea[], %(titles)s::text[],
    %(amounts)s::text[], %(levels)s::text[], %(people)s::uuid[], %(replaces)s::uuid[], %(states)s::text[], %(first)s::int[],
    %(expires)s::timestamptz[]
) AS u (id, kind, version, subject, content, title, amounts, levels, requested_by, replaces, state, level, expires_at)
ORDER BY u.kind, u.subject

-- name: change_requests
-- Moves locked requests on, each from the state it was found in.
UPDATE approval_request AS r
SET state = u.state, level = u.level, given = u.given, expires_at = u.expires_at,
    ended_at = CASE WHEN u.state <> 'pending' THEN %(at)s::timestamptz END
FROM unnest(
    %(ids)s::uuid[], %(found)s::text[], %(states)s::text[], %(levels)s::int[], %(given)s::int[], %(expires)s::timestamptz[]
) AS u (id, found, state, level, given, expires_at)
WHERE r.book = %(book)s AND r.id = u.id AND r.state = u.found

-- name: ask_nobody
-- Takes requests out of the inboxes that they are in.
DELETE FROM approval_asked WHERE book = %(book)s AND request = ANY(%(ids)s::uuid[])

-- name: ask
-- Puts what is pending into the inboxes of whom its level asks for, under its kind and under none.
INSERT INTO approval_asked (book, who, kind, requested_at, request)
SELECT r.book, w.who, k.kind, r.requested_at, r.id
FROM unnest(%(ids)s::uuid[]) AS u (id)
CROSS JOIN LATERAL (SELECT r.* FROM approval_request AS r WHERE r.book = %(book)s AND r.id = u.id OFFSET 0) AS r
JOIN approval_level AS l ON l.book = r.book AND l.kind = r.kind AND l.version = r.version AND l.level = r.level
CROSS JOIN LATERAL unnest(array_remove(l.role || l.people::text[], NULL)) AS w (who)
CROSS JOIN LATERAL (VALUES (r.kind), ('')) AS k (kind)
WHERE r.state = 'pending'
ORDER BY w.who, k.kind, r.requested_at, r.id

-- name: add_amounts
-- How much of each asset new requests move.
INSERT INTO approval_amount (book, request, asset, amount)
SELECT %(book)s, u.request, u.asset, u.amount
FROM unnest(%(requests)s::uuid[], %(assets)s::text[], %(amounts)s::numeric[]) AS u (request, asset, amount)

-- name: add_change
-- What is done once a request is approved; the same request again has it already.
INSERT INTO approval_change (book, request, body) VALUES (%(book)s, %(request)s, %(body)s) ON CONFLICT DO NOTHING

-- name: proposed
-- What is done once these requests are approved.
SELECT c.request, c.body FROM approval_change AS c WHERE c.book = %(book)s AND c.request = ANY(%(ids)s::uuid[])

-- name: guarded
-- Whether somebody has one of these roles in a book whose rules for this kind hold.
SELECT p.book FROM access_grant AS g
JOIN approval_policy AS p ON p.book = g.book AND p.kind = %(kind)s AND NOT p.retired
WHERE g.principal = %(principal)s AND g.role = ANY(%(roles)s::text[])
    AND NOT EXISTS (
        SELECT FROM approval_policy AS n WHERE n.book = p.book AND n.kind = p.kind AND n.version > p.version
    )

-- name: add_steps
-- What was done on requests, in order.
INSERT INTO approval_step (book, request, act, level, principal, remark, at, word)
SELECT %(book)s, u.request, u.act, u.level, u.principal, u.remark, %(at)s, u.word
FROM unnest(
    %(requests)s::uuid[], %(acts)s::text[], %(levels)s::int[], %(principals)s::uuid[], %(remarks)s::text[], %(words)s::uuid[]
) WITH ORDINALITY AS u (request, act, level, principal, remark, word, place)
ORDER BY u.place

-- name: lock_due
-- Requests whose time is over; what somebody else holds is left for the next time.
SELECT r.id, r.kind, r.version, r.subject, r.content, r.title, r.amounts, r.levels, r.requested_at, r.requested_by, r.replaces,
    r.state, r.level, r.given, r.expires_at, r.ended_at
FROM approval_request AS r
WHERE r.book = %(book)s AND r.state = 'pending' AND r.expires_at <= %(at)s
ORDER BY r.expires_at
LIMIT %(most)s
FOR NO KEY UPDATE OF r SKIP LOCKED

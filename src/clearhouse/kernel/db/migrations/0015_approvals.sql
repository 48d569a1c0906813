-- What a list costs is what it shows, whatever the planner knows of its table: for each question one index, by its order.

-- What waits for somebody is found by its kind, too; it stands here twice: under its kind, and under none with all the others.
ALTER TABLE approval_asked ADD COLUMN kind text NOT NULL DEFAULT '';
ALTER TABLE approval_asked ALTER COLUMN kind DROP DEFAULT;
ALTER TABLE approval_asked DROP CONSTRAINT approval_asked_pkey;
ALTER TABLE approval_asked ADD PRIMARY KEY (book, who, kind, requested_at, request);
INSERT INTO approval_asked (book, who, kind, requested_at, request)
SELECT a.book, a.who, r.kind, a.requested_at, a.request
FROM approval_asked AS a JOIN approval_request AS r ON r.book = a.book AND r.id = a.request;

-- Whatever is listed is in some state, and of this one without, a rare state would be looked for among all there is.
DROP INDEX approval_listed;

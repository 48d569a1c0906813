-- name: open_calendar
-- A new calendar, unless there is one of that name.
INSERT INTO calendar (book, name, title, days, follows, zone, opens, closes, eve, cut_off, opened_at)
VALUES (
    %(book)s, %(name)s, %(title)s, %(days)s, %(follows)s, %(zone)s, %(opens)s, %(closes)s, %(eve)s, %(cut_off)s, %(opened_at)s
)
ON CONFLICT DO NOTHING

-- name: calendar
-- One calendar of a book's own, with its days.
SELECT c.name, c.title, c.days, c.follows, c.zone, c.opens, c.closes, c.eve, c.cut_off, c.opened_at,
    ARRAY(
        SELECT d.day FROM calendar_day AS d
        WHERE d.book = c.book AND d.calendar = c.name AND d.closes_at IS NULL ORDER BY d.day
    ) AS closed,
    ARRAY(
        SELECT d.day FROM calendar_day AS d
        WHERE d.book = c.book AND d.calendar = c.name AND d.closes_at IS NOT NULL ORDER BY d.day
    ) AS early,
    ARRAY(
        SELECT d.closes_at FROM calendar_day AS d
        WHERE d.book = c.book AND d.calendar = c.name AND d.closes_at IS NOT NULL ORDER BY d.day
    ) AS closings
FROM calendar AS c
WHERE c.book = %(book)s AND c.name = %(name)s

-- name: calendars
-- The calendars of a book's own, by name, after a given one.
SELECT name, title FROM calendar WHERE book = %(book)s AND name > %(after)s ORDER BY name LIMIT %(most)s

-- name: hold_calendars
-- Keeps others from changing calendars until we commit: a change is decided on what is read after this. In the order of names.
SELECT name FROM calendar WHERE book = %(book)s AND name = ANY(%(names)s::text[]) ORDER BY name FOR NO KEY UPDATE

-- name: change_calendar
-- What a calendar is from now on.
UPDATE calendar SET title = %(title)s, days = %(days)s, follows = %(follows)s, zone = %(zone)s, opens = %(opens)s,
    closes = %(closes)s, eve = %(eve)s, cut_off = %(cut_off)s
WHERE book = %(book)s AND name = %(name)s

-- name: drop_days
-- Forgets every closed or shortened day of a calendar but these.
DELETE FROM calendar_day WHERE book = %(book)s AND calendar = %(calendar)s AND day <> ALL(%(days)s::date[])

-- name: add_days
-- Days on which a calendar is closed, or closes early.
INSERT INTO calendar_day (book, calendar, day, closes_at)
SELECT %(book)s, %(calendar)s, u.day, u.closes_at FROM unnest(%(days)s::date[], %(closings)s::time[]) AS u (day, closes_at)
ON CONFLICT (book, calendar, day) DO UPDATE SET closes_at = excluded.closes_at

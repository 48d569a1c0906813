"""Calendars over HTTP: what they are, own ones opened and changed, and what day it is for business."""

import asyncio
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import FromPath, PathParameter, QueryParameter

from clearhouse import clock, together
from clearhouse.calendars import DAYS_ADDED_MAX, Convention, add_days, roll
from clearhouse.kernel.calendars import own
from clearhouse.kernel.calendars.own import ChangeCalendar, Definition, Listed, OpenCalendar, Sort
from clearhouse.slices.operations import commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, patch, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here
from clearhouse.windows import Session, Window

READ = "calendars:read"
Asking = Request[Any, Any, Any]
CalendarPath = Annotated[
    str,
    PathParameter(description="A system (TARGET2), a country or a part of one (DE, DE-BY), or one of yours.", max_length=64),
]
CalendarsPath = Annotated[
    str,
    PathParameter(
        description="The same, or several with commas in between (TARGET2,FEDWIRE): what is a business day in each of them.",
        max_length=64 * own.TOGETHER_MAX,
    ),
]
Instant = Annotated[str | None, QueryParameter(name="at", required=False, description="An instant; now, if not said.")]
Day = Annotated[date, QueryParameter(name="day", description="A day.")]


class CalendarChange(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to change: what is left out stays; a day that is reopened is neither closed nor short any more."""

    title: own.Title | None = None
    days: own.Weekdays | None = None
    follows: own.Follows | None = None
    hours: own.Hours | None = None
    close: own.Days = []
    close_early: own.EarlyCloses = []
    reopen: own.Days = []


class CalendarDay(msgspec.Struct, frozen=True):
    """Whether a day is a business day, and if it is, its hours as instants; several calendars may have none in common."""

    day: date
    open: bool
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    cut_off_at: datetime | None = None


class Opening(msgspec.Struct, frozen=True):
    """The first instant at which business is done, and the business day that it belongs to."""

    at: datetime
    day: date
    opens_at: datetime
    closes_at: datetime
    cut_off_at: datetime


class BusinessDay(msgspec.Struct, frozen=True):
    """A business day."""

    day: date


# Days on which both euros and dollars are paid, until a quarter to seven in New York.
_PAYOUTS = {
    "name": "payouts",
    "title": "Payouts",
    "follows": ["TARGET2", "FEDWIRE"],
    "hours": {"zone": "America/New_York", "opens": "21:00", "closes": "19:00", "eve": True, "cut_off": "18:45"},
    "closed": ["2026-12-24"],
    "early_closes": [{"day": "2026-12-31", "closes": "12:00"}],
}
_CHANGE = {"close": ["2027-05-14"], "close_early": [{"day": "2027-05-13", "closes": "12:00"}]}


@get("/", summary="List calendars")
async def list_calendars(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100,
    sort: Annotated[Sort | None, QueryParameter(name="sort", required=False, description="Only these.")] = None,
) -> Response[Page[Listed]]:  # fmt: skip
    """Return the calendars of systems, of countries and of the book's own, by name; parts of countries are not listed."""
    async with here(request).reading(READ, book) as tx:
        found = await own.calendars(tx, after=cursor or "", sort=sort, most=limit + 1)
    return page(request, found, limit, lambda each: each.name)


@post("/", summary="Open a calendar")
async def open_calendar(
    request: Asking, data: Annotated[OpenCalendar, body(_PAYOUTS)], book: Book = None,
    key: IdempotencyKey = None,
) -> Definition:  # fmt: skip
    """Open a calendar of the book's own; opening the same again gives the one that is there."""
    return await here(request).submit(commands.OPEN_CALENDAR, data, book=book, key=key)


@get("/{calendar:str}", summary="Show a calendar")
async def show_calendar(request: Asking, calendar: CalendarPath, book: Book = None) -> Definition:
    """Return what a calendar is."""
    async with here(request).reading(READ, book) as tx:
        return await own.find_calendar(tx, calendar)


@patch("/{calendar:str}", summary="Change a calendar")
async def change_calendar(
    request: Asking, calendar: CalendarPath, data: Annotated[CalendarChange, body(_CHANGE)],
    book: Book = None, key: IdempotencyKey = None,
) -> Definition:  # fmt: skip
    """Change a calendar of the book's own; it counts at once, and for days that are past, too."""
    change = ChangeCalendar(
        calendar, data.title, data.days, data.follows, data.hours, data.close, data.close_early, data.reopen
    )
    return await here(request).submit(commands.CHANGE_CALENDAR, change, book=book, key=key)


@get("/{calendar:str}/days/{day:date}", summary="Is it open on a day?")
async def show_calendar_day(request: Asking, calendar: CalendarsPath, day: FromPath[date], book: Book = None) -> CalendarDay:
    """Return whether a day is a business day, with its hours: of several calendars, those that they have in common."""
    asked = await _windows(request, calendar, book)
    if not await asyncio.to_thread(together.sessions, asked, day):
        return CalendarDay(day, open=False)
    found = together.session(asked, day)
    return CalendarDay(day, open=True) if found is None else CalendarDay(day, bool(found), *_hours(found))


@get("/{calendar:str}/next-open", summary="When is it open next?")
async def show_next_open(request: Asking, calendar: CalendarsPath, book: Book = None, at: Instant = None) -> Opening:
    """Return the first instant, from a given one on, at which business is done: by all calendars on one business day."""
    instant = _instant(at)
    found = await asyncio.to_thread(together.next_session, await _windows(request, calendar, book), instant)
    return Opening(max(instant, found.opens), found.day, *_hours(found))


@get("/{calendar:str}/business-date", summary="Which business day is it?")
async def show_business_date(request: Asking, calendar: CalendarsPath, book: Book = None, at: Instant = None) -> BusinessDay:
    """Return the first business day whose cut-off is still to come at an instant, of each calendar if there are several."""
    asked = await _windows(request, calendar, book)
    return BusinessDay(await asyncio.to_thread(together.business_date_of, asked, _instant(at)))


@get("/{calendar:str}/add", summary="Add business days")
async def add_business_days(
    request: Asking, calendar: CalendarsPath, day: Day,
    count: Annotated[int, QueryParameter(name="count", ge=-DAYS_ADDED_MAX, le=DAYS_ADDED_MAX, description="How many.")],
    book: Book = None,
) -> BusinessDay:  # fmt: skip
    """Return the day so many business days later, or earlier if the count is negative; none is the first one from it on."""
    asked = together.calendar(await _windows(request, calendar, book))
    return BusinessDay(await asyncio.to_thread(add_days, asked, day, count))


@get("/{calendar:str}/roll", summary="Move a date off a closed day")
async def roll_day(
    request: Asking, calendar: CalendarsPath, day: Day, book: Book = None,
    convention: Annotated[Convention, QueryParameter(name="convention", required=False)] = Convention.FOLLOWING,
) -> BusinessDay:  # fmt: skip
    """Return the day itself if it is open, and otherwise the business day that a convention names."""
    asked = together.calendar(await _windows(request, calendar, book))
    return BusinessDay(await asyncio.to_thread(roll, asked, day, convention))


async def _windows(request: Asking, calendars: str, book: str | None) -> list[Window]:
    """Return what is computed with, which is done beside the loop: rules may have to be worked out for many years."""
    async with here(request).reading(READ, book) as tx:
        return await own.find_windows(tx, calendars.split(","))


def _instant(at: str | None) -> datetime:
    return clock.now() if at is None else clock.parse(at)


def _hours(found: Session) -> tuple[datetime, datetime, datetime]:
    return found.opens, found.closes, found.cut_off


router = Router(
    "/calendars",
    route_handlers=[
        list_calendars, open_calendar, show_calendar, change_calendar, show_calendar_day, show_next_open,
        show_business_date, add_business_days, roll_day,
    ],
    tags=["calendars"],
)  # fmt: skip

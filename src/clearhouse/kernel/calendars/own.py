"""Own calendars: a book's days of the week, closed days and hours, on top of the rules that it follows.

What a calendar says counts at once, and for days that are past, too; the journal knows who said so.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

import msgspec

from clearhouse.asking import Asked
from clearhouse.calendars import WEEKDAYS, Calendar, joint, next_open, previous_open
from clearhouse.kernel.calendars.rules import SYSTEMS, Rule, RuleUnknown, rule, rules
from clearhouse.kernel.calendars.weekdays import WEEK, Weekday
from clearhouse.kernel.calendars.zones import ZoneName, zone
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal
from clearhouse.windows import Window, next_open_instant

_sql = Statements.of("clearhouse.kernel.calendars", "calendars.sql")
DAYS_MAX = 5_000
TOGETHER_MAX = 8
Sort = Literal["own", "system", "country"]
# A `$` alone would let a line break through at the end.
CalendarName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)", examples=["payouts"])
]
RuleName = Annotated[str, msgspec.Meta(min_length=2, max_length=30, examples=["TARGET2", "DE-BY"])]
Title = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", examples=["Payouts of the week"])]
ClockTime = Annotated[str, msgspec.Meta(max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)", examples=["17:00"])]
Weekdays = Annotated[list[Weekday], msgspec.Meta(max_length=WEEKDAYS)]
Days = Annotated[list[date], msgspec.Meta(max_length=1_000)]
Follows = Annotated[list[RuleName], msgspec.Meta(max_length=8)]


class CalendarNotFound(Refusal):
    """There is no calendar {name} here."""

    code = "calendar_not_found"
    kind = Kind.UNKNOWN


class CalendarExists(Refusal):
    """Calendar {name} exists with other {field}."""

    code = "calendar_exists"
    kind = Kind.REFUSED


class RuleFixed(Refusal):
    """The calendar of {name} is not a book's to change; open one of your own that follows it."""

    code = "rule_fixed"
    kind = Kind.REFUSED


class DayTwice(Refusal):
    """{day} is named more than once, or both as closed and as closing early."""

    code = "day_twice"
    kind = Kind.REFUSED


class ManyClosed(Refusal):
    """Calendar {name} would have {days} closed or shortened days of its own; it can have {most}."""

    code = "many_closed"
    kind = Kind.REFUSED


class ManyTogether(Refusal):
    """{calendars} calendars are asked about at once; {most} can be."""

    code = "many_together"
    kind = Kind.MALFORMED


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when to when business is done, in a time zone; the whole day unless said otherwise.

    If `closes` is not later than `opens`, it is on the next day; with `eve` the business day is the one that it closes on.
    """

    zone: ZoneName = "UTC"
    opens: ClockTime = "00:00"
    closes: ClockTime = "00:00"
    eve: bool = False
    cut_off: ClockTime | None = None


class EarlyClose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A day that closes early."""

    day: date
    closes: ClockTime


EarlyCloses = Annotated[list[EarlyClose], msgspec.Meta(max_length=1_000)]


class OpenCalendar(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Open a calendar of the book's own; it is closed when one of the rules that it follows is closed, too."""

    name: CalendarName
    title: Title = ""
    days: Weekdays = msgspec.field(default_factory=lambda: list(WEEK[:5]))
    follows: Follows = []
    hours: Hours = Hours()
    closed: Days = []
    early_closes: EarlyCloses = []


class ChangeCalendar(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Change an own calendar: what is left out stays; a day that is reopened is neither closed nor short any more."""

    calendar: str
    title: Title | None = None
    days: Weekdays | None = None
    follows: Follows | None = None
    hours: Hours | None = None
    close: Days = []
    close_early: EarlyCloses = []
    reopen: Days = []


class Definition(msgspec.Struct, frozen=True):
    """What a calendar is. What is a rule's to say is not listed: its closed days, and a country's days of the week."""

    name: str
    sort: Sort
    title: str
    hours: Hours
    days: list[Weekday] = []
    follows: list[str] = []
    closed: list[date] = []
    early_closes: list[EarlyClose] = []
    opened_at: datetime | None = None

    @property
    def marks(self) -> dict[date, time | None]:
        """Return the days that are closed, or close early at a time."""
        return dict.fromkeys(self.closed) | {each.day: time.fromisoformat(each.closes) for each in self.early_closes}


class Listed(msgspec.Struct, frozen=True):
    """A calendar in a list."""

    name: str
    title: str
    sort: Sort = "own"


async def open_calendars(tx: Tx, asked: Sequence[Asked[OpenCalendar]], at: datetime) -> list[Definition | Refusal]:
    """Open calendars; opening the same again gives the one that is there."""
    answers: dict[int, Definition | Refusal] = {}
    for place in sorted(range(len(asked)), key=lambda each: asked[each].command.name):  # so nobody waits in a circle
        answers[place] = await _open(tx, asked[place].command, at)
    return [answers[place] for place in range(len(asked))]


async def change_calendars(tx: Tx, asked: Sequence[Asked[ChangeCalendar]], at: datetime) -> list[Definition | Refusal]:
    """Change calendars, one after another."""
    await tx.tuples(_sql["hold_calendars"], {"book": tx.book, "names": [each.command.calendar for each in asked]})
    return [await _change(tx, each.command, at) for each in asked]


async def calendars(tx: Tx, *, after: str = "", sort: Sort | None = None, most: int = 100) -> list[Listed]:
    """Return calendars by name: the rules of systems and countries, and the book's own."""
    known = [Listed(name, title, _sort(name)) for name, title in rules().items() if name > after]
    own = await tx.rows(_sql["calendars"], Listed, book=tx.book, after=after, most=most)
    found = [each for each in known + own if sort in {None, each.sort}]
    return sorted(found, key=lambda each: each.name)[:most]


async def find_calendar(tx: Tx, name: str) -> Definition:
    """Return what a calendar is: a rule by its capital letters, or one of the book's own."""
    if name[:1].isupper():
        return _of_rule(_rule(name))
    found = await tx.row(_sql["calendar"], _definition, book=tx.book, name=name)
    if found is None:
        raise CalendarNotFound(name=name[:64])
    return found


async def find_window(tx: Tx, name: str) -> Window:
    """Return a calendar with its hours, to compute with."""
    return _rule(name).window if name[:1].isupper() else window_of(await find_calendar(tx, name))


async def find_windows(tx: Tx, names: Sequence[str]) -> list[Window]:
    """Return calendars with their hours, each once, to compute with what they have in common."""
    asked = list(dict.fromkeys(names))
    if len(asked) > TOGETHER_MAX:
        raise ManyTogether(calendars=str(len(asked)), most=str(TOGETHER_MAX))
    return [await find_window(tx, name) for name in asked]


def window_of(calendar: Definition) -> Window:
    """Return what an own calendar says, with the rules that it follows, to compute with."""
    hours, marks = calendar.hours, calendar.marks
    weekend = frozenset(number for number, name in enumerate(WEEK) if name not in calendar.days)
    own = Calendar(weekend, frozenset(calendar.closed))
    return Window(
        joint([own, *(rule(name).window.calendar for name in calendar.follows)]), zone(hours.zone),
        time.fromisoformat(hours.opens), time.fromisoformat(hours.closes), eve=hours.eve,
        cut_off=None if hours.cut_off is None else time.fromisoformat(hours.cut_off), early=marks.get,
    )  # fmt: skip


async def _open(tx: Tx, command: OpenCalendar, at: datetime) -> Definition | Refusal:
    wanted = Definition(
        command.name, "own", command.title, command.hours, _weekdays(command.days), list(dict.fromkeys(command.follows)),
        sorted(command.closed), sorted(command.early_closes, key=lambda each: each.day), at,
    )  # fmt: skip
    try:
        await asyncio.to_thread(_check, wanted, at)  # rules of many years may have to be worked out
    except Refusal as refusal:
        return refusal
    if await tx.do(_sql["open_calendar"], book=tx.book, name=wanted.name, opened_at=at, **_columns(wanted)) == 0:
        return _same(wanted, await find_calendar(tx, wanted.name))
    await _keep_days(tx, wanted)
    return wanted


async def _change(tx: Tx, command: ChangeCalendar, at: datetime) -> Definition | Refusal:
    try:
        found = await find_calendar(tx, command.calendar)
        if found.sort != "own":
            return RuleFixed(name=found.name)
        wanted = _merged(found, command)
        await asyncio.to_thread(_check, wanted, at)
    except Refusal as refusal:
        return refusal
    await tx.do(_sql["change_calendar"], book=tx.book, name=wanted.name, **_columns(wanted))
    await _keep_days(tx, wanted)
    return wanted


async def _keep_days(tx: Tx, calendar: Definition) -> None:
    marks = calendar.marks
    place = {"book": tx.book, "calendar": calendar.name, "days": list(marks)}
    await tx.do(_sql["drop_days"], **place)
    await tx.do(_sql["add_days"], **place, closings=list(marks.values()))


def _merged(found: Definition, command: ChangeCalendar) -> Definition:
    told = [*command.close, *(each.day for each in command.close_early), *command.reopen]
    closed = sorted({*found.closed, *command.close}.difference(each for each in told if each not in command.close))
    early = [each for each in found.early_closes if each.day not in told] + command.close_early
    if len(set(told)) < len(told):
        raise DayTwice(day=str(next(each for each in told if told.count(each) > 1)))
    return Definition(
        found.name, "own", found.title if command.title is None else command.title,
        command.hours or found.hours, found.days if command.days is None else _weekdays(command.days),
        found.follows if command.follows is None else list(dict.fromkeys(command.follows)),
        closed, sorted(early, key=lambda each: each.day), found.opened_at,
    )  # fmt: skip


def _check(calendar: Definition, at: datetime) -> None:
    """Refuse a calendar that contradicts itself, or that is closed for a year on end now or around a day of its own."""
    told = [*calendar.closed, *(each.day for each in calendar.early_closes)]
    if len(told) > DAYS_MAX:
        raise ManyClosed(name=calendar.name, days=str(len(told)), most=str(DAYS_MAX))
    if len(calendar.marks) < len(told):
        raise DayTwice(day=str(next(each for each in told if told.count(each) > 1)))
    window = window_of(calendar)
    for closes in calendar.marks.values():
        if closes is not None:
            window.place(closes)
    next_open_instant(window, at)
    reached = date.min
    for day in calendar.closed:
        if day > reached:
            reached = next_open(window.calendar, previous_open(window.calendar, day))


def _same(wanted: Definition, there: Definition) -> Definition | Refusal:
    for field in ("title", "days", "follows", "hours", "closed", "early_closes"):
        if getattr(there, field) != getattr(wanted, field):
            return CalendarExists(name=there.name, field=field.replace("_", " "))
    return there


def _columns(calendar: Definition) -> dict[str, Any]:
    window = window_of(calendar)
    return {
        "title": calendar.title, "days": [WEEK.index(each) for each in calendar.days], "follows": calendar.follows,
        "zone": calendar.hours.zone, "opens": window.opens, "closes": window.closes, "eve": window.eve,
        "cut_off": window.cut_off,
    }  # fmt: skip


def _definition(**row: Any) -> Definition:
    early = [EarlyClose(day, f"{closes:%H:%M}") for day, closes in zip(row["early"], row["closings"], strict=True)]
    cut_off = None if row["cut_off"] is None else f"{row['cut_off']:%H:%M}"
    hours = Hours(row["zone"], f"{row['opens']:%H:%M}", f"{row['closes']:%H:%M}", row["eve"], cut_off)
    days: list[Weekday] = [each for number, each in enumerate(WEEK) if number in row["days"]]
    return Definition(row["name"], "own", row["title"], hours, days, row["follows"], row["closed"], early, row["opened_at"])


def _of_rule(found: Rule) -> Definition:
    window = found.window
    hours = Hours(str(window.zone), f"{window.opens:%H:%M}", f"{window.closes:%H:%M}", window.eve)
    sort = _sort(found.name)
    open_on = frozenset(range(WEEKDAYS)) - window.calendar.weekend if sort == "system" else ()
    days: list[Weekday] = [each for number, each in enumerate(WEEK) if number in open_on]
    return Definition(found.name, sort, found.title, hours, days)


def _rule(name: str) -> Rule:
    try:
        return rule(name)
    except RuleUnknown as error:
        raise CalendarNotFound(name=name[:64]) from error


def _sort(name: str) -> Sort:
    return "system" if name in SYSTEMS else "country"


def _weekdays(days: Sequence[Weekday]) -> list[Weekday]:
    return [each for each in WEEK if each in days]

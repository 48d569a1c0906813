"""`clearhouse calendars …`: what calendars are, own ones opened and changed, and what day it is for business."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from clearhouse.calendars import Convention
from clearhouse.kernel.calendars.weekdays import Weekday
from clearhouse.refusals import Malformed
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

CALENDARS = "/api/v1/calendars"
app = App(name="calendars", help="Business days, hours and cut-offs.")
Open = Annotated[
    list[Weekday] | None, Parameter(name="--days", help="A day of the week that is open; once for each.", negative="")
]
Follows = Annotated[list[str] | None, Parameter(name="--follows", help="A rule whose closed days count, too.", negative="")]
Close = Annotated[list[str] | None, Parameter(name="--close", help="A day that is closed; once for each.", negative="")]
Early = Annotated[list[str] | None, Parameter(name="--close-early", help="A day and a time: 2026-12-24=14:00.", negative="")]
Reopen = Annotated[list[str] | None, Parameter(name="--reopen", help="A day that is as any other again.", negative="")]
Zone = Annotated[str | None, Parameter(help="The time zone of the hours, such as Europe/Berlin; with it they are set anew.")]
Clock = Annotated[str | None, Parameter(help="A time of the day such as 18:00.")]
Eve = Annotated[bool, Parameter(help="The hours begin on the day before the business day.", negative="")]
Together = Annotated[
    str, Parameter(help="A calendar, or several with commas in between: what is a business day in each of them.")
]
At = Annotated[str | None, Parameter(name="--at", help="An instant such as 2026-11-21T16:00:00Z; now, if not said.")]


@app.command(name="list")
def list_calendars(
    *, sort: Literal["own", "system", "country"] | None = None, limit: Most = 1_000, how: Reading = READING
) -> None:
    """List the calendars of systems, of countries, and your own."""
    found = server().items(CALENDARS, most=limit, sort=sort, book=how.book)
    show_all(found, ("name", "title", "sort"), json=how.json)


@app.command(name="show")
def show_calendar(calendar: str, *, how: Reading = READING) -> None:
    """Show what a calendar is."""
    show(server().get(_path(calendar), book=how.book), json=how.json)


@app.command(name="open")
def open_calendar(
    name: str, *, title: str | None = None, days: Open = None, follows: Follows = None, close: Close = None,
    close_early: Early = None, zone: Zone = None, opens: Clock = None, closes: Clock = None, eve: Eve = False,
    cut_off: Clock = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Open a calendar of your own; without --days it is open from Monday to Friday."""
    hours = _hours(zone, opens=opens, closes=closes, eve=eve, cut_off=cut_off)
    body = {"name": name, "title": title, "days": days, "follows": follows, "hours": hours}
    given = {**body, "closed": close, "early_closes": _early(close_early)}
    show(server().post(CALENDARS, given, key=how.key, book=how.book), json=how.json)


@app.command(name="change")
def change_calendar(
    calendar: str, *, title: str | None = None, days: Open = None, follows: Follows = None, close: Close = None,
    close_early: Early = None, reopen: Reopen = None, zone: Zone = None, opens: Clock = None, closes: Clock = None,
    eve: Eve = False, cut_off: Clock = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Change a calendar of your own; what is not said stays, but hours are set as a whole."""
    hours = _hours(zone, opens=opens, closes=closes, eve=eve, cut_off=cut_off)
    body = {"title": title, "days": days, "follows": follows, "hours": hours, "close": close, "reopen": reopen}
    given = {**body, "close_early": _early(close_early)}
    show(server().send("PATCH", _path(calendar), given, key=how.key, book=how.book), json=how.json)


@app.command
def day(calendars: Together, day: str, *, how: Reading = READING) -> None:
    """Show whether a calendar is open on a DAY, and its hours."""
    show(server().get(f"{_path(calendars)}/days/{segment(day)}", book=how.book), json=how.json)


@app.command
def next_open(calendars: Together, *, at: At = None, how: Reading = READING) -> None:
    """Show when a calendar is open next."""
    show(server().get(f"{_path(calendars)}/next-open", at=at, book=how.book), json=how.json)


@app.command
def business_date(calendars: Together, *, at: At = None, how: Reading = READING) -> None:
    """Show which business day an instant belongs to."""
    show(server().get(f"{_path(calendars)}/business-date", at=at, book=how.book), json=how.json)


@app.command
def add(calendars: Together, day: str, count: int, *, how: Reading = READING) -> None:
    """Show the day COUNT business days after DAY, or before it if COUNT is negative."""
    show(server().get(f"{_path(calendars)}/add", day=day, count=count, book=how.book), json=how.json)


@app.command
def roll(calendars: Together, day: str, *, convention: Convention = Convention.FOLLOWING, how: Reading = READING) -> None:
    """Show where a DAY goes if the calendar is closed on it."""
    found = server().get(f"{_path(calendars)}/roll", day=day, convention=convention.value, book=how.book)
    show(found, json=how.json)


def _path(calendar: str) -> str:
    return f"{CALENDARS}/{segment(calendar)}"


def _hours(zone: str | None, **rest: str | bool | None) -> dict[str, Any] | None:
    given = {name: value for name, value in {"zone": zone, **rest}.items() if value}
    return given or None


def _early(told: list[str] | None) -> list[dict[str, str]] | None:
    if told is None:
        return None
    pairs = [each.partition("=") for each in told]
    if not all(closes for _, _, closes in pairs):
        raise Malformed(field="--close-early", problem="say a day and a time, such as 2026-12-24=14:00")
    return [{"day": day, "closes": closes} for day, _, closes in pairs]

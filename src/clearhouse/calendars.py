"""Business days: computing over rules that are given. Whoever keeps the rules, this is how they are read.

Promise: every answer is found within a bounded search, and a calendar that is never open is refused rather than searched.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum

from clearhouse.refusals import Kind, Refusal

DAYS_SEARCHED_MAX = 366
DAYS_ADDED_MAX = 10_000
WEEKDAYS = 7
_ONE = timedelta(days=1)


class NeverOpen(Refusal):
    """The calendar has no open day within a year of {day}."""

    code = "calendar_never_open"
    kind = Kind.REFUSED


class TooManyDays(Refusal):
    """{days} business days are more than the {most} that can be counted at once."""

    code = "too_many_days"
    kind = Kind.MALFORMED


class Convention(Enum):
    """Where a date goes that falls on a closed day."""

    FOLLOWING = "following"
    PRECEDING = "preceding"
    MODIFIED_FOLLOWING = "modified_following"
    MODIFIED_PRECEDING = "modified_preceding"


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which weekdays (Monday is 0) and which dates are closed; `yearly` are rules that give the closed dates of any year."""

    weekend: frozenset[int] = frozenset()
    holidays: frozenset[date] = frozenset()
    yearly: tuple[Callable[[int], frozenset[date]], ...] = ()

    def is_open(self, day: date) -> bool:
        """Tell whether business is done on a day."""
        if day.weekday() in self.weekend or day in self.holidays:
            return False
        return not any(day in closed(day.year) for closed in self.yearly)


EVERY_DAY = Calendar()


def joint(calendars: Iterable[Calendar]) -> Calendar:
    """Return the calendar that is open when all of these are."""
    several = list(calendars)
    weekend = frozenset[int]().union(*(each.weekend for each in several))
    holidays = frozenset[date]().union(*(each.holidays for each in several))
    return Calendar(weekend, holidays, tuple(rule for each in several for rule in each.yearly))


def next_open(calendar: Calendar, day: date) -> date:
    """Return the first open day after a day."""
    return _seek(calendar, day, _ONE)


def previous_open(calendar: Calendar, day: date) -> date:
    """Return the last open day before a day."""
    return _seek(calendar, day, -_ONE)


def roll(calendar: Calendar, day: date, convention: Convention) -> date:
    """Move a date off a closed day; a modified convention turns round rather than leave the month."""
    if calendar.is_open(day):
        return day
    forward = convention in {Convention.FOLLOWING, Convention.MODIFIED_FOLLOWING}
    rolled = _seek(calendar, day, _ONE if forward else -_ONE)
    modified = convention in {Convention.MODIFIED_FOLLOWING, Convention.MODIFIED_PRECEDING}
    if modified and (rolled.year, rolled.month) != (day.year, day.month):
        return _seek(calendar, day, -_ONE if forward else _ONE)
    return rolled


def add_days(calendar: Calendar, day: date, count: int) -> date:
    """Return the day so many open days later, or earlier if the count is negative; none rolls forward to an open day."""
    if abs(count) > DAYS_ADDED_MAX:
        raise TooManyDays(days=str(count), most=str(DAYS_ADDED_MAX))
    moved = roll(calendar, day, Convention.FOLLOWING) if count == 0 else day
    for _ in range(abs(count)):
        moved = _seek(calendar, moved, _ONE if count > 0 else -_ONE)
    return moved


def _seek(calendar: Calendar, day: date, step: timedelta) -> date:
    found = day
    for _ in range(DAYS_SEARCHED_MAX):
        try:
            found += step
        except OverflowError as error:
            raise NeverOpen(day=str(day)) from error
        if calendar.is_open(found):
            return found
    raise NeverOpen(day=str(day))

"""Windows: the hours of a business day in a time zone, and which business day an instant belongs to.

Promise: a wall-clock time is reached once, at the first instant at which the clock shows it or more. So an hour that is
shown twice counts the first time, an hour that is skipped comes when the clock jumps over it, and no instant is in two
sessions or before and after the same cut-off. A business day that the clock skips altogether has no session.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from clearhouse.calendars import DAYS_SEARCHED_MAX, WEEKDAYS, Calendar, NeverOpen
from clearhouse.refusals import Kind, Refusal

_ONE = timedelta(days=1)
_FINEST = timedelta(microseconds=1)


class OutsideHours(Refusal):
    """{at} does not lie within the hours from {opens} to {closes}."""

    code = "outside_hours"
    kind = Kind.REFUSED


class EveTooEarly(Refusal):
    """Hours from {opens} of the day before to {closes} would last longer than a day."""

    code = "eve_too_early"
    kind = Kind.REFUSED


def _never(_: date) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Window:
    """When business is done on the days of a calendar that fall on some days of the week (Monday is 0).

    If `closes` is not later than `opens`, it is on the next day: the business day is then the one that it opens on, or with
    `eve` the one that it closes on. From `cut_off` on, or else from closing, what comes counts for the next business day.
    `early` tells at what time a day closes that does so early.
    """

    calendar: Calendar
    zone: tzinfo
    opens: time = time()
    closes: time = time()
    days: frozenset[int] = frozenset(range(WEEKDAYS))
    eve: bool = False
    cut_off: time | None = None
    early: Callable[[date], time | None] = _never

    def __post_init__(self) -> None:
        """Refuse hours that contradict themselves."""
        if self.eve and self.opens < self.closes:
            raise EveTooEarly(opens=f"{self.opens:%H:%M}", closes=f"{self.closes:%H:%M}")
        if self.cut_off is not None:
            self.place(self.cut_off)

    def place(self, at: time) -> timedelta:
        """Return how far from the business day lies the date on which the session reaches a time after its opening."""
        first = -_ONE if self.eve else timedelta()
        overnight = self.closes <= self.opens
        if at > self.opens and (overnight or at <= self.closes):
            return first
        if overnight and at <= self.closes:
            return first + _ONE
        raise OutsideHours(at=f"{at:%H:%M}", opens=f"{self.opens:%H:%M}", closes=f"{self.closes:%H:%M}")


@dataclass(frozen=True, slots=True)
class Session:
    """The hours of one business day: from opening until right before closing; after the cut-off it is the next one's."""

    day: date
    opens: datetime
    closes: datetime
    cut_off: datetime


def session(window: Window, day: date) -> Session | None:
    """Return the session of a business day; a day that is closed, or that the clock skips, has none."""
    if day.weekday() not in window.days or not window.calendar.is_open(day):
        return None
    closes = window.early(day) or window.closes
    start = first_instant(window.zone, datetime.combine(day - _ONE if window.eve else day, window.opens))
    end = first_instant(window.zone, datetime.combine(day + window.place(closes), closes))
    if end <= start:
        return None
    if window.cut_off is None:
        return Session(day, start, end, end)
    cut_off = first_instant(window.zone, datetime.combine(day + window.place(window.cut_off), window.cut_off))
    return Session(day, start, end, min(cut_off, end))


def session_at(window: Window, instant: datetime) -> Session | None:
    """Return the session that an instant lies in, if it lies in one."""
    found = next_session(window, instant)
    return found if found.opens <= instant else None


def next_session(window: Window, instant: datetime) -> Session:
    """Return the first session that is not over at an instant: the one that it lies in, or the one after it."""
    return next(each for each in _sessions(window, instant) if instant < each.closes)


def next_open_instant(window: Window, instant: datetime) -> datetime:
    """Return the first instant, from a given one on, at which the window is open."""
    return max(instant, next_session(window, instant).opens)


def business_date_of(window: Window, instant: datetime) -> date:
    """Return the first business day whose cut-off is still to come at an instant."""
    return next(each.day for each in _sessions(window, instant) if instant < each.cut_off)


def business_day_start(window: Window, instant: datetime) -> datetime:
    """Return since when what comes counts for the same business day as what comes at an instant: the cut-off before it."""
    try:
        latest = _shown(window.zone, instant).date() + _ONE
        for behind in range(DAYS_SEARCHED_MAX + 1):
            found = session(window, latest - behind * _ONE)
            if found is not None and found.cut_off <= instant:
                return found.cut_off
    except OverflowError as error:
        raise NeverOpen(day=str(instant.date())) from error
    raise NeverOpen(day=str(instant.date()))


def first_instant(zone: tzinfo, wall: datetime) -> datetime:
    """Return the first instant at which a clock in a zone shows a time or a later one, to the microsecond."""
    before, after = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _shown(zone, before) == wall:
        return before
    while after - before > _FINEST:  # the clock jumps over it somewhere between these two
        middle = before + (after - before) // 2
        before, after = (middle, after) if _shown(zone, middle) < wall else (before, middle)
    return after


def earliest_day(window: Window, instant: datetime) -> date:
    """Return the first day whose session, if it has one, may not be over at an instant."""
    return _shown(window.zone, instant).date() - window.place(window.closes)


def _shown(zone: tzinfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _sessions(window: Window, instant: datetime) -> Iterator[Session]:
    """Give the sessions that may not be over yet, in order, as far as a calendar is searched."""
    try:
        first = earliest_day(window, instant)
        for ahead in range(DAYS_SEARCHED_MAX + 1):
            found = session(window, first + ahead * _ONE)
            if found is not None:
                yield found
    except OverflowError as error:
        raise NeverOpen(day=str(instant.date())) from error
    raise NeverOpen(day=str(instant.date()))

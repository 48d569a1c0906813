"""Several windows at once: the days that are business days of all of them, and the hours that they have in common.

Promise: a day counts if it counts in each; what comes at an instant counts for the first day that no cut-off has passed;
windows that share days but no hour of them are refused by a sentence, and no search is without an end. One is like itself.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from clearhouse import windows as single
from clearhouse.calendars import DAYS_SEARCHED_MAX, Calendar, NeverOpen, joint
from clearhouse.refusals import Kind, Refusal
from clearhouse.windows import Session, Window

_ONE = timedelta(days=1)


class NoHourTogether(Refusal):
    """These calendars share business days, but no hour of any of them within a year of {day}."""

    code = "no_hour_together"
    kind = Kind.REFUSED


def calendar(windows: Sequence[Window]) -> Calendar:
    """Return the calendar that is open when all of these are."""
    return joint(each.calendar for each in windows)


def sessions(windows: Sequence[Window], day: date) -> list[Session]:
    """Return the hours of a business day of each; none at all unless all have some."""
    found = [single.session(each, day) for each in windows]
    return [each for each in found if each is not None] if None not in found else []


def session(windows: Sequence[Window], day: date) -> Session | None:
    """Return the hours of one business day that all of these have in common, if there are any."""
    return _shared(sessions(windows, day))


def next_session(windows: Sequence[Window], instant: datetime) -> Session:
    """Return the first hours in common that are not over at an instant."""
    shares_days = False
    for each in _days(windows, instant):
        shares_days = True
        shared = _shared(each)
        if shared is not None and instant < shared.closes:
            return shared
    day = str(instant.date())
    raise NoHourTogether(day=day) if shares_days else NeverOpen(day=day)


def business_date_of(windows: Sequence[Window], instant: datetime) -> date:
    """Return the first day on which business is done in all of these and whose every cut-off is still to come."""
    for each in _days(windows, instant):
        if instant < min(hours.cut_off for hours in each):
            return each[0].day
    raise NeverOpen(day=str(instant.date()))


def _shared(found: Sequence[Session]) -> Session | None:
    if not found:
        return None
    opens, closes = max(each.opens for each in found), min(each.closes for each in found)
    cut_off = min(each.cut_off for each in found)
    return Session(found[0].day, opens, closes, cut_off) if opens < closes else None


def _days(windows: Sequence[Window], instant: datetime) -> Iterator[list[Session]]:
    """Give the hours of the business days of all that may not be over yet, in order, as far as a calendar is searched."""
    try:
        first = max(single.earliest_day(each, instant) for each in windows)
        for ahead in range(DAYS_SEARCHED_MAX + 1):
            found = sessions(windows, first + ahead * _ONE)
            if found:
                yield found
    except OverflowError as error:
        raise NeverOpen(day=str(instant.date())) from error

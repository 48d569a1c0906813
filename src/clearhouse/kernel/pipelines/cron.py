"""Cron: five fields that say at which minutes of the wall clock something happens, and when that is next in a time zone.

Promises: a time that names its hour comes once a day, as everywhere in this house (`windows`): an hour that is shown twice
counts the first time, one that is skipped comes when the clock jumps over it. What happens every hour or minute (a star in
front of the minute or the hour) goes by time that passes: in an hour that is shown twice it comes twice, in a skipped one
never. A cron that can never fire is refused when it is written.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated

import msgspec
from cronsim import CronSim, CronSimError

from clearhouse.refusals import Kind, Refusal
from clearhouse.windows import first_instant

FIELDS = 5
EVERY = "*"
CronText = Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["0 2 * * MON-FRI"])]
_START = datetime(2000, 1, 1)  # noqa: DTZ001 - a time of the wall clock
_STEP = timedelta(hours=12)
_SECOND = timedelta(seconds=1)


class CronMalformed(Refusal):
    """{cron} is no cron: five fields, for minute, hour, day of the month, month and day of the week, such as 0 2 * * *."""

    code = "cron_malformed"
    kind = Kind.REFUSED


class CronNeverFires(Refusal):
    """{cron} never comes: there is no such day."""

    code = "cron_never_fires"
    kind = Kind.REFUSED


def check(cron: str) -> str:
    """Return a cron with single spaces, if it can fire."""
    words = cron.split()
    if len(words) != FIELDS or not cron.isascii() or not cron.isprintable():
        raise CronMalformed(cron=cron[:100])
    try:
        next(CronSim(cron, _START))
    except CronSimError as error:
        raise (CronNeverFires if _is_well_formed(words) else CronMalformed)(cron=cron[:100]) from error
    except StopIteration as error:
        raise CronNeverFires(cron=cron[:100]) from error
    return " ".join(words)


def _is_well_formed(words: list[str]) -> bool:
    """Tell whether each field alone is right, so that only together they name a day that there is not."""
    try:
        for place, word in enumerate(words):
            CronSim(" ".join(word if place == other else EVERY for other in range(FIELDS)), _START)
    except CronSimError:
        return False
    return True


def next_instant(cron: str, zone: tzinfo, after: datetime) -> datetime | None:
    """Return the first instant after a given one at which a cron fires, if it does as far as the calendar goes."""
    minute, hour, *_ = cron.split()
    passing = minute.startswith(EVERY) or hour.startswith(EVERY)
    try:
        return _next_passing(cron, zone, after) if passing else _next_named(cron, zone, after)
    except (StopIteration, OverflowError):
        return None


def _next_named(cron: str, zone: tzinfo, after: datetime) -> datetime:
    return next(each for each in (first_instant(zone, wall) for wall in _walls(cron, _shown(zone, after))) if each > after)


def _next_passing(cron: str, zone: tzinfo, after: datetime) -> datetime:
    """Go from one change of the clock to the next: in between, the wall clock is a fixed distance from UTC."""
    start = after
    while True:
        distance = _distance(zone, start)
        found = next(_walls(cron, _wall(start, distance))).replace(tzinfo=UTC) - distance
        change = _next_change(zone, start, found)
        if change is None:
            return found
        if _fires(cron, _shown(zone, change)):
            return change
        start = change


def _walls(cron: str, after: datetime) -> Iterator[datetime]:
    return CronSim(cron, after)


def _fires(cron: str, wall: datetime) -> bool:
    return next(_walls(cron, wall - _SECOND)) == wall


def _next_change(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first instant after `start`, up to `end`, from which on the clock shows another distance from UTC."""
    before, distance = start, _distance(zone, start)
    while before < end:
        after = min(before + _STEP, end)
        if _distance(zone, after) != distance:
            while after - before > _SECOND:
                middle = before + (after - before) // 2
                before, after = (middle, after) if _distance(zone, middle) == distance else (before, middle)
            return after.replace(microsecond=0)
        before = after
    return None


def _distance(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _wall(instant: datetime, distance: timedelta) -> datetime:
    return (instant.astimezone(UTC) + distance).replace(tzinfo=None)


def _shown(zone: tzinfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)

"""The clock: the only maker of time in Python. UTC, to the microsecond."""

import re
from datetime import UTC, date, datetime

from clearhouse.refusals import Kind, Refusal

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


class MalformedTime(Refusal):
    """{text} is no time like 2026-11-21T04:10:18.123456Z, between the years 1 and 9999."""

    code = "malformed_time"
    kind = Kind.MALFORMED


def now() -> datetime:
    """Return this instant."""
    return datetime.now(UTC)


def today() -> date:
    """Return the day it is in UTC."""
    return now().date()


def text(instant: datetime) -> str:
    """Return an instant as RFC 3339 has it, always in UTC and with microseconds."""
    utc = instant.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def utc(given: datetime) -> datetime:
    """Return an instant in UTC; one without a zone or outside the calendar's years is refused."""
    if given.tzinfo is None:
        raise MalformedTime(text=given.isoformat())
    try:
        return given.astimezone(UTC)
    except OverflowError as error:
        raise MalformedTime(text=given.isoformat()) from error


def parse(given: str) -> datetime:
    """Read an RFC 3339 time; one without a zone is refused, since nobody knows when it is."""
    if _TIME.fullmatch(given) is None:
        raise MalformedTime(text=given[:64])
    try:
        return datetime.fromisoformat(given.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MalformedTime(text=given[:64]) from error

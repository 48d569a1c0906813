"""Time zones by the names that people give them."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from clearhouse.refusals import Kind, Refusal

_NAME = re.compile(r"[A-Z][A-Za-z0-9+_-]*(/[A-Z][A-Za-z0-9+_-]*){0,2}")
ZoneName = Annotated[str, msgspec.Meta(max_length=50, examples=["Europe/Berlin"])]


class ZoneUnknown(Refusal):
    """{zone} is no time zone like Europe/Berlin or UTC."""

    code = "zone_unknown"
    kind = Kind.REFUSED


def zone(name: str) -> ZoneInfo:
    """Return a time zone by its name in the database of the IANA."""
    if _NAME.fullmatch(name) is None:
        raise ZoneUnknown(zone=name[:50])
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ZoneUnknown(zone=name) from error

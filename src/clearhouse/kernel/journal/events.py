"""Events: the journal as others read it, each line a CloudEvents 1.0 envelope, in the order of its book.

Promise: an event has one id for ever, however often it is read; a reader that goes on from its cursor misses none and meets
none twice. A line that was refused is none: nothing happened, and the audit trail has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from clearhouse import clock
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal

sql = Statements.of("clearhouse.kernel.journal", "readers.sql")
ROWS_MAX = 1_000
BYTES_MAX = 8 * 1024 * 1024
_PLACE_MAX = 2**31 - 2


class MalformedPlace(Refusal):
    """A place in the events of this book is the `id` of an event in it, and {given} is none."""

    code = "malformed_place"
    kind = Kind.MALFORMED


class Cursor(NamedTuple):
    """The first line of a book that was not read yet: a journal number and a place in its row."""

    number: int = 0
    place: int = 0


class Event(msgspec.Struct, frozen=True):
    """What happened, as CloudEvents writes it in JSON; `principal` is an extension and says who did it."""

    id: str
    source: str
    type: str
    time: str
    principal: str
    specversion: Literal["1.0"] = "1.0"
    subject: str | UnsetType = UNSET
    datacontenttype: Literal["application/json"] | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    dataref: str | UnsetType = UNSET

    @property
    def cursor(self) -> Cursor:
        """Where a reader goes on that has read this event."""
        _, number, place = self.id.split("-")
        return Cursor(int(number), int(place) + 1)


class Page(NamedTuple):
    """Events in their order, and where to go on: the same place only if there is nothing more."""

    events: list[Event]
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Sealed:
    """A numbered row of the journal, with what its events say about where they come from."""

    book: int
    number: int
    at: datetime
    principal: str
    lines: str
    source: str


class _Line(msgspec.Struct, frozen=True):
    event: str
    subject: str
    data: Raw | UnsetType = UNSET
    by: str = ""
    refused: str = ""


_lines = msgspec.json.Decoder(list[_Line])


def events_of(row: Sealed, *, first: int = 0) -> list[Event]:
    """Return the events of a row, from the line of this place on."""
    head, time = f"{row.book}-{row.number}-", clock.text(row.at)
    return [
        Event(
            f"{head}{place}", row.source, line.event, time, line.by or row.principal,
            subject=line.subject or UNSET, data=line.data,
            datacontenttype=UNSET if line.data is UNSET else "application/json",
        )
        for place, line in enumerate(_lines.decode(row.lines))
        if place >= first and not line.refused
    ]  # fmt: skip


async def after(tx: Tx, cursor: Cursor, *, most: int = ROWS_MAX) -> Page:
    """Return what a reader of the transaction's book reads next; a row of many lines may take several pages."""

    def sealed(**row: object) -> Sealed:
        return Sealed(tx.book, **row)  # pyright: ignore[reportArgumentType] - the statement names the columns of this type

    rows = await tx.rows(
        sql["events_after"], sealed, book=tx.book, number=cursor.number, most=min(most, ROWS_MAX), bytes_max=BYTES_MAX
    )
    return _page(rows, cursor, most)


def _page(rows: Sequence[Sealed], cursor: Cursor, most: int) -> Page:
    events: list[Event] = []
    for row in rows:
        found = events_of(row, first=cursor.place if row.number == cursor.number else 0)
        room = most - len(events)
        if len(found) > room:
            events += found[:room]
            return Page(events, events[-1].cursor)
        events += found
        cursor = Cursor(row.number + 1)
    return Page(events, cursor)


def place_before(cursor: Cursor, book: int) -> str:
    """Return a place in the events of a book from which a reader goes on at a cursor, whether there is an event or not."""
    if cursor.place:
        return f"{book}-{cursor.number}-{cursor.place - 1}"
    return f"{book}-{max(cursor.number - 1, 0)}-{_PLACE_MAX}"


def cursor_after(event: str, book: int) -> Cursor:
    """Return where a reader of a book goes on that has read the event of this id."""
    parts = event.split("-") if len(event) <= 60 and event.isascii() else []  # noqa: PLR2004 - three whole numbers are shorter
    if len(parts) != 3 or not all(part.isdigit() for part in parts) or int(parts[0]) != book:  # noqa: PLR2004 - book, number, place
        raise MalformedPlace(given=event[:60])
    number, place = int(parts[1]), int(parts[2]) + 1
    if number >= 2**63 or place > _PLACE_MAX + 1:
        raise MalformedPlace(given=event[:60])
    return Cursor(number, place)

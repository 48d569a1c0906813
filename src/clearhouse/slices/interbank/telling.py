"""Telling: what happens to settlements, event by event, to whoever listens, from any place on.

Promise: every event of a settlement reaches the listener in order and at least once, and a listener that goes on from the id
of its last event misses none; a bank hears of the settlements that it is a party to.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal import events
from clearhouse.kernel.journal.events import Cursor, Event
from clearhouse.slices.interbank.rows import Change, sql

SECONDS_BETWEEN_LOOKS = 0.1
PREFIX = "interbank."
_change = msgspec.json.Decoder(Change)


@dataclass(frozen=True, slots=True)
class _Number:
    number: int


class Told(msgspec.Struct, frozen=True):
    """What happened to a settlement; `id` is where a listener goes on that has it."""

    id: str
    type: str
    settlement: str
    at: str
    change: Change


class Listening(msgspec.Struct, frozen=True):
    """What a listener wants: of some settlements or of all, of some banks or of all, and only what it may hear."""

    settlements: Sequence[str] = ()
    banks: Sequence[str] = ()
    party: str | None = None

    def wants(self, told: Told) -> bool:
        """Tell whether an event is for this listener."""
        sides = {told.change.from_bank, told.change.to_bank}
        return (
            (not self.settlements or told.settlement in self.settlements)
            and (not self.banks or not sides.isdisjoint(self.banks))
            and (self.party is None or self.party in sides)
        )


async def tell(
    database: Database, book: int, listening: Listening, *, after: str = "", seconds: float | None = None
) -> AsyncIterator[Told]:
    """Give what happens after an event, or from now on, until nobody listens, or for so long."""
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else loop.time() + seconds
    cursor = None if not after else events.cursor_after(after, book)
    while True:
        async with database.reading([book]) as tx:
            cursor = await _now(tx) if cursor is None else cursor
            page = await events.after(tx, cursor)
        for each in page.events:
            told = _told(each)
            if told is not None and listening.wants(told):
                yield told
        if deadline is not None and loop.time() >= deadline:
            return
        if page.cursor == cursor:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        cursor = page.cursor


async def _now(tx: Tx) -> Cursor:
    found = await tx.row(sql["newest_number"], _Number, book=tx.book)
    return Cursor(1 if found is None else found.number + 1)


def _told(event: Event) -> Told | None:
    subject = event.subject
    if not event.type.startswith(PREFIX) or not isinstance(subject, str) or not subject.startswith("stl_"):
        return None
    if not isinstance(event.data, msgspec.Raw):
        return None
    try:
        return Told(event.id, event.type, subject, event.time, _change.decode(event.data))
    except msgspec.ValidationError:
        return None  # something else about a settlement: that its release was asked for, that a word came twice

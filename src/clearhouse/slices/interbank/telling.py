"""Telling: what happens to settlements, event by event, to whoever listens, from any place on.

Promise: every event of a settlement reaches the listener in order and at least once, and a listener that goes on from the id
of its last event misses none; a bank hears of the settlements that it is a party to.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import events
from clearhouse.kernel.journal.events import Cursor, Event
from clearhouse.slices.interbank.rows import Change, sql
from clearhouse.transport.http.visits import Visit

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

    def hear(self, event: Event) -> Told | None:
        """Return what an event tells this listener, if it is for it."""
        told = _told(event)
        return told if told is not None and self._wants(told) else None

    def _wants(self, told: Told) -> bool:
        sides = {told.change.from_bank, told.change.to_bank}
        return (
            (not self.settlements or told.settlement in self.settlements)
            and (not self.banks or not sides.isdisjoint(self.banks))
            and (self.party is None or self.party in sides)
        )


async def tell(
    visit: Visit, book: int, listening: Listening, *, after: str = "", may: Callable[[], Awaitable[bool]]
) -> AsyncIterator[Told]:
    """Give what happens after an event, or from now on, as it happens, as long as the listener may hear it."""
    database = visit.door.database
    async with database.reading([book]) as tx:
        cursor = events.cursor_after(after, book) if after else await _now(tx)
    visit.feed.check(visit.caller.id)
    with visit.feed.counted(visit.caller.id):
        async for page in visit.feed.pages(database, book, cursor, may):
            for each in page.events:
                heard = listening.hear(each)
                if heard is not None:
                    yield heard


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

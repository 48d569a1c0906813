"""Deliveries: one event for one webhook, from the log until it is taken or dead.

    pending ──► delivered        dead and delivered go back to pending by a replay
       └──────► dead

Promise: deliveries of an endpoint are made in the transaction that says how far it has come in the log, so each event has
one and never two. Of one that is pending somebody is always to try: a sender that dies loses its claim when the lease ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import events, writing
from clearhouse.kernel.journal.events import Cursor, Event, MalformedPlace, Sealed, cursor_after, events_of
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.webhooks.endpoints import PREFIX, WebhookNotFound, sql
from clearhouse.refusals import Kind, Refusal

READ_MOST = 500
ROOM = 1_000  # so many may wait for one endpoint; the others of its events stay in the log, which is the queue
LEASE = timedelta(seconds=40)
KEPT_TRYING = timedelta(days=3)
FIRST_DELAY_SECONDS = 5.0
DELAY_SECONDS_MAX = 4 * 3_600.0
KEPT = timedelta(days=30)
FORGET_AT_ONCE = 5_000
TRIED = "webhooks.tried"
State = Literal["pending", "delivered", "dead"]
_LAST = (2**63 - 1, 2**31 - 1)


class DeliveryNotFound(Refusal):
    """Webhook {webhook} has no delivery of event {event}."""

    code = "delivery_not_found"
    kind = Kind.UNKNOWN


class Delivery(msgspec.Struct, frozen=True):
    """What became of an event for a webhook. `next_at` is when it is tried again, `answer` the beginning of the last."""

    event: str
    type: str
    state: State
    attempts: int
    made_at: datetime
    next_at: datetime | None
    gives_up_at: datetime
    ended_at: datetime | None
    status: int | None
    answer: str


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    place: int
    type: str
    state: State
    attempts: int
    made_at: datetime
    next_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    status: int | None
    answer: str

    def shown(self, book: int) -> Delivery:
        """Return it as it is shown."""
        return Delivery(
            f"{book}-{self.number}-{self.place}", self.type, self.state, self.attempts, self.made_at,
            self.next_at if self.state == "pending" else None, self.ends_at, self.ended_at, self.status, self.answer,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listening:
    """An endpoint that is enabled, and where it is in the log."""

    id: UUID
    types: list[str]
    number: int
    place: int

    @property
    def cursor(self) -> Cursor:
        """Where it goes on."""
        return Cursor(self.number, self.place)

    def wants(self, event: Event) -> bool:
        """Tell whether an event is for this endpoint: a try is for one, whatever the types."""
        if event.type == TRIED:
            return event.subject == ids.text(PREFIX, self.id)
        return not self.types or any(matches(each, event.type) for each in self.types)


def matches(wanted: str, given: str) -> bool:
    """Tell whether a type is one that is wanted: `ledger.posted` by name, `ledger.*` with all that begins so."""
    return given.startswith(wanted[:-1]) if wanted.endswith("*") else given == wanted


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is ours to make until the lease ends."""

    number: int
    place: int
    attempts: int
    ends_at: datetime
    url: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a claim: the state it comes to, and when it is tried again if that is pending."""

    claim: Claim
    state: State
    next_at: datetime
    status: int | None
    answer: str


def after_failure(claim: Claim, *, at: datetime, chance: float) -> tuple[State, datetime]:
    """Return what a delivery that was not taken comes to: pending for longer each time, and dead after three days.

    `chance` from 0 to 1 spreads those that failed together.
    """
    seconds = min(FIRST_DELAY_SECONDS * 2.0 ** min(claim.attempts - 1, 20), DELAY_SECONDS_MAX)
    following = at + timedelta(seconds=seconds * (0.75 + chance / 2))
    return ("dead", at) if following > claim.ends_at else ("pending", following)


async def spread(tx: Tx, at: datetime) -> bool:
    """Make the deliveries of the next events for every endpoint of a book; tell whether any of them came further."""
    listening = await tx.rows(sql["listening"], Listening, book=tx.book, room=ROOM)
    made: list[tuple[UUID, Event]] = []
    moved: list[tuple[UUID, Cursor]] = []
    for cursor in sorted({each.cursor for each in listening}):
        page = await events.after(tx, cursor, most=READ_MOST)
        if page.cursor != cursor:
            here = [each for each in listening if each.cursor == cursor]
            made += [(each.id, event) for each in here for event in page.events if each.wants(event)]
            moved += [(each.id, page.cursor) for each in here]
    await _add(tx, made, at)
    if moved:
        await tx.do(
            sql["move_webhooks"], book=tx.book, ids=array([each for each, _ in moved]),
            numbers=array([cursor.number for _, cursor in moved]), places=array([cursor.place for _, cursor in moved]),
        )  # fmt: skip
    return bool(moved)


async def _add(tx: Tx, made: Sequence[tuple[UUID, Event]], at: datetime) -> None:
    if made:
        await tx.do(
            sql["add_deliveries"], book=tx.book, at=at, ends_at=at + KEPT_TRYING,
            endpoints=array([each for each, _ in made]),
            numbers=array([event.cursor.number for _, event in made]),
            places=array([event.cursor.place - 1 for _, event in made]),
            types=texts([event.type for _, event in made]),
        )  # fmt: skip


async def books_listening(tx: Tx) -> list[int]:
    """Return the books that have an endpoint which is enabled."""
    return [int(str(book)) for (book,) in await tx.tuples(sql["books_listening"])]


async def due(tx: Tx, at: datetime) -> list[tuple[int, UUID]]:
    """Return the endpoints, with their books, that have something to be sent."""
    return [(int(str(book)), UUID(str(each))) for book, each in await tx.tuples(sql["due"], {"at": at})]


async def claim(tx: Tx, endpoint: UUID, *, at: datetime, most: int) -> list[Claim]:
    """Take some deliveries of an endpoint for as long as the lease lasts."""
    found = await tx.rows(sql["claim"], Claim, book=tx.book, endpoint=endpoint, at=at, lease=at + LEASE, most=most)
    return sorted(found, key=lambda each: (each.number, each.place))


async def events_at(tx: Tx, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Event]:
    """Return events by where they are in the log."""

    def sealed(**row: object) -> Sealed:
        return Sealed(tx.book, **row)  # pyright: ignore[reportArgumentType] - the statement names the columns of this type

    wanted = set(places)
    rows = await tx.rows(sql["events_at"], sealed, book=tx.book, numbers=array(sorted({number for number, _ in wanted})))
    found = {position(event.id, tx.book): event for row in rows for event in events_of(row)}
    return {place: found[place] for place in wanted if place in found}


async def record(tx: Tx, endpoint: UUID, tried: Sequence[Tried], at: datetime) -> None:
    """Keep what became of claims."""
    await tx.do(
        sql["record"], book=tx.book, endpoint=endpoint, at=at, numbers=[each.claim.number for each in tried],
        places=[each.claim.place for each in tried], attempts=[each.claim.attempts for each in tried],
        states=[each.state for each in tried], nexts=[each.next_at for each in tried],
        statuses=[each.status for each in tried], answers=[each.answer for each in tried],
    )  # fmt: skip


async def gone(tx: Tx, endpoint: UUID, at: datetime) -> None:
    """Disable an endpoint whose receiver said that it is gone, and say so in the journal."""
    if await tx.do(sql["disable_webhook"], book=tx.book, id=endpoint, reason="gone", at=at):
        line = Line("webhooks.disabled", ids.text(PREFIX, endpoint), {"reason": "gone"})
        writing.write(tx, [line], book=tx.book, kind="webhooks.disable", by=writing.SYSTEM, at=at)


async def forget(tx: Tx, at: datetime) -> int:
    """Drop some deliveries that were made long ago; dead ones stay."""
    return await tx.do(sql["forget_deliveries"], before=at - KEPT, most=FORGET_AT_ONCE)


async def deliveries(
    tx: Tx, webhook: str, *, state: State | None = None, before: str | None = None, most: int = 100
) -> list[Delivery]:
    """Return the deliveries of a webhook, newest first."""
    endpoint = readable(PREFIX, webhook)
    if await tx.row(sql["webhook"], dict, book=tx.book, id=endpoint) is None:
        raise WebhookNotFound(id=webhook[:64])
    number, place = _LAST if before is None else await _known(tx, endpoint, webhook, before)
    values = {"book": tx.book, "endpoint": endpoint, "number": number, "place": place, "most": most}
    found = await tx.rows(sql["all_deliveries"], _Row, **values) if state is None else await tx.rows(
        sql["deliveries"], _Row, state=state, **values
    )  # fmt: skip
    return [each.shown(tx.book) for each in found]


async def _known(tx: Tx, endpoint: UUID, webhook: str, event: str) -> tuple[int, int]:
    number, place = position(event, tx.book)
    if await tx.row(sql["delivery"], _Row, book=tx.book, endpoint=endpoint, number=number, place=place) is None:
        raise DeliveryNotFound(webhook=webhook[:64], event=event[:64])
    return number, place


def position(event: str, book: int) -> tuple[int, int]:
    """Return where an event of a book is in the log, or nowhere."""
    try:
        number, following = cursor_after(event, book)
    except MalformedPlace:
        return -1, -1
    return number, following - 1

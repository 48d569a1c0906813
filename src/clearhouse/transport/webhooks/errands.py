"""Errands: everything that is due for one endpoint is sent, over ten places, until nothing is.

    due ──claim──► waiting ──place──► sending ──answer──► ended ──record──► delivered, dead, or due later

Promise: what ended is recorded in the transaction that claims what follows, while the places go on; so an answer that is
late keeps one place, and nobody waits for the database. What is claimed is sent or given back while its lease lasts: many
are claimed ahead only as long as the receiver is quick, and one that waited for too long is not sent but claimed anew.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from clearhouse import clock
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.webhooks import deliveries, signing
from clearhouse.kernel.webhooks.deliveries import Claim, Tried
from clearhouse.refusals import Refusal
from clearhouse.transport.webhooks.sending import ANSWER_BYTES_MAX, SECONDS_MAX, Outcome, Sender
from clearhouse.transport.webhooks.signatures import signed

AT_ONCE = 10
CLAIMED_FEW = 2 * AT_ONCE
CLAIMED_MANY = 10 * AT_ONCE
QUICK = timedelta(seconds=1)
WAIT_MAX = deliveries.LEASE - timedelta(seconds=SECONDS_MAX + 5.0)  # then there is time for an answer and to record it
STILL_SECONDS = deliveries.LEASE.total_seconds()  # every answer comes sooner: who waits so long waits for nobody
Endpoint = tuple[int, UUID]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A claim with what is to be sent, or why that cannot be."""

    claim: Claim
    event: Event | None
    secrets: Sequence[str] | Refusal
    until: datetime


class Errand:
    """One run for one endpoint."""

    def __init__(self, database: Database, sender: Sender, endpoint: Endpoint) -> None:
        self._database = database
        self._sender = sender
        self._book, self._endpoint = endpoint
        self._waiting: deque[Parcel] = deque()
        self._open: dict[Claim, Outcome | None] = {}  # whatever is claimed and not recorded yet
        self._ended: list[Claim] = []
        self._places: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._claimed_max = CLAIMED_FEW
        self._is_more = True
        self._is_slow = False
        self._is_gone = False

    def more(self) -> None:
        """Say that more is due for this endpoint than was claimed."""
        self._is_more = True
        self._news.set()

    async def run(self) -> bool:
        """Send all that is due, and tell whether that was anything; if it is broken off, give it back.

        It is broken off, too, where it stands still: then it is begun anew, and the log says so.
        """
        try:
            await self._exchanged()
            is_any = bool(self._open)
            while self._places or self._ended:
                async with asyncio.timeout(STILL_SECONDS):
                    await self._news.wait()
                self._news.clear()
                if self._is_time():
                    await self._exchanged()
            return is_any
        finally:
            await self._end()

    def _is_time(self) -> bool:
        """Tell whether to exchange: often enough that the places have work, rarely enough that the database has little."""
        if self._ended:
            return self._is_slow or self._is_gone or len(self._waiting) <= self._claimed_max // 2
        return self._is_more and len(self._open) < self._claimed_max

    def _fill(self) -> None:
        """Have somebody for what waits, as far as there are places; one that is leaving is replaced when it has left."""
        if self._is_gone:
            return
        for _ in range(min(len(self._waiting), AT_ONCE - len(self._places))):
            place = asyncio.create_task(self._place())
            self._places.add(place)
            place.add_done_callback(self._left)

    def _left(self, place: asyncio.Task[None]) -> None:
        self._places.discard(place)
        if not place.cancelled():
            self._fill()
        self._news.set()

    async def _place(self) -> None:
        """Send one after another, as long as any wait and the receiver is there."""
        while self._waiting and not self._is_gone:
            parcel, began = self._waiting.popleft(), clock.now()
            if began < parcel.until:
                outcome = self._open[parcel.claim] = await self._outcome(parcel)
                self._is_gone = self._is_gone or outcome.is_gone
            self._is_slow = self._is_slow or clock.now() - began > QUICK or began >= parcel.until
            self._ended.append(parcel.claim)
            self._news.set()

    async def _outcome(self, parcel: Parcel) -> Outcome:
        try:
            return await self._post(parcel)
        except Exception as error:  # noqa: BLE001 - a fault of ours: this one is tried again, and the others go on
            return Outcome(None, repr(error)[:ANSWER_BYTES_MAX])

    async def _post(self, parcel: Parcel) -> Outcome:
        event = parcel.event
        if event is None:  # somebody touched the journal: verifying it says what, and this worker goes on
            return Outcome(None, "the event is not in the journal any more")
        if isinstance(parcel.secrets, Refusal):
            return Outcome(None, str(parcel.secrets))
        body = msgspec.json.encode(event)
        headers = signed(event.id, body.decode(), secrets=parcel.secrets, at=clock.now())
        return await self._sender.send(parcel.claim.url, body, headers)

    async def _exchanged(self) -> None:
        """Record and claim; whoever cancels this waits until the database has answered, so that no claim is forgotten."""
        exchange = asyncio.create_task(self._exchange())
        try:
            await asyncio.shield(exchange)
        except asyncio.CancelledError:
            await asyncio.wait([exchange])
            if not exchange.cancelled():
                exchange.exception()  # whoever cancelled this asks no more what came of it, and nobody else is told
            raise

    async def _exchange(self) -> None:
        """Record what ended, and claim as many others as there is room for."""
        ended, at = list(self._ended), clock.now()
        if ended:
            self._claimed_max = CLAIMED_FEW if self._is_slow else min(2 * self._claimed_max, CLAIMED_MANY)
        self._is_more = self._is_slow = False
        async with self._database.writing(book=self._book) as tx:
            await self._record(tx, ended, at)
            room = self._claimed_max - len(self._open) + len(ended)
            claims = await deliveries.claim(tx, self._endpoint, at=at, most=room) if room > 0 else []
            secrets = await signing.secrets_of(tx, self._endpoint, at) if claims else []
            known = await deliveries.events_at(tx, [(claim.number, claim.place) for claim in claims]) if claims else {}
        del self._ended[: len(ended)]
        for claim in ended:
            del self._open[claim]
        self._open.update(dict.fromkeys(claims))
        self._waiting += [Parcel(claim, known.get((claim.number, claim.place)), secrets, at + WAIT_MAX) for claim in claims]
        self._fill()

    async def _record(self, tx: Tx, claims: Sequence[Claim], at: datetime) -> None:
        if claims:
            await deliveries.record(tx, self._endpoint, [_tried(each, self._open[each], at) for each in claims], at)
        if self._is_gone:
            await deliveries.gone(tx, self._endpoint, at)

    async def _end(self) -> None:
        """Break off what is under way, and record it with everything else that is claimed."""
        self._waiting.clear()  # or a place that leaves at this moment would be replaced
        places = list(self._places)
        for each in places:
            each.cancel()
        if places:
            await asyncio.wait(places)
        if self._open:
            await asyncio.shield(self._give_back())

    async def _give_back(self) -> None:
        async with self._database.writing(book=self._book) as tx:
            await self._record(tx, list(self._open), clock.now())


def _tried(claim: Claim, outcome: Outcome | None, at: datetime) -> Tried:
    """Return what a try comes to; one that was broken off is due at once."""
    if outcome is None:
        return Tried(claim, "pending", at, None, "it was broken off before there was an answer")
    if outcome.is_taken:
        return Tried(claim, "delivered", at, outcome.status, outcome.answer)
    if outcome.is_gone:
        return Tried(claim, "dead", at, outcome.status, outcome.answer)
    state, next_at = deliveries.after_failure(claim, at=at, chance=random.random())  # noqa: S311 - spreads, keeps no secret
    return Tried(claim, state, next_at, outcome.status, outcome.answer)

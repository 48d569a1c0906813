"""Delivering: from the log to the receivers, for as long as a worker lives.

Promise: every endpoint has a task and places of its own, so one that is slow or dead holds nobody back; what is taken when a
worker ends is given back at once, and what a worker that was killed had taken is sent again, under the same id.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import msgspec
import structlog

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.db.listening import Bell, listen
from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.journal.readers import CHANNEL
from clearhouse.kernel.webhooks import deliveries, signing
from clearhouse.kernel.webhooks.deliveries import Claim, Tried
from clearhouse.refusals import Refusal
from clearhouse.transport.webhooks.sending import ANSWER_BYTES_MAX, Outcome, Sender
from clearhouse.transport.webhooks.signatures import signed

AT_ONCE = 10
SWEEP_SECONDS = 0.5
FORGET_SECONDS = 3_600.0
Endpoint = tuple[int, UUID]
_log = structlog.get_logger(__name__)


async def deliver(database: Database, sender: Sender | None = None) -> None:
    """Deliver the events of every book, until cancelled."""
    courier = Courier(database, sender or Sender())
    try:
        await courier.run()
    finally:
        await courier.sender.close()


class Courier:
    """Makes deliveries from the log, and sends what is due."""

    def __init__(self, database: Database, sender: Sender) -> None:
        self.database = database
        self.sender = sender
        self.bell = Bell()
        self._at_work: dict[Endpoint, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Work whenever something was numbered, and now and then, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listen(self.database, CHANNEL, self.bell))
            tasks.create_task(self._forever(self.forget, Bell(), FORGET_SECONDS))
            tasks.create_task(self._forever(lambda: self.turn(tasks), self.bell, SWEEP_SECONDS))

    async def turn(self, tasks: asyncio.TaskGroup) -> None:
        """Make deliveries from what is new, and set every endpoint that has something due to work."""
        await self.spread()
        async with self.database.writing() as tx:
            due = await deliveries.due(tx, clock.now())
        for endpoint in due:
            if endpoint not in self._at_work:
                task = tasks.create_task(self._work(endpoint))
                self._at_work[endpoint] = task
                task.add_done_callback(lambda _, which=endpoint: self._at_work.pop(which))

    async def spread(self) -> None:
        """Make the deliveries of everything that is new, in every book."""
        async with self.database.writing() as tx:
            numbers = await deliveries.books_listening(tx)
        for book in numbers:
            more = True
            while more:
                async with self.database.writing(book=book) as tx:
                    more = await deliveries.spread(tx, clock.now())

    async def forget(self) -> None:
        """Drop deliveries that were made long ago."""
        dropped = deliveries.FORGET_AT_ONCE
        while dropped == deliveries.FORGET_AT_ONCE:
            async with self.database.writing() as tx:
                dropped = await deliveries.forget(tx, clock.now())

    async def send_due(self, endpoint: Endpoint) -> int:
        """Send what is due for an endpoint, so many at once; return how many that were."""
        book, each = endpoint
        at = clock.now()
        async with self.database.writing(book=book) as tx:
            claims = await deliveries.claim(tx, each, at=at, most=AT_ONCE)
            secrets = await signing.secrets_of(tx, each, at) if claims else []
            known = await deliveries.events_at(tx, [(claim.number, claim.place) for claim in claims]) if claims else {}
        if claims:
            await self._send(endpoint, claims, known, secrets)
        return len(claims)

    async def _send(
        self,
        endpoint: Endpoint,
        claims: Sequence[Claim],
        known: dict[tuple[int, int], Event],
        secrets: Sequence[str] | Refusal,
    ) -> None:
        sending = [
            asyncio.create_task(self._post(claim, known.get((claim.number, claim.place)), secrets)) for claim in claims
        ]  # fmt: skip
        try:
            await asyncio.wait(sending)
        finally:
            for each in sending:
                each.cancel()
            await asyncio.wait(sending)
            ended = [(claim, _outcome(each)) for claim, each in zip(claims, sending, strict=True)]
            await asyncio.shield(self._record(endpoint, ended))

    async def _post(self, claim: Claim, event: Event | None, secrets: Sequence[str] | Refusal) -> Outcome:
        if event is None:  # somebody touched the journal: verifying it says what, and this worker goes on
            return Outcome(None, "the event is not in the journal any more")
        if isinstance(secrets, Refusal):
            return Outcome(None, str(secrets))
        body = msgspec.json.encode(event)
        headers = signed(event.id, body.decode(), secrets=secrets, at=clock.now())
        return await self.sender.send(claim.url, body, headers)

    async def _record(self, endpoint: Endpoint, ended: Sequence[tuple[Claim, Outcome | None]]) -> None:
        at = clock.now()
        tried = [_tried(claim, outcome) for claim, outcome in ended]
        async with self.database.writing(book=endpoint[0]) as tx:
            await deliveries.record(tx, endpoint[1], tried, at)
            if any(outcome is not None and outcome.is_gone for _, outcome in ended):
                await deliveries.gone(tx, endpoint[1], at)

    async def _work(self, endpoint: Endpoint) -> None:
        try:
            while await self.send_due(endpoint):
                pass
        except DatabaseFault as fault:
            _log.warning("webhooks were not sent, tried again soon", reason=str(fault))

    @staticmethod
    async def _forever(do: Callable[[], Awaitable[None]], bell: Bell, seconds: float) -> None:
        while True:
            strokes = bell.strokes
            try:
                await do()
            except DatabaseFault as fault:
                _log.warning("not done, tried again soon", reason=str(fault))
            await bell.after(strokes, seconds)


def _outcome(sending: asyncio.Task[Outcome]) -> Outcome | None:
    """Return what a try came to, or None for one that was broken off; a fault of ours is one that is tried again."""
    if sending.cancelled():
        return None
    error = sending.exception()
    return sending.result() if error is None else Outcome(None, repr(error)[:ANSWER_BYTES_MAX])


def _tried(claim: Claim, outcome: Outcome | None) -> Tried:
    """Return what a try comes to; one that was broken off is due at once."""
    at = clock.now()
    if outcome is None:
        return Tried(claim, "pending", at, None, "it was broken off: the worker ended")
    if outcome.is_taken:
        return Tried(claim, "delivered", at, outcome.status, outcome.answer)
    if outcome.is_gone:
        return Tried(claim, "dead", at, outcome.status, outcome.answer)
    state, next_at = deliveries.after_failure(claim, at=at, chance=random.random())  # noqa: S311 - spreads, keeps no secret
    return Tried(claim, state, next_at, outcome.status, outcome.answer)

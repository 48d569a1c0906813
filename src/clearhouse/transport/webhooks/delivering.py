"""Delivering: from the log to the receivers, for as long as a worker lives.

Promise: every endpoint has an errand with places of its own, so one that is slow or dead holds nobody back; what is taken
when a worker ends is given back at once, and what a worker that was killed had taken is sent again, under the same id.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.db.listening import Bell, listen
from clearhouse.kernel.journal.readers import CHANNEL
from clearhouse.kernel.webhooks import deliveries
from clearhouse.transport.webhooks.errands import Endpoint, Errand
from clearhouse.transport.webhooks.sending import Sender

SWEEP_SECONDS = 0.5
FORGET_SECONDS = 3_600.0
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
        self._errands: dict[Endpoint, Errand] = {}

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
            if endpoint in self._errands:
                self._errands[endpoint].more()
            else:
                errand = self._errands[endpoint] = Errand(self.database, self.sender, endpoint)
                tasks.create_task(self._sent(endpoint, errand))

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

    async def send_due(self, endpoint: Endpoint) -> None:
        """Send all that is due for an endpoint."""
        await self._sent(endpoint, Errand(self.database, self.sender, endpoint))

    async def _sent(self, endpoint: Endpoint, errand: Errand) -> None:
        try:
            if await errand.run():
                self.bell.strike()  # there is room for what the log has kept for this endpoint
        except DatabaseFault as fault:
            _log.warning("webhooks were not sent, tried again soon", reason=str(fault))
        finally:
            self._errands.pop(endpoint, None)

    @staticmethod
    async def _forever(do: Callable[[], Awaitable[None]], bell: Bell, seconds: float) -> None:
        while True:
            strokes = bell.strokes
            try:
                await do()
            except DatabaseFault as fault:
                _log.warning("not done, tried again soon", reason=str(fault))
            await bell.after(strokes, seconds)

"""Delivering: from the log to the receivers, for as long as a worker lives.

Promise: every endpoint has an errand with places of its own, so one that is slow or dead holds nobody back; what is taken
when a worker ends is given back at once, and what a worker that was killed had taken is sent again, under the same id.
"""

import asyncio

import structlog

from clearhouse import clock
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.db.listening import listen
from clearhouse.kernel.db.loops import heed, one_by_one
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
            loops = self.database.loops
            tasks.create_task(loops.forever("forget_deliveries", self.forget, FORGET_SECONDS))
            tasks.create_task(loops.forever("webhooks", lambda: self.turn(tasks), SWEEP_SECONDS, bell=self.bell))

    async def turn(self, tasks: asyncio.TaskGroup) -> None:
        """Make deliveries from what is new, and set every endpoint that has something due to work, with every page read."""
        books = await self._listening()
        while books:
            try:
                books = await self._spread_once(books)
            finally:  # what was made is sent, whichever book is broken
                await self._set_out(tasks)

    async def _set_out(self, tasks: asyncio.TaskGroup) -> None:
        async with self.database.writing() as tx:
            due = await deliveries.due(tx, clock.now())
        heed()  # nobody sets out any more while we are being stopped
        for endpoint in due:
            if endpoint in self._errands:
                self._errands[endpoint].more()
            else:
                errand = self._errands[endpoint] = Errand(self.database, self.sender, endpoint)
                tasks.create_task(self._sent(endpoint, errand))

    async def spread(self) -> None:
        """Make the deliveries of everything that is new, in every book."""
        books = await self._listening()
        while books:
            books = await self._spread_once(books)

    async def _listening(self) -> list[int]:
        async with self.database.writing() as tx:
            return await deliveries.books_listening(tx)

    async def _spread_once(self, books: list[int]) -> list[int]:
        """Read a page of the log of each book, and return which of them may have more: a long one holds up no other."""
        further: list[int] = []

        async def page(book: int) -> int:
            async with self.database.writing(book=book) as tx:
                more = await deliveries.spread(tx, clock.now())
            further.extend([book] if more else [])
            return 1

        await one_by_one(books, page)
        return further

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
        except Exception as error:  # noqa: BLE001 - a fault of ours: the other endpoints go on, and this one is tried again
            _log.error("webhooks were not sent, tried again soon", endpoint=str(endpoint[1]), exc_info=error)
        finally:
            self._errands.pop(endpoint, None)

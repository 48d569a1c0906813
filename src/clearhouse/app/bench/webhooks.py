"""The bench of webhooks: from the journal to a receiver in a process of its own, beside posting the same bytes alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from secrets import token_bytes
from time import perf_counter
from uuid import UUID

import httpx

from clearhouse import clock, ids
from clearhouse.app.bench.events import write
from clearhouse.app.bench.houses import WrongCount
from clearhouse.app.bench.rounds import Contestant
from clearhouse.asking import Asked
from clearhouse.kernel.access.sealing import KEY_BYTES, SEALING, Key
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.webhooks import deliveries, endpoints
from clearhouse.kernel.webhooks.endpoints import AddedWebhook, AddWebhook, DisableWebhook
from clearhouse.transport.bus.envelopes import body
from clearhouse.transport.webhooks.addresses import Network
from clearhouse.transport.webhooks.delivering import Courier
from clearhouse.transport.webhooks.errands import AT_ONCE
from clearhouse.transport.webhooks.sending import Sender

BOOK = 1
MANY = 4
TYPE = "bench.sent"
ALONE = "posting webhooks alone"
DELIVERED = """
SELECT count(*) AS count FROM webhook_delivery
WHERE book = %(book)s AND endpoint = ANY(%(endpoints)s::uuid[]) AND state = 'delivered'
"""


@dataclass(slots=True)
class Bench:
    """Events to be sent, who takes them, and who adds webhooks."""

    database: Database
    url: str
    by: UUID
    told: Sequence[Event]
    endpoints: int

    async def through(self, _seconds: float) -> float:
        """Return how many deliveries a second are made of the log and taken by the receiver, as both say."""
        own, before = await self._added(), await self._taken()
        courier = Courier(self.database, _sender())
        start = perf_counter()
        await self._drained(courier)
        elapsed = perf_counter() - start
        await courier.sender.close()
        async with self.database.writing(book=BOOK) as tx:
            names = [DisableWebhook(ids.text(endpoints.PREFIX, each)) for each in own]
            await endpoints.disable_webhooks(tx, [Asked(each, ids.fresh(), self.by) for each in names], clock.now())
            found = int(str((await tx.tuples(DELIVERED, {"book": BOOK, "endpoints": array(own)}))[0][0]))
        await self._check(before, found)
        return found / elapsed

    async def alone(self, _seconds: float) -> float:
        """Return how many a second the same sender posts, as many at once, of what is ready in memory."""
        before, sender, bodies = await self._taken(), _sender(), iter([body(each) for each in self.told])

        async def post() -> None:
            for each in bodies:
                await sender.send(self.url, each, {})

        start = perf_counter()
        await asyncio.gather(*(post() for _ in range(AT_ONCE)))
        elapsed = perf_counter() - start
        await sender.close()
        await self._check(before, len(self.told))
        return len(self.told) / elapsed

    async def _added(self) -> list[UUID]:
        """Add webhooks that stand in the log before the events."""
        async with self.database.writing(book=BOOK) as tx:
            asked = [Asked(AddWebhook(self.url, types=[TYPE]), ids.fresh(), self.by) for _ in range(self.endpoints)]
            for answer in await endpoints.add_webhooks(tx, asked, clock.now()):
                if not isinstance(answer, AddedWebhook):
                    raise answer
            own, first = [each.id for each in asked], self.told[0].cursor
            await tx.do(
                endpoints.sql["move_webhooks"], book=BOOK, ids=array(own), numbers=array([first.number] * len(own)),
                places=array([first.place - 1] * len(own)),
            )  # fmt: skip
        return own

    async def _drained(self, courier: Courier) -> None:
        """Do what a worker does until nothing is left to send, without its rests."""
        due = [(BOOK, ids.NOBODY)]
        while due:
            await courier.spread()
            async with self.database.writing() as tx:
                due = await deliveries.due(tx, clock.now())
            await asyncio.gather(*(courier.send_due(each) for each in due))

    async def _check(self, before: int, found: int) -> None:
        expected, taken = self.endpoints * len(self.told), await self._taken() - before
        if (found, taken) != (expected, expected):
            raise WrongCount(name="webhooks", acknowledged=str(expected), found=f"{found}, and {taken} with the receiver")

    async def _taken(self) -> int:
        async with httpx.AsyncClient() as asking:
            return int((await asking.get(self.url)).text)


def _sender() -> Sender:
    return Sender(Network((ip_network("127.0.0.0/8"),)))


async def contestants(database: Database, url: str, by: UUID, count: int) -> list[Contestant]:
    """Return what is measured of webhooks, so many events for one and for several."""
    if not SEALING.keys:  # the secrets of webhooks are sealed, as they would be
        SEALING.use([Key.of(token_bytes(KEY_BYTES))])
    told = await write(database, TYPE, count)
    one, many = Bench(database, url, by, told, 1), Bench(database, url, by, told[-max(1, count // MANY) :], MANY)
    name, unit = "webhooks to one receiver", "deliveries/s"
    return [
        Contestant(ALONE, unit, one.alone),
        Contestant(name, unit, one.through, ALONE),
        Contestant(f"webhooks, {MANY} of them", unit, many.through, name),
    ]

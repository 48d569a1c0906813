"""A worker that is killed in the middle of its deliveries: every event arrives, and what arrives twice has one id."""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Any

from clearhouse.kernel.db.database import Database
from hooking import Hooks
from house import SECRETS_KEY, House
from receiving import Receiver, Taken, fine
from serving import program
from trying import SOAK

EVENTS = 400 if SOAK else 60
KILLS = 10 if SOAK else 2
OPENED = "ledger.account_opened"
SECONDS_MAX = 60.0


class Stubborn:
    """Answers some, and keeps the others waiting for as long as it likes."""

    def __init__(self) -> None:
        self.lets = asyncio.Event()
        self.count = 0

    async def __call__(self, taken: Taken) -> bytes:
        self.count += 1
        if self.count % 3 == 0 and not self.lets.is_set():
            await self.lets.wait()
            return b""
        return await fine(taken)


async def delivered(database: Database) -> int:
    async with database.writing() as tx:
        [(count,)] = await tx.tuples("SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'")
    return int(str(count))


async def until_delivered(database: Database, receiver: Receiver, count: int) -> None:
    """Look whenever something has come, until so many are delivered."""
    async with asyncio.timeout(SECONDS_MAX):
        while await delivered(database) < count:
            async with receiver.news:
                try:
                    await asyncio.wait_for(receiver.news.wait(), 0.2)
                except TimeoutError:
                    continue


async def test_every_event_arrives_however_often_the_worker_is_killed_and_each_has_one_id(
    house: House, owner_dsn: str, open_folder: Path
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="killed-", dir=open_folder))
    stubborn = Stubborn()
    settings: dict[str, Any] = {"DATABASE_URL": owner_dsn, "WEBHOOK_NETWORKS": "127.0.0.0/8", "SECRETS_KEYS": SECRETS_KEY}
    async with Hooks.opened(house) as hooks, Receiver.opened(stubborn) as receiver:
        webhook = await hooks.add(receiver.url, OPENED)
        await hooks.happen(*(f"shop:{number}" for number in range(EVENTS)))
        for _ in range(KILLS):
            seen = len(receiver.taken)
            with program(folder, verb="worker", **settings) as worker:
                await receiver.until(seen + 7)
                await asyncio.to_thread(worker.end, signal.SIGKILL)
            await hooks.hurry("UPDATE webhook_delivery SET next_at = clock_timestamp() WHERE state = 'pending'")
        assert "pending" in await hooks.states(webhook)
        stubborn.lets.set()
        with program(folder, verb="worker", **settings):
            await until_delivered(house.database, receiver, EVENTS)
        assert await hooks.states(webhook) == ["delivered"] * min(EVENTS, 100)
        codes = {each.event["data"]["code"] for each in receiver.taken}
        assert codes == {f"shop:{number}" for number in range(EVENTS)}
        assert len({(each.id, each.event["data"]["code"]) for each in receiver.taken}) == EVENTS
        assert len(receiver.taken) > EVENTS

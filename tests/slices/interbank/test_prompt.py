"""A confirmation that comes late is heard by whoever looks at the time and is notified, not at the next sweep."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import pytest

from clearhouse.kernel.journal.sequencing import Sequencer
from clearhouse.kernel.pipelines import queues
from clearhouse.kernel.pipelines.queues import Queues
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.slices.interbank import engine
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.settlement import Settlement, State
from house import House
from serving import until
from town import Town

LISTENERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'clearhouse_jobs' AND query LIKE 'LISTEN%'
"""


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no sweep come in time: what happens was woken."""
    monkeypatch.setattr(queues, "SWEEP_SECONDS", 3_600.0)


@asynccontextmanager
async def at_work(town: Town, owner_dsn: str) -> AsyncGenerator[None]:
    """Let the engine work as a worker does, from when its queues hear what they are told."""
    database, wakes = town.house.database, Wakes(engine.STAGES)
    working = Queues(database, wakes, town.house.door.committed)
    tasks = [asyncio.create_task(each) for each in (working.run(), Sequencer(database, working.committed, wakes).run())]
    try:
        await listening(owner_dsn, len(working.names))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def listening(owner_dsn: str, count: int) -> None:
    """Wait until the queues hear what they are told: a notice before that would come at the next sweep."""

    def heard() -> bool:
        with psycopg.connect(owner_dsn) as owner:
            return owner.execute(LISTENERS).fetchall() == [(count,)]

    await asyncio.to_thread(until, heard)


async def ended(town: Town, settlement: Settlement) -> Settlement:
    """Wait until a settlement has come to its end."""
    async with asyncio.timeout(60):
        while (found := await town.show(settlement)).ended_at is None:  # noqa: ASYNC110 - it happens in the rows
            await asyncio.sleep(0)
    return found


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("seconds", [0.0, 1.5], ids=["at once", "late"])
async def test_a_confirmation_is_heard_without_any_sweep(town: Town, owner_dsn: str, seconds: float) -> None:
    await town.bank.control.lie(Lie(Fault.SLOW, seconds=seconds))
    async with at_work(town, owner_dsn):
        found = await ended(town, await town.execute())
    assert (found.state, await town.paid(found)) == (State.COMPLETED, (1, "100.00"))

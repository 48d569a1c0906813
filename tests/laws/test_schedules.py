"""Four workers, one clock: each tick of each schedule fires once, and what it set going is done once."""

import asyncio
from contextlib import AsyncExitStack
from random import Random

import psycopg
import pytest

from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.pipelines import declared, schedules
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.declared import Firing, Job
from clearhouse.kernel.pipelines.wakes import Wakes
from house import House, ok
from trying import SOAK

WORKERS = 4
SCHEDULES = 200 if SOAK else 25
TICKS = 50 if SOAK else 4
# No key: what is done twice is there twice.
TABLE = """
CREATE TABLE clearhouse.rung (firing uuid);
GRANT INSERT ON clearhouse.rung TO clearhouse_writer;
"""
MISSED = "UPDATE clearhouse.schedule SET next_at = clock_timestamp() - interval '3 hours'"
FIRINGS = (
    "SELECT count(*), count(DISTINCT (schedule, due_at)), count(*) FILTER (WHERE state = 'done') FROM clearhouse.firing"
)


async def ring(tx: Tx, firing: Firing) -> None:
    await tx.do("INSERT INTO rung (firing) VALUES (%(id)s)", id=firing.id)


async def worked(database: Database) -> None:
    """Do what a worker does, for as long as another might have left something."""
    advancer = Advancer(database, wake=Wakes(schedules.STAGES), chance=Random(1))
    for _ in range(WORKERS):
        for stage in schedules.STAGES:
            await advancer.run(stage)


async def test_each_tick_fires_once_with_four_workers(
    house: House, app_dsn: str, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(declared.JOBS, "test.ring", Job("test.ring", "a bell rings", ring))
    operator = await house.caller("operator")
    for number in range(SCHEDULES):
        body = {"name": f"bell-{number}", "cron": "0 3 * * *", "job": "test.ring"}
        ok(await operator.post("/api/v1/schedules", json=body))
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute(TABLE)
        async with AsyncExitStack() as stack:
            workers = [await Database.open(app_dsn, writers_max=2, readers_max=1) for _ in range(WORKERS)]
            for each in workers:
                stack.push_async_callback(each.close)
            for tick in range(1, TICKS + 1):
                owner.execute(MISSED)
                await asyncio.gather(*(worked(each) for each in workers))
                fired = tick * SCHEDULES
                assert owner.execute(FIRINGS).fetchone() == (fired, fired, fired)
                assert owner.execute("SELECT count(*) FROM clearhouse.rung").fetchone() == (fired,)

"""Pools: a database that was away is found again by whoever asks next, and one that does not answer is let go of."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from breaking import away, cut_connections
from clearhouse.kernel.db import database as places
from clearhouse.kernel.db import pools
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import Away, Lost
from clearhouse.kernel.db.pools import Pool

SIZE = 6
ATTEMPTS = 8
SECONDS_MAX = 60.0


@asynccontextmanager
async def opened(dsn: str) -> AsyncGenerator[Database]:
    database = await Database.open(dsn, writers_max=SIZE, readers_max=SIZE)
    try:
        yield database
    finally:
        await database.close()


def ways(database: Database) -> list[AbstractAsyncContextManager[Tx]]:
    return [database.writing(), database.reading([1])]


async def ask(ways: Iterable[AbstractAsyncContextManager[Tx]]) -> None:
    for way in ways:
        async with way as tx:
            assert await tx.tuples("SELECT 1") == [(1,)]


async def fill(database: Database) -> None:
    """Let as many connections as there may be be made, and come back."""
    all_here = asyncio.Barrier(2 * SIZE)

    async def hold(way: AbstractAsyncContextManager[Tx]) -> None:
        async with way as tx:
            await tx.tuples("SELECT 1")
            await all_here.wait()

    await asyncio.gather(*(hold(way) for _ in range(SIZE) for way in ways(database)))


async def failed(pool: Pool, times: int) -> None:
    """Wait until so many more attempts to connect have failed, and ask for nothing meanwhile."""
    before = pool.get_stats().get("connections_errors", 0)
    async with asyncio.timeout(SECONDS_MAX):
        while pool.get_stats().get("connections_errors", 0) < before + times:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.01)


async def test_however_many_connections_died_the_next_who_asks_is_answered(app_dsn: str, owner_dsn: str) -> None:
    async with opened(app_dsn) as database:
        await fill(database)
        await cut_connections(owner_dsn)
        await ask(ways(database))


async def test_a_database_that_was_away_for_long_is_found_by_who_asks_next(
    app_dsn: str, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "AGAIN_SECONDS", 0.02)
    async with opened(app_dsn) as database:
        await fill(database)
        monkeypatch.setattr(places, "WAIT_SECONDS_MAX", 0.2)
        with away(owner_dsn):
            for place, pool in enumerate((database.writers, database.readers)):
                while pool.get_stats()["pool_available"]:  # on a busy machine one asker does not get through all the dead
                    with pytest.raises(Away):
                        await ask([ways(database)[place]])
            for pool in (database.writers, database.readers):
                await failed(pool, ATTEMPTS)
        monkeypatch.setattr(places, "WAIT_SECONDS_MAX", 10.0)
        await ask(ways(database))


async def test_who_waits_while_it_is_away_is_answered_when_it_is_back(
    app_dsn: str, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(places, "WAIT_SECONDS_MAX", SECONDS_MAX)
    async with opened(app_dsn) as database:
        with away(owner_dsn):
            asking = [asyncio.create_task(ask([way])) for _ in range(2 * SIZE) for way in ways(database)]
            for pool in (database.writers, database.readers):
                await failed(pool, ATTEMPTS)
        await asyncio.gather(*asking)


async def test_a_reader_that_has_no_answer_is_told_so_in_time(app_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(app_dsn) as database:
        async with database.reading([1]) as tx:
            [(pid,)] = await tx.tuples("SELECT pg_backend_pid()")
        monkeypatch.setattr(places, "WAIT_SECONDS_MAX", 0.5)
        os.kill(int(str(pid)), signal.SIGSTOP)
        try:
            with pytest.raises(Away):
                await ask([database.reading([1])])
        finally:
            os.kill(int(str(pid)), signal.SIGCONT)
        monkeypatch.undo()
        await ask(ways(database))


async def test_after_the_cut_nobody_waits_whatever_they_waited_for(app_dsn: str) -> None:
    async with opened(app_dsn) as database:
        began = [asyncio.Event() for _ in range(2 * SIZE)]

        async def stay(way: AbstractAsyncContextManager[Tx], here: asyncio.Event) -> None:
            async with way as tx:
                await tx.tuples("SELECT 1")
                here.set()
                await tx.tuples("SELECT pg_sleep(3600)")

        staying = [way for _ in range(SIZE) for way in ways(database)]
        waiting = [asyncio.create_task(stay(way, here)) for way, here in zip(staying, began, strict=True)]
        await asyncio.gather(*(each.wait() for each in began))
        behind = [asyncio.create_task(ask([way])) for way in ways(database)]
        await asyncio.sleep(0)
        await database.lines.cut()
        told = await asyncio.gather(*waiting, *behind, return_exceptions=True)
        assert [type(each) for each in told] == [Lost] * 2 * SIZE + [Away] * 2
        with pytest.raises(Away):
            await ask(ways(database))

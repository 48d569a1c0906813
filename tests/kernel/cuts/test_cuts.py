"""Cuts, one step at a time: who waits for whom, and who finds which position."""

import asyncio

import psycopg
import pytest

from clearhouse import clock
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import Poison
from clearhouse.refusals import NotFound
from serving import until

MAIN = 1
WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
async def kept(database: Database) -> Database:
    """Give a database with two cuts."""
    await opened(database, "round", "month")
    return database


async def opened(database: Database, *names: str) -> None:
    async with database.writing(book=MAIN) as tx:
        cuts.open_cuts(tx, names, clock.now())


async def entered(database: Database, *names: str) -> dict[str, int]:
    async with database.writing(book=MAIN) as tx:
        return await cuts.enter(tx, names)


async def moved(database: Database, name: str, book: int = MAIN) -> int:
    async with database.writing(book=book) as tx:
        return (await cuts.move(tx, [name], clock.now()))[name]


def somebody_waits(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute(WAITING).fetchone() is not None


async def until_somebody_waits(dsn: str) -> None:
    await asyncio.to_thread(until, lambda: somebody_waits(dsn))


async def test_a_new_cut_stands_at_one_and_opening_it_again_leaves_it_where_it_is(kept: Database) -> None:
    assert await entered(kept, "month", "round") == {"month": 1, "round": 1}
    assert await moved(kept, "round") == 2
    await opened(kept, "round")
    assert await entered(kept, "month", "round") == {"month": 1, "round": 2}


async def test_an_unknown_cut_is_not_entered_and_not_moved(kept: Database) -> None:
    assert await entered(kept, "round", "cycle") == {"round": 1}
    async with kept.writing(book=MAIN) as tx:
        assert await cuts.move(tx, ["cycle", "month"], clock.now()) == {"month": 2}


async def test_a_closer_waits_for_a_writer_and_a_writer_who_comes_while_it_waits_is_on_the_new_side(
    kept: Database, owner_dsn: str
) -> None:
    async with kept.writing(book=MAIN) as tx:
        early = await cuts.enter(tx, ["round"])
        closing = asyncio.create_task(moved(kept, "round"))
        await until_somebody_waits(owner_dsn)
        coming = asyncio.create_task(entered(kept, "round"))
        assert await entered(kept, "month") == {"month": 1}
        assert not closing.done()
        assert not coming.done()
    assert (early, await closing, await coming) == ({"round": 1}, 2, {"round": 2})


async def test_a_writer_who_waited_for_a_closer_that_failed_finds_the_old_position(kept: Database, owner_dsn: str) -> None:
    coming: list[asyncio.Task[dict[str, int]]] = []

    async def fail() -> None:
        async with kept.writing(book=MAIN) as tx:
            assert await cuts.move(tx, ["round"], clock.now()) == {"round": 2}
            coming.append(asyncio.create_task(entered(kept, "round")))
            await until_somebody_waits(owner_dsn)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await coming[0] == {"round": 1}


async def test_writers_do_not_wait_for_each_other(kept: Database) -> None:
    async with kept.writing(book=MAIN) as tx:
        await cuts.enter(tx, ["month", "round"])
        assert await entered(kept, "round", "month") == {"month": 1, "round": 1}


async def test_a_cut_of_the_ledger_day_keeps_nobody_out_of_other_cuts(kept: Database) -> None:
    async with kept.writing(book=MAIN) as tx:
        await cuts.hold(tx, cuts.LEDGER_DAY)
        assert await entered(kept, "round") == {"round": 1}
        assert await moved(kept, "round") == 2


async def test_a_cut_of_a_name_is_another_one_in_another_book(house_of_two: Database) -> None:
    assert await moved(house_of_two, "round", 2) == 2
    assert await entered(house_of_two, "round") == {"round": 1}


@pytest.fixture
async def house_of_two(kept: Database, owner_dsn: str) -> Database:
    """Give a database with the same cut in two books."""
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("INSERT INTO clearhouse.book (name) VALUES ('other')")
    async with kept.writing(book=2) as tx:
        cuts.open_cuts(tx, ["round"], clock.now())
    return kept


@pytest.mark.parametrize("change", ["position = 1", "position = position + 2", "position = position"])
async def test_a_cut_goes_on_by_one_and_never_back(kept: Database, change: str) -> None:
    await moved(kept, "round")
    with pytest.raises(Poison, match="a cut moves on by one"):
        async with kept.writing(book=MAIN) as tx:
            await tx.do(f"UPDATE cut SET {change} WHERE book = 1 AND name = 'round'")


async def test_where_a_cut_stands_is_told_without_entering_it(kept: Database) -> None:
    await moved(kept, "round")
    async with kept.reading([MAIN]) as tx:
        assert await cuts.standing(tx, "round") == 2
        with pytest.raises(NotFound):
            await cuts.standing(tx, "cycle")

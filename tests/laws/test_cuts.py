"""The law of cuts: whoever writes in whatever process, each write lands on exactly one side, and what was summed stays so.

As a script this file is one of the processes that write.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator

import msgspec
import psycopg
import pytest

from clearhouse import clock
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import Stale
from crowd import crowd, go, told
from trying import SOAK

CUTS = ["cycle", "month", "round"]
MAIN = 1
MOVES = 2_000 if SOAK else 60
PROCESSES = 4
SECONDS_MAX = 110.0 if not SOAK else 3_000.0
WRITERS = 8

# A product's own table, as a product would have it: each row says behind which position of which cut it counts.
TALLY = """
CREATE TABLE clearhouse.tally (book int, cut text, position bigint, amount bigint);
CREATE INDEX tally_side ON clearhouse.tally (book, cut, position);
GRANT SELECT, INSERT ON clearhouse.tally TO clearhouse_writer;
"""
WRITE = """
INSERT INTO tally (book, cut, position, amount)
SELECT %(book)s, p.cut, p.position, %(amount)s FROM unnest(%(cuts)s::text[], %(positions)s::bigint[]) AS p (cut, position)
"""
SIDE = (
    "SELECT coalesce(sum(amount), 0)::bigint FROM tally WHERE book = %(book)s AND cut = %(cut)s AND position = %(position)s"
)

Side = tuple[str, int]


# One of the processes --------------------------------------------------------------------------------------------------


async def work(dsn: str) -> dict[str, int]:
    """Write until told to stop; return what was written to each cut, as far as it was committed."""
    database = await Database.open(dsn, writers_max=WRITERS)
    written: Counter[str] = Counter()
    await told_to_go()
    stop = asyncio.create_task(told_to_go())
    await asyncio.gather(*(write(database, written, stop) for _ in range(WRITERS)))
    await database.close()
    return dict(written)


async def told_to_go() -> None:
    """Say that everything is open, and wait until the others are as far."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


async def write(database: Database, written: Counter[str], stop: "asyncio.Task[None]") -> None:
    while not stop.done():
        names = random.sample(CUTS, random.choice([1, 1, 2, 3]))  # in whatever order: entering puts them into theirs
        amount, kept = random.randrange(1, 1_000), random.random() > 1 / 8
        try:
            async with database.writing(book=MAIN) as tx:
                places = await cuts.enter(tx, names)
                await tx.do(WRITE, book=MAIN, amount=amount, cuts=list(places), positions=list(places.values()))
                if not kept:
                    raise Stale("thought better of it")  # noqa: TRY301 - what a writer in trouble does
        except Stale:
            continue
        written.update(dict.fromkeys(places, amount))


# All of them ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def database(owner_dsn: str, app_dsn: str) -> AsyncGenerator[Database]:
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute(TALLY)
    opened = await Database.open(app_dsn)
    async with opened.writing(book=MAIN) as tx:
        cuts.open_cuts(tx, CUTS, clock.now())
    yield opened
    await opened.close()


async def side(tx: Tx, name: str, position: int) -> int:
    return msgspec.convert((await tx.tuples(SIDE, {"book": MAIN, "cut": name, "position": position}))[0][0], int)


async def close(database: Database, moves: int) -> dict[Side, int]:
    """Move random cuts on, and sum what is behind them right after; return the sums, by what was left behind."""
    sums: dict[Side, int] = {}
    for _ in range(moves):
        names = random.sample(CUTS, random.choice([1, 1, 2]))
        async with database.writing(book=MAIN) as tx:
            moved = await cuts.move(tx, names, clock.now())
        async with database.writing(book=MAIN) as tx:
            sums |= {(name, new - 1): await side(tx, name, new - 1) for name, new in moved.items()}
    return sums


async def sides(database: Database) -> dict[Side, int]:
    statement = "SELECT cut, position, sum(amount)::bigint FROM tally WHERE book = %(book)s GROUP BY cut, position"
    async with database.writing(book=MAIN) as tx:
        rows = msgspec.convert(await tx.tuples(statement, {"book": MAIN}), list[tuple[str, int, int]])
    return {(name, position): total for name, position, total in rows}


async def test_each_write_of_32_writers_lands_on_exactly_one_side_of_cuts_that_two_closers_move(
    database: Database, app_dsn: str
) -> None:
    async with crowd(__file__, app_dsn, of=PROCESSES, seconds=SECONDS_MAX) as running:
        await go(running)
        mine, theirs = await asyncio.gather(close(database, MOVES), close(database, MOVES))
        await go(running)
        written = await told(running)
    summed = mine | theirs
    assert len(summed) == len(mine) + len(theirs)  # no position was left twice
    final = await sides(database)
    assert {each: final.get(each, 0) for each in summed} == summed  # nothing came late
    assert any(summed.values())
    total: Counter[str] = Counter()
    for (name, _), amount in final.items():
        total[name] += amount
    assert total == written


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(asyncio.run(work(sys.argv[1]))).decode())

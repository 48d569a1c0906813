"""The law of records: whoever uploads and however often a round ends, each record is in exactly one round, once.

As a script this file is one of the processes that upload.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator

import msgspec
import pytest

from clearhouse import ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.roles import scopes_of
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.records import commands, merging, states, structures, uploads
from clearhouse.slices.records.rounds import End
from clearhouse.slices.records.structures import Create, Structure
from crowd import crowd, go, told
from trying import SOAK

ENDS = 600 if SOAK else 15
KEYS = 12
MAIN = 1
PROCESSES = 4 if SOAK else 2
SECONDS_MAX = 110.0 if not SOAK else 3_000.0
WRITERS = 32 // PROCESSES
CALLS = "calls"


def caller() -> Caller:
    scopes = {MAIN: scopes_of(["operator"]) | {commands.READ, commands.WRITE, commands.SETTLE_ROUND}}
    return Caller(ids.derived("the writer"), "writer", "org", books={"main": MAIN}, scopes=scopes)


# One of the processes --------------------------------------------------------------------------------------------------


async def work(dsn: str) -> dict[str, int]:
    """Upload until told to stop; return how many records of each key were counted, as far as was answered."""
    database = await Database.open(dsn)
    door = Door(database)
    async with database.reading([MAIN]) as tx:
        structure = await structures.find(tx, CALLS)
    counted: Counter[str] = Counter()
    await told_to_go()
    stop = asyncio.create_task(told_to_go())
    await asyncio.gather(*(upload(door, structure, counted, stop) for _ in range(WRITERS)))
    await door.close()
    await database.close()
    return dict(counted)


async def told_to_go() -> None:
    """Say that everything is open, and wait until the others are as far."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


async def upload(door: Door, structure: Structure, counted: Counter[str], stop: "asyncio.Task[None]") -> None:
    while not stop.done():
        keys = [f"key {random.randrange(KEYS)}" for _ in range(random.choice([1, 3, 20]))]
        body = b"\n".join(b'{"app":"%s","dur":1}' % key.encode() for key in keys)
        name = str(ids.fresh())
        command = uploads.uploaded(structure, uploads.read(structure, body), by="writer:org", organisation="org", name=name)
        for _ in range(random.choice([1, 1, 2])):  # some send it again, as if the answer had been lost
            answer = (await door.submit(commands.UPLOAD, [command], caller=caller(), book=MAIN))[0]
            assert not isinstance(answer, Refusal), answer
        counted.update(keys)


# All of them ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def door(app_dsn: str) -> AsyncGenerator[Door]:
    database = await Database.open(app_dsn)
    door = Door(database)
    create = Create(CALLS, ["dur"], "mcCounter", "app", "none", "writer:org")
    await door.submit(commands.CREATE, [create], caller=caller(), book=MAIN)
    yield door
    await door.close()
    await database.close()


async def end(door: Door, times: int) -> dict[int, dict[str, int]]:
    """End rounds, some to settle and some to hide them, and read each right after; return what they came to."""
    found: dict[int, dict[str, int]] = {}
    async with door.database.reading([MAIN]) as tx:
        structure = await structures.find(tx, CALLS)
    for _ in range(times):
        kind = random.choice([commands.SETTLE, commands.SETTLE, commands.CLEAR])
        answer = (await door.submit(kind, [End(CALLS, structure.number, 1, "writer:org")], caller=caller(), book=MAIN))[0]
        assert not isinstance(answer, Refusal), answer
        found[answer.round] = await round_of(door, structure, answer.round)
    return found


async def round_of(door: Door, structure: Structure, number: int) -> dict[str, int]:
    async with door.database.reading([MAIN]) as tx:
        there = await states.aggregates(tx, structure, number)
    return {key: int(metrics["dur"]) for key, metrics in there.items()}


RECOUNTED = """
SELECT count(*) FROM (
    SELECT u.structure, u.round, r.key, count(*) AS count FROM records_record AS r
    JOIN records_upload AS u ON u.book = r.book AND u.id = r.upload WHERE u.book = 1 GROUP BY 1, 2, 3
) AS r
FULL JOIN (
    SELECT u.structure, u.round, s.key, sum(s.count) AS count FROM records_staged AS s
    JOIN records_upload AS u ON u.book = s.book AND u.id = s.upload WHERE s.book = 1 GROUP BY 1, 2, 3
) AS d USING (structure, round, key)
FULL JOIN (SELECT * FROM records_aggregate WHERE book = 1) AS a USING (structure, round, key)
WHERE (r.count = d.count AND d.count = a.count) IS NOT TRUE
"""
GAPS = "SELECT count(*) - max(change) FROM records_change WHERE book = 1"


@pytest.mark.timeout(3_600)
async def test_each_record_of_32_writers_is_in_one_round_once_however_often_rounds_end(door: Door, app_dsn: str) -> None:
    behind = asyncio.create_task(merging.merge(door.database))  # sums are merged while records come and rounds end
    async with crowd(__file__, app_dsn, of=PROCESSES, seconds=SECONDS_MAX) as running:
        await go(running)
        mine, theirs = await asyncio.gather(end(door, ENDS), end(door, ENDS))
        await go(running)
        counted = await told(running)
    behind.cancel()
    await merging.merge_due(door.database)
    ended = mine | theirs
    async with door.database.reading([MAIN]) as tx:
        structure = await structures.find(tx, CALLS)
        assert await tx.tuples(RECOUNTED) == [(0,)]  # records, what changes added, and the sums agree, line by line
        assert await tx.tuples(GAPS) == [(0,)]
    assert sorted(ended) == list(range(1, 2 * ENDS + 1)) == list(range(1, structure.round))
    final = {number: await round_of(door, structure, number) for number in (*ended, structure.round)}
    assert {number: final[number] for number in ended} == ended  # nothing came late
    total: Counter[str] = Counter()
    for sums in final.values():
        total.update(sums)
    assert total == counted


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(asyncio.run(work(sys.argv[1]))).decode())

"""The bench of stages: how many rows a second a stage moves, and how soon after a commit the work that it made begins."""

import asyncio
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.app import worker
from clearhouse.app.bench.houses import WrongCount
from clearhouse.app.bench.rounds import Contestant
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.stages import Moves, NotYet, Stage
from clearhouse.kernel.pipelines.wakes import Wakes

BOOK = 1
PAUSE_SECONDS = 0.02
SCHEDULE = ids.derived("bench", "schedule")
ADD_SCHEDULE = """
INSERT INTO schedule (book, id, name, state, cron, zone, job, arguments, set_at, set_by)
SELECT %(book)s, %(id)s, 'bench', 'paused', '0 0 1 1 *', 'UTC', 'bench', '{}', %(at)s, id FROM principal LIMIT 1
"""
ADD = """
INSERT INTO firing (book, id, schedule, job, arguments, due_at, fired_at, by_hand, state, next_at)
SELECT %(book)s, n.id, %(schedule)s, %(job)s, '{}', %(at)s, %(at)s, true, 'waiting', %(at)s
FROM unnest(%(ids)s::uuid[]) AS n (id)
"""
MOVE = """
UPDATE firing AS f SET state = 'done', done_at = %(at)s, next_at = NULL
FROM unnest(%(ids)s::uuid[]) AS n (id)
CROSS JOIN LATERAL (SELECT h.ctid AS place FROM firing AS h WHERE h.book = %(book)s AND h.id = n.id OFFSET 0) AS held
WHERE f.ctid = held.place AND f.state = 'waiting'
"""


@dataclass(slots=True)
class Bench:
    """Rows to move, by a stage that does nothing else, and a record of when it began."""

    database: Database
    committed: asyncio.Event
    size: int
    wakes: int
    begun: asyncio.Queue[float] = field(default_factory=asyncio.Queue[float])
    late: list[float] = field(default_factory=list[float])
    moved: int = 0

    @property
    def stage(self) -> Stage:
        """Return a stage that does nothing but move rows."""
        return Stage("bench.move", "bench", "firing", "waiting", Moves(self._move))

    async def _move(self, tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
        self.begun.put_nowait(perf_counter())
        self.moved += await tx.do(MOVE, book=tx.book, ids=array(batch), at=at)
        return {}

    async def add(self, count: int, *stages: str) -> None:
        """Make rows that are due, and say which stages they are for."""
        at = clock.now()
        async with self.database.writing(book=BOOK) as tx:
            made = array([ids.fresh() for _ in range(count)])
            tx.later(ADD, book=BOOK, ids=made, schedule=SCHEDULE, job="bench", at=at)
            tx.wake(*stages)
            if stages:
                writing.write(tx, [Line("bench.added", "1")], book=BOOK, kind="bench.add", by=writing.SYSTEM, at=at)

    async def stage_alone(self, _seconds: float) -> float:
        """Return how many rows a second the stage moves."""
        await self.add(self.size)
        advancer, before = Advancer(self.database, wake=Wakes([self.stage]), chance=random.Random(1)), self.moved
        start = perf_counter()
        await advancer.run(self.stage)
        elapsed = perf_counter() - start
        if self.moved - before != self.size:
            raise WrongCount(name="stage", acknowledged=str(self.size), found=str(self.moved - before))
        self.begun = asyncio.Queue()
        return self.size / elapsed

    async def update(self, _seconds: float) -> float:
        """Return how many rows a second one UPDATE moves, all at once."""
        await self.add(self.size)
        at = clock.now()
        start = perf_counter()
        async with self.database.writing(book=BOOK) as tx:
            found = await tx.tuples("SELECT id FROM firing WHERE book = 1 AND state = 'waiting' AND next_at IS NOT NULL")
            await tx.do(MOVE, book=BOOK, ids=array(each for (each,) in found), at=at)
        return self.size / (perf_counter() - start)

    async def commit(self, _seconds: float) -> float:
        """Return how many milliseconds it takes to commit one line in the journal."""
        start = perf_counter()
        for _ in range(self.wakes):
            async with self.database.writing(book=BOOK) as tx:
                writing.write(tx, [Line("bench.added", "1")], book=BOOK, kind="bench.add", by=writing.SYSTEM, at=clock.now())
        return (perf_counter() - start) / self.wakes * 1_000

    async def median(self, _seconds: float) -> float:
        """Return how many milliseconds after the commit that made work its stage begins, while a worker is idle."""
        working = asyncio.create_task(worker.work(self.database, self.committed, stages=[self.stage]))
        self.late = []
        try:
            await self._woken()  # the worker is up once it has done this
            for _ in range(self.wakes):
                await asyncio.sleep(PAUSE_SECONDS * (1 + random.random()))
                self.late.append(await self._woken())
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        return statistics.median(self.late)

    async def worst(self, _seconds: float) -> float:
        """Return what 95 of 100 of the same wake-ups were not later than."""
        if not self.late:
            await self.median(0)
        return sorted(self.late)[int(len(self.late) * 0.95)]

    async def _woken(self) -> float:
        self.begun = asyncio.Queue()
        await self.add(1, self.stage.name)
        start = perf_counter()
        self.committed.set()
        return (await self.begun.get() - start) * 1_000


async def contestants(database: Database, rows: int, wakes: int) -> list[Contestant]:
    """Return what is measured of stages, of so many rows and wake-ups each turn."""
    async with database.writing(book=BOOK) as tx:
        await tx.do(ADD_SCHEDULE, book=BOOK, id=SCHEDULE, at=clock.now())
    bench = Bench(database, asyncio.Event(), rows, wakes)
    return [
        Contestant("one UPDATE", "rows/s", bench.update),
        Contestant("a stage that moves rows", "rows/s", bench.stage_alone, "one UPDATE", asked=10_000),
        Contestant("one commit", "milliseconds", bench.commit),
        Contestant("wake-up after the commit", "milliseconds", bench.median, "one commit", asked=20),
        Contestant("wake-up, 95 of 100", "milliseconds", bench.worst, "one commit", asked=20),
    ]

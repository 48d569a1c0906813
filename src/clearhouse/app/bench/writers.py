"""Writers into one structure of records, each with a door and a connection of its own, while its rounds are settled or not.

Promise: what they were told is counted is counted once, in whichever round; a record lost or doubled fails the bench.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

from clearhouse.app.bench.houses import WrongCount
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.records import commands, merging, uploads
from clearhouse.slices.records.rounds import End
from clearhouse.slices.records.structures import Structure

SECONDS_BETWEEN_SETTLES = 0.1
SECONDS_BETWEEN_UPLOADS = 0.5
TOTAL = """
SELECT coalesce(sum(t.count), 0)::bigint AS count FROM (
    SELECT a.count FROM records_aggregate AS a WHERE a.book = %(book)s AND a.structure = %(structure)s
    UNION ALL
    SELECT w.count FROM records_pending AS p CROSS JOIN LATERAL (
        SELECT s.count FROM records_staged AS s WHERE s.book = p.book AND s.upload = p.upload AND s.key > p.merged OFFSET 0
    ) AS w
    WHERE p.book = %(book)s AND p.structure = %(structure)s
) AS t
"""


@dataclass(slots=True)
class Writers:
    """Who writes, into what, and which records."""

    database: Database
    doors: list[Door]
    caller: Caller
    book: int
    structure: Structure
    lines: bytes
    large: int
    longest: float = 0.0

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, dsn: str, count: int, *, caller: Caller, book: int, structure: Structure, lines: bytes, large: int
    ) -> "AsyncGenerator[Writers]":
        """Give so many writers, connected, for as long as the block lasts; a large upload has so many keys."""
        database = await Database.open(dsn, writers_max=count + 2)
        writers = cls(database, [Door(database) for _ in range(count)], caller, book, structure, lines, large)
        await asyncio.gather(*(writers.upload(each) for each in writers.doors))
        try:
            yield writers
        finally:
            for each in writers.doors:
                await each.close()
            await database.close()

    async def undisturbed(self, seconds: float) -> float:
        """Return the milliseconds of the longest wait of any writer while nothing but writing happens."""
        await self._written(seconds)
        return self.longest * 1e3

    async def settled(self, seconds: float) -> float:
        """Return the milliseconds of the longest wait of any writer, or settler, while round after round is settled."""
        await asyncio.gather(self._written(seconds), self._settle(perf_counter() + seconds))
        return self.longest * 1e3

    async def merged(self, seconds: float) -> float:
        """Return the same while a large upload is merged behind all of them, as the program itself does it."""
        keys = b"\n".join(b'{"app":"key %d","op":1}' % number for number in range(self.large))
        await self._sent(self.doors[0], keys)
        behind = asyncio.create_task(merging.merge(self.database))
        longest = await self.settled(seconds)
        behind.cancel()
        await asyncio.gather(behind, return_exceptions=True)
        await merging.merge_due(self.database)
        return longest

    async def _written(self, seconds: float) -> None:
        self.longest = 0.0
        before, until = await total(self.database, self.book, self.structure), perf_counter() + seconds
        counts = await asyncio.gather(*(self._again(each, until) for each in self.doors))
        found = await total(self.database, self.book, self.structure) - before
        if found != sum(counts):
            raise WrongCount(name="settled under writers", acknowledged=str(sum(counts)), found=str(found))

    async def _again(self, door: Door, until: float) -> int:
        """Write now and then, so that who waits does not wait for the other writers' sake."""
        count = 0
        first = min(2 * SECONDS_BETWEEN_UPLOADS, (until - perf_counter()) / 2)
        await _rest(random.uniform(0, first), until)  # nor do all of them begin at once
        while (start := perf_counter()) < until:
            count += await self.upload(door)
            self.longest = max(self.longest, perf_counter() - start)
            await _rest(random.uniform(0, 2 * SECONDS_BETWEEN_UPLOADS), until)
        return count

    async def upload(self, door: Door) -> int:
        """Upload once, and return how many records were counted."""
        return await self._sent(door, self.lines)

    async def _sent(self, door: Door, lines: bytes) -> int:
        command = uploads.uploaded(self.structure, uploads.read(self.structure, lines), by="the bench:", organisation="")
        answer = (await door.submit(commands.UPLOAD, [command], caller=self.caller, book=self.book))[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer.records

    async def _settle(self, until: float) -> None:
        door, structure = Door(self.database), self.structure
        while (start := perf_counter()) < until:
            end = End(structure.settleid, structure.number, 1, "the bench:")
            await door.submit(commands.SETTLE, [end], caller=self.caller, book=self.book)
            self.longest = max(self.longest, perf_counter() - start)
            await _rest(SECONDS_BETWEEN_SETTLES, until)
        await door.close()


async def _rest(seconds: float, until: float) -> None:
    await asyncio.sleep(max(0.0, min(seconds, until - perf_counter())))


async def total(database: Database, book: int, structure: Structure) -> int:
    """Return how many records are counted into a structure, in whichever round."""
    async with database.reading([book]) as tx:
        return int(str((await tx.tuples(TOTAL, {"book": book, "structure": structure.number}))[0][0]))

"""The sequencer: numbers committed rows without a gap and chains their digests, off the hot path.

What a transaction said it made work for is passed on here (`wake`), in the same step, so that writers need not.

Promise: every cursor is such a number, so a reader that keeps one misses nothing and sees nothing twice; any number of
processes may run it, one at a time works; after a crash the next one goes on where the last committed.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from clearhouse import clock
from clearhouse.kernel.db.arrays import array, hexes
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.loops import went_well
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line

sql = Statements.of("clearhouse.kernel.journal", "journal.sql")
ROWS_MAX = 2_000
SWEEP_SECONDS = 0.1
GATHER_SECONDS = 0.005
GATHER_SECONDS_MAX = 0.02  # where commits come without end and nobody waits to be woken
SEALED_EVERY = 1_000
GENESIS = bytes(32)

Wake = Callable[[Tx, Sequence[str]], None]


def nobody(_: Tx, __: Sequence[str]) -> None:
    """Wake no stage."""


@dataclass(frozen=True, slots=True)
class _Unsealed:
    id: int
    book: int
    digest: bytes
    wakes: list[str] | None
    number: int | None
    chain: bytes | None


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of a book's chain."""

    book: int
    number: int
    chain: bytes


def link(chain: bytes, number: int, digest: bytes) -> bytes:
    """Return the chain after one more row."""
    return hashlib.sha256(chain + number.to_bytes(8, "big") + digest).digest()


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows got their numbers, and whether they made work for somebody."""

    rows: int = 0
    woke: bool = False


async def sweep(database: Database, wake: Wake = nobody) -> int:
    """Give numbers to what is committed and has none, wake whom it made work for; return how many rows that were."""
    return (await _sweep(database, wake)).rows


async def _sweep(database: Database, wake: Wake) -> Swept:
    async with database.writing() as tx:
        tx.later(sql["lease"])
        rows = await tx.rows(sql["unsealed"], _Unsealed, most=ROWS_MAX)
        _seal(tx, rows)
        woken = {stage for row in rows for stage in row.wakes or ()}
        if woken:
            wake(tx, sorted(woken))
    return Swept(len(rows), bool(woken))


def _seal(tx: Tx, rows: Sequence[_Unsealed]) -> None:
    if not rows:
        return
    heads = {row.book: Head(row.book, row.number or 0, row.chain or GENESIS) for row in rows}
    links: list[tuple[int, int, bytes]] = []
    due: dict[int, Head] = {}
    for row in rows:
        head = heads[row.book]
        number = head.number + 1
        heads[row.book] = Head(row.book, number, link(head.chain, number, row.digest))
        links.append((row.id, number, heads[row.book].chain))
        if number % SEALED_EVERY == 0:
            due[row.book] = heads[row.book]
    numbers, chains = array([number for _, number, _ in links]), hexes([chain for _, _, chain in links])
    tx.later(sql["seal"], ids=array([each for each, _, _ in links]), numbers=numbers, chains=chains)
    tx.later(sql["announce"])
    for book, head in due.items():
        told = Line("audit.sealed", f"{head.number}", {"number": head.number, "chain": head.chain.hex()})
        writing.write(tx, [told], book=book, kind="audit.seal", by=writing.SYSTEM, at=clock.now())


class Sequencer:
    """Sweeps whenever somebody has committed, and now and then for those that nobody spoke of."""

    def __init__(self, database: Database, committed: asyncio.Event, wake: Wake = nobody) -> None:
        """Listen for commits of this process; those of others are found by the sweep."""
        self.database = database
        self.wake = wake
        self.committed = committed
        self.sealed = asyncio.Condition()
        self._swept = Swept()
        self._gather = GATHER_SECONDS

    async def run(self) -> None:
        """Sweep until cancelled; a database that is away is asked again."""
        with self.database.loops.counted("sequencer") as turning:
            while True:
                self.committed.clear()
                if await went_well(turning.name, self._sweep):
                    turning.came_round()
                if self._swept.rows < ROWS_MAX:
                    await self._pause()

    async def _sweep(self) -> None:
        self._swept = Swept()
        self._swept = await _sweep(self.database, self.wake)
        if self._swept.rows:
            async with self.sealed:
                self.sealed.notify_all()

    async def _pause(self) -> None:
        """Wait for a commit; where they come one after another, let more of them come: one sweep numbers them all."""
        clock_of = asyncio.get_running_loop().time
        began = clock_of()
        with suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_SECONDS):
                await self.committed.wait()
        steady = clock_of() - began < GATHER_SECONDS
        if not steady or self._swept.woke:
            self._gather = GATHER_SECONDS
        if steady:
            await asyncio.sleep(self._gather)
            self._gather = min(2 * self._gather, GATHER_SECONDS_MAX)

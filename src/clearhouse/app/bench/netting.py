"""The bench of netting: a cycle is filled and closed while others record, and the longest that any of them waited is told.

Nothing is left out: the obligations come through the one door, with journal and keys. Whoever records beside the closing has
a door of its own, as in another process, and goes on while the closed cycle is netted.
"""

import asyncio
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any

from clearhouse import ids
from clearhouse.app.bench.houses import WrongCount
from clearhouse.app.bench.rounds import Contestant, Tell
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank.banks import KeepBank, OpenBankAccount
from clearhouse.slices.interbank.netting import commands, cycles, settling
from clearhouse.slices.interbank.netting.cycle import CloseCycle, Cycle, OpenCycle
from clearhouse.slices.interbank.netting.obligations import RecordObligation

BANKS = 40
BATCH = 2_000
IN_FLIGHT = 3
WRITERS = 4
ALONE_SECONDS = 1.0
ROUNDS = 3
LARGE = 100_000
SCOPES = frozenset({commands.READ, commands.RECORD_SCOPE, commands.SETTLE_SCOPE, interbank.ACCOUNTS})


@dataclass(slots=True)
class Found:
    """What one cycle came to."""

    recorded_a_second: float
    alone_milliseconds: float
    beside_milliseconds: float
    closed_milliseconds: float
    netted_seconds: float


@dataclass(slots=True)
class Netting:
    """Banks that owe each other, and who asks for it."""

    database: Database
    door: Door
    caller: Caller
    book: int
    banks: list[str] = field(default_factory=list[str])

    async def ask(self, kind: Kind[Any, Any], command: Any) -> Any:
        """Return the answer to a command, or raise its refusal."""
        answer = (await self.door.submit(kind, [command], caller=self.caller, book=self.book))[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def prepare(self) -> None:
        """Let banks with vostros be known."""
        self.banks = [f"NETTDE{number:02}" for number in range(BANKS)]
        for bic in self.banks:
            await self.ask(interbank.KEEP_BANK, KeepBank(bic, f"The bank {bic}"))
            await self.ask(interbank.OPEN_ACCOUNT, OpenBankAccount("vostro", bic, "EUR"))

    def some(self, count: int) -> list[RecordObligation]:
        """Return obligations that nobody has recorded yet."""
        return [
            RecordObligation(f"NET-{ids.fresh().hex}", *random.sample(self.banks, 2), f"{number % 900 + 1}.25", "EUR")
            for number in range(count)
        ]

    async def fill(self, count: int) -> float:
        """Record so many, and return how many a second that were."""
        left, start = count, perf_counter()

        async def again() -> None:
            nonlocal left
            while left > 0:
                mine, left = min(BATCH, left), left - BATCH
                answers = await self.door.submit(commands.RECORD, self.some(mine), caller=self.caller, book=self.book)
                if any(isinstance(each, Refusal) for each in answers):
                    raise WrongCount(name="obligations", acknowledged=str(mine), found="refusals")

        await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))
        return count / (perf_counter() - start)

    async def measure(self, count: int) -> Found:
        """Fill a cycle, close it while others record, and net it while they go on."""
        cycle: Cycle = await self.ask(commands.OPEN, OpenCycle("EUR"))
        recorded = await self.fill(count)
        waits: list[tuple[float, float]] = []
        over = asyncio.Event()
        writing = [asyncio.create_task(self._write(waits, over)) for _ in range(WRITERS)]
        await asyncio.sleep(ALONE_SECONDS)
        begun = perf_counter()
        await self.ask(commands.CLOSE, CloseCycle(cycle.id))
        closed = perf_counter()
        await Advancer(self.database, wake=Wakes(settling.STAGES), chance=Random(1)).run(settling.NET)
        netted = perf_counter()
        over.set()
        await asyncio.gather(*writing)
        await self._counted(cycle, count)
        alone = [took for at, took in waits if at + took < begun]
        beside = [took for at, took in waits if at + took >= begun and at <= closed]
        return Found(recorded, max(alone) * 1e3, max(beside) * 1e3, (closed - begun) * 1e3, netted - closed)

    async def _write(self, waits: list[tuple[float, float]], over: asyncio.Event) -> None:
        door = Door(self.database)
        while not over.is_set():
            asked, start = self.some(1), perf_counter()
            await door.submit(commands.RECORD, asked, caller=self.caller, book=self.book)
            waits.append((start, perf_counter() - start))
        await door.close()

    async def _counted(self, cycle: Cycle, least: int) -> None:
        """Refuse a figure if the cycle has not everything that was recorded; end the one that followed."""
        async with self.database.reading([self.book]) as tx:
            found = (await cycles.row(tx, cycle.id)).shown()
            following = await cycles.opened(tx, ["EUR"])
        if (found.obligations or 0) < least:
            raise WrongCount(name="obligations", acknowledged=str(least), found=str(found.obligations))
        await self.ask(commands.CLOSE, CloseCycle(ids.text("cyc", following["EUR"]), last=True))


async def measured(netting: Netting, count: int, *, tell: Tell) -> Sequence[Contestant]:
    """Return what cycles of so many obligations come to; of large ones a single cycle."""
    await netting.prepare()
    found: list[Found] = []
    for number in range(1 if count >= LARGE else ROUNDS):
        found.append(await netting.measure(count))
        tell(f"netting, round {number + 1}: {found[-1]}")

    def line(name: str, unit: str, figure: str) -> Contestant:
        figures = [float(getattr(each, figure)) for each in found]

        async def turn(_: float) -> float:
            return statistics.median(figures)

        return Contestant(name, unit, turn, figures=figures)

    return [
        line("recording obligations", "obligations/s", "recorded_a_second"),
        line("longest wait of who records, nobody closing", "ms", "alone_milliseconds"),
        line(f"longest wait while a cycle of {count:,} closes", "ms", "beside_milliseconds"),
        line(f"closing a cycle of {count:,} among others", "ms", "closed_milliseconds"),
        line(f"netting {count:,} obligations afterwards", "s", "netted_seconds"),
    ]

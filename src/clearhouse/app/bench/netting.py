"""The bench of netting: a cycle is filled and closed while others record, and the longest that any of them waited is told.

Nothing is left out: the obligations come through the one door, with journal and keys. Whoever records beside the closing has
a door of its own, as in another process, and goes on while the closed cycle is netted.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any

from clearhouse import ids
from clearhouse.app.bench.houses import WrongCount
from clearhouse.app.bench.rounds import Contestant
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank.banks import KeepBank, OpenBankAccount
from clearhouse.slices.interbank.netting import commands, cycles, settling
from clearhouse.slices.interbank.netting.cycle import CloseCycle, Cycle, OpenCycle
from clearhouse.slices.interbank.netting.obligations import RecordObligation

SCOPE = commands.SETTLE_SCOPE
BANKS = 40
BATCH = 2_000
IN_FLIGHT = 3
WRITERS = 4
ALONE_SECONDS = 1.0
ASKED_MILLISECONDS = 100


@dataclass(slots=True)
class Bench:
    """Banks that owe each other, who asks for it, and how many obligations a cycle has that is closed."""

    door: Door
    caller: Caller
    book: int
    count: int
    banks: list[str] = field(default_factory=list[str])
    waits: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    netted: float = 0.0

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
        pairs = [random.sample(self.banks, 2) for _ in range(count)]
        return [
            RecordObligation(f"NET-{ids.fresh().hex}", payer, payee, f"{place % 900 + 1}.25", "EUR")
            for place, (payer, payee) in enumerate(pairs)
        ]

    async def recorded(self, _seconds: float) -> float:
        """Return how many obligations a second are recorded, as found in their cycle."""
        cycle = await self._open()
        start = perf_counter()
        await self._fill()
        elapsed = perf_counter() - start
        await self._ended(cycle, self.count)
        return self.count / elapsed

    async def alone(self, seconds: float) -> float:
        """Return the milliseconds of the longest wait of who records while nobody closes."""
        cycle = await self._open()
        await self._beside(asyncio.sleep(max(seconds, ALONE_SECONDS)))
        await self._ended(cycle, len(self.waits))
        return max(took for _, took in self.waits) * 1e3

    async def closed(self, _seconds: float) -> float:
        """Return the milliseconds of the longest wait of who records while a full cycle closes."""
        cycle = await self._open()
        await self._fill()
        span: list[float] = []

        async def close() -> None:
            await asyncio.sleep(ALONE_SECONDS / 4)
            span.append(perf_counter())
            await self.ask(commands.CLOSE, CloseCycle(cycle.id))
            span.append(perf_counter())
            await self._net()

        await self._beside(close())
        await self._ended(cycle, self.count)
        begun, over = span
        return max([took for at, took in self.waits if at + took >= begun and at <= over], default=over - begun) * 1e3

    async def nets(self, seconds: float) -> float:
        """Return the milliseconds that netting a full cycle took, while others recorded for the next."""
        if not self.netted:
            await self.closed(seconds)
        found, self.netted = self.netted, 0.0
        return found

    async def _open(self) -> Cycle:
        answer: Cycle = await self.ask(commands.OPEN, OpenCycle("EUR"))
        return answer

    async def _fill(self) -> None:
        left = self.count

        async def again() -> None:
            nonlocal left
            while left > 0:
                mine, left = min(BATCH, left), left - BATCH
                answers = await self.door.submit(commands.RECORD, self.some(mine), caller=self.caller, book=self.book)
                if any(isinstance(each, Refusal) for each in answers):
                    raise WrongCount(name="obligations", acknowledged=str(mine), found="refusals")

        await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))

    async def _beside(self, happening: Any) -> None:
        """Let writers, each with a door of its own, record one obligation after another while something happens."""
        self.waits, over = [], asyncio.Event()
        writing = [asyncio.create_task(self._write(over)) for _ in range(WRITERS)]
        await happening
        over.set()
        await asyncio.gather(*writing)

    async def _write(self, over: asyncio.Event) -> None:
        door = Door(self.door.database)
        while not over.is_set():
            asked, start = self.some(1), perf_counter()
            await door.submit(commands.RECORD, asked, caller=self.caller, book=self.book)
            self.waits.append((start, perf_counter() - start))
        await door.close()

    async def _net(self) -> None:
        start = perf_counter()
        advancer = Advancer(self.door.database, wake=Wakes(settling.STAGES), chance=Random(1))
        await advancer.run(settling.NET)
        self.netted = (perf_counter() - start) * 1e3

    async def _ended(self, cycle: Cycle, least: int) -> None:
        """Leave no cycle open, and refuse a figure if this one has not everything that was recorded."""
        async with self.door.database.reading([self.book]) as tx:
            left = await cycles.opened(tx, ["EUR"])
        await self.ask(commands.CLOSE, CloseCycle(ids.text("cyc", left["EUR"]), last=True))
        if not self.netted or ids.text("cyc", left["EUR"]) == cycle.id:
            await self._net()
        async with self.door.database.reading([self.book]) as tx:
            found = (await cycles.row(tx, cycle.id)).shown()
        if (found.obligations or 0) < least:
            raise WrongCount(name="obligations", acknowledged=str(least), found=str(found.obligations))


async def contestants(door: Door, caller: Caller, book: int, count: int) -> Sequence[Contestant]:
    """Return what is measured of netting, with cycles of so many obligations."""
    bench = Bench(door, caller, book, count)
    await bench.prepare()
    waiting = "recording obligations, the longest wait"
    return [
        Contestant("recording obligations", "obligations/s", bench.recorded),
        Contestant(waiting, "milliseconds", bench.alone),
        Contestant(
            f"the longest wait while a cycle of {count:,} closes", "milliseconds", bench.closed, waiting,
            asked=ASKED_MILLISECONDS,
        ),
        Contestant(f"netting {count:,} obligations once closed", "milliseconds", bench.nets),
    ]  # fmt: skip

"""The bench of netting: cycles are filled, closed while others record, netted, and settled to the last position.

Nothing is left out: the obligations come through the one door, with journal and keys. Who records beside the closing has a
door of its own, as in another process, and goes on while the closed cycle is netted; the longest that any of them waited is
told. A cycle counts as settled when each of its positions is, and every vostro has moved by what was asked for.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
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
from clearhouse.slices.interbank.banks import FundBankAccount, KeepBank, OpenBankAccount, find_account
from clearhouse.slices.interbank.netting import commands, cycles, settling
from clearhouse.slices.interbank.netting.cycle import CloseCycle, Cycle, CycleState, Method, OpenCycle
from clearhouse.slices.interbank.netting.obligations import RecordObligation

SCOPE = commands.SETTLE_SCOPE
BANKS = 40
BATCH = 2_000
IN_FLIGHT = 3
WRITERS = 4
ALONE_SECONDS = 1.0
LOOK_SECONDS = 0.02
ASKED_MILLISECONDS = 100
FUNDS = "1000000000000.00"
SETTLED = """
SELECT count(*) AS positions, count(*) FILTER (WHERE state = 'SETTLED') AS settled
FROM netting_position WHERE book = %(book)s AND cycle = %(cycle)s
"""


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a cycle came to: how many positions, and how many of them are settled."""

    positions: int
    settled: int


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
        """Let banks be known that have funds enough with us."""
        self.banks = [f"NETTDE{number:02}" for number in range(BANKS)]
        for bic in self.banks:
            await self.ask(interbank.KEEP_BANK, KeepBank(bic, f"The bank {bic}"))
            await self.ask(interbank.OPEN_ACCOUNT, OpenBankAccount("vostro", bic, "EUR"))
            await self.ask(interbank.FUND_ACCOUNT, FundBankAccount("vostro", bic, "EUR", FUNDS))

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

    async def gross(self, _seconds: float) -> float:
        """Return how many positions of a full gross cycle are settled in a second, from its closing to its end."""
        took, positions = await self._to_the_end("gross")
        return positions / took

    async def multilateral(self, _seconds: float) -> float:
        """Return the milliseconds from the closing of a full multilateral cycle to its end."""
        took, _ = await self._to_the_end("multilateral")
        return took * 1e3

    async def _to_the_end(self, method: Method) -> tuple[float, int]:
        """Close and settle a full cycle; return how long that took and how many positions it had, if both books say so."""
        before = await self._balances()
        cycle = await self._open(method)
        owed = await self._fill()
        start = perf_counter()
        await self.ask(commands.CLOSE, CloseCycle(cycle.id, settle=True, last=True))
        while (ended := await self._shown(cycle)).state is not CycleState.SETTLED:
            if ended.state is CycleState.ABORTED:
                raise WrongCount(name="cycles", acknowledged="one that is settled", found=f"{ended.reason}")
            await asyncio.sleep(LOOK_SECONDS)
        took = perf_counter() - start
        async with self.door.database.reading([self.book]) as tx:
            found = await tx.row(SETTLED, _Settled, book=self.book, cycle=ids.parse("cyc", cycle.id)) or _Settled(0, 0)
        if ended.obligations != self.count or found.settled != found.positions:
            raise WrongCount(name="obligations", acknowledged=str(self.count), found=f"{ended.obligations}, {found}")
        await self._compare(before, owed)
        return took, found.positions

    async def _balances(self) -> dict[str, Decimal]:
        """Return what is on every vostro and not held."""
        async with self.door.database.reading([self.book]) as tx:
            found = [await find_account(tx, "vostro", bic, "EUR") for bic in self.banks]
        return {each.bank: Decimal(each.available) for each in found}

    async def _compare(self, before: dict[str, Decimal], owed: dict[str, Decimal]) -> None:
        """Refuse a figure if the ledger moved otherwise than the obligations say that were asked for."""
        for bic, balance in (await self._balances()).items():
            if balance != before[bic] + owed[bic]:
                raise WrongCount(name=bic, acknowledged=str(before[bic] + owed[bic]), found=str(balance))

    async def _shown(self, cycle: Cycle) -> Cycle:
        async with self.door.database.reading([self.book]) as tx:
            return (await cycles.row(tx, cycle.id)).shown()

    async def _open(self, method: Method = "multilateral") -> Cycle:
        answer: Cycle = await self.ask(commands.OPEN, OpenCycle("EUR", method))
        return answer

    async def _fill(self) -> dict[str, Decimal]:
        """Record as many obligations as a cycle has, and return what they come to for each bank."""
        left, owed = self.count, dict.fromkeys(self.banks, Decimal(0))

        async def again() -> None:
            nonlocal left
            while left > 0:
                mine, left = min(BATCH, left), left - BATCH
                asked = self.some(mine)
                for each in asked:
                    owed[each.from_bank] -= Decimal(each.amount)
                    owed[each.to_bank] += Decimal(each.amount)
                answers = await self.door.submit(commands.RECORD, asked, caller=self.caller, book=self.book)
                if any(isinstance(each, Refusal) for each in answers):
                    raise WrongCount(name="obligations", acknowledged=str(mine), found="refusals")

        await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))
        return owed

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
        found = await self._shown(cycle)
        if (found.obligations or 0) < least:
            raise WrongCount(name="obligations", acknowledged=str(least), found=str(found.obligations))


async def contestants(door: Door, caller: Caller, book: int, count: int) -> Sequence[Contestant]:
    """Return what is measured of netting, with cycles of so many obligations."""
    bench = Bench(door, caller, book, count)
    await bench.prepare()
    recording, waiting = "recording obligations", "recording obligations, the longest wait"
    return [
        Contestant(recording, "obligations/s", bench.recorded),
        Contestant(waiting, "milliseconds", bench.alone),
        Contestant(
            f"the longest wait while a cycle of {count:,} closes", "milliseconds", bench.closed, waiting,
            asked=ASKED_MILLISECONDS,
        ),
        Contestant(f"netting {count:,} obligations once closed", "milliseconds", bench.nets),
        Contestant(f"gross settlement of {count:,}, from closed to settled", "positions/s", bench.gross, recording),
        Contestant(f"multilateral settlement of {count:,}, from closed to settled", "milliseconds", bench.multilateral),
    ]  # fmt: skip

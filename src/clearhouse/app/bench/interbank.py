"""The bench of interbank: settlements from the first word to COMPLETED, with the simulated bank, counted in both books.

Everything is on: validation, locks, sending, confirmation, the journal and its chain. The reference is the headline of the
document that this product stands on: 1,000 settlements a minute.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any

from clearhouse import clock
from clearhouse.app.bench import netting, statements
from clearhouse.app.bench.houses import Ground, Prepared, WrongCount, caller_of, working
from clearhouse.app.bench.rounds import Contestant
from clearhouse.app.products import STAGES
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.banks import FundBankAccount, KeepBank, OpenBankAccount
from clearhouse.slices.interbank.reconciling import SCOPE
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Settlement
from clearhouse.slices.interbank.stopping import CancelSettlement

HEADLINE = 1_000 / 60
GOAL_A_SECOND = 2_000
OFFERED_A_SECOND = 500
FUNDS = "1000000000.00"
CALLERS = 3
OUTSTANDING_MAX = 10_000
LOOK_SECONDS = 0.2
FIRST_OFFER = 0.02
COMMITS = 100
ENDS = """
SELECT count(*) FILTER (WHERE ended_at IS NOT NULL) AS ended, count(*) FILTER (WHERE state = 'COMPLETED') AS completed
FROM settlement_transactions WHERE book = %(book)s AND accepted_at >= %(since)s
"""
P99 = """
SELECT coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - accepted_at)), 0)::float8 * 1000
    AS value
FROM settlement_transactions WHERE book = %(book)s AND accepted_at >= %(since)s AND state = 'COMPLETED'
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of each thing."""

    banks: int = 10
    batch: int = 500
    lines: int = 10_000
    obligations: int = 20_000


@dataclass(frozen=True, slots=True)
class _Ends:
    """How many settlements have come to their end, and how many of those to the one that was asked for."""

    ended: int
    completed: int


@dataclass(frozen=True, slots=True)
class _Milliseconds:
    value: float


@dataclass(slots=True)
class Bench:
    """A book with banks in it, and who asks."""

    database: Database
    door: Door
    bank: SimulatedBank
    caller: Caller
    book: int
    sizes: Sizes
    asked: int = 0
    payers: list[str] = field(default_factory=list[str])
    payees: list[str] = field(default_factory=list[str])

    async def ask(self, kind: Kind[Any, Any], command: Any) -> Any:
        """Return the answer to a command, or raise its refusal."""
        answer = (await self.door.submit(kind, [command], caller=self.caller, book=self.book))[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def prepare(self) -> None:
        """Open banks with funds enough on both sides."""
        for number in range(self.sizes.banks):
            for side, names in (("vostro", self.payers), ("nostro", self.payees)):
                bic = f"{side[:4].upper()}DE{number:02}"
                names.append(bic)
                await self.ask(commands.KEEP_BANK, KeepBank(bic, f"The {side} bank number {number}"))
                await self.ask(
                    commands.OPEN_ACCOUNT, OpenBankAccount("nostro" if side == "nostro" else "vostro", bic, "USD")
                )
                await self.ask(
                    commands.FUND_ACCOUNT, FundBankAccount("nostro" if side == "nostro" else "vostro", bic, "USD", FUNDS)
                )
        await self.bank.control.open([OpenAccount(f"{bic}:USD", "USD", balance=FUNDS) for bic in self.payees])

    def some(self, count: int) -> list[ExecuteSettlement]:
        """Return obligations that nobody has asked for yet."""
        first, self.asked = self.asked, self.asked + count
        return [
            ExecuteSettlement(
                f"OBL-{number}", random.choice(self.payers), random.choice(self.payees), f"{number % 900 + 1}.25", "USD"
            )
            for number in range(first, first + count)
        ]

    async def execute(self, count: int) -> int:
        """Ask for so many settlements at once, and return how many were accepted."""
        answers = await self.door.submit(commands.EXECUTE_SETTLEMENT, self.some(count), caller=self.caller, book=self.book)
        return sum(isinstance(each, Settlement) for each in answers)

    async def _ends(self, since: datetime) -> _Ends:
        async with self.database.reading([self.book]) as tx:
            found = await tx.row(ENDS, _Ends, book=self.book, since=since)
        return _Ends(0, 0) if found is None else found

    async def _drained(self, since: datetime, accepted: int) -> None:
        """Wait until so many have come to their end, and refuse to go on if it is not that of all."""
        while (found := await self._ends(since)).ended < accepted:  # noqa: ASYNC110 - it happens in the database
            await asyncio.sleep(LOOK_SECONDS)
        if found != _Ends(accepted, accepted):
            raise WrongCount(name="settlements", acknowledged=str(accepted), found=str(found.completed))

    async def end_to_end(self, seconds: float) -> float:
        """Return how many settlements a second went all the way, the last one's end included."""
        accepted, since, start = 0, clock.now(), perf_counter()

        async def again() -> None:
            nonlocal accepted
            while perf_counter() < start + seconds:
                more = await self.execute(self.sizes.batch)
                accepted += more
                while accepted - (await self._ends(since)).ended > OUTSTANDING_MAX:  # noqa: ASYNC110 - the same
                    await asyncio.sleep(LOOK_SECONDS)

        await asyncio.gather(*(again() for _ in range(CALLERS)))
        await self._drained(since, accepted)
        elapsed = perf_counter() - start
        await self.compare()
        return accepted / elapsed

    async def latency(self, seconds: float) -> float:
        """Return the milliseconds within which 99 of 100 went from acceptance to COMPLETED, at a steady offer."""
        accepted, since, start = 0, clock.now(), perf_counter()
        while (elapsed := perf_counter() - start) < seconds or not accepted:
            due = int(elapsed * OFFERED_A_SECOND) - accepted
            if due > 0:
                more = await self.execute(due)
                accepted += more
            await asyncio.sleep(FIRST_OFFER)
        await self._drained(since, accepted)
        async with self.database.reading([self.book]) as tx:
            found = await tx.row(P99, _Milliseconds, book=self.book, since=since)
        return 0.0 if found is None else found.value

    async def commit(self, _seconds: float) -> float:
        """Return the milliseconds within which 99 of 100 lines of the journal were committed, one after another."""
        took: list[float] = []
        for _ in range(COMMITS):
            start = perf_counter()
            async with self.database.writing(book=self.book) as tx:
                line = Line("bench.added", "1")
                writing.write(tx, [line], book=self.book, kind="bench.add", by=writing.SYSTEM, at=clock.now())
            took.append((perf_counter() - start) * 1_000)
        return p99(took)

    async def rollback(self, seconds: float) -> float:
        """Return the milliseconds within which 99 of 100 were taken back: cancelled, their funds free."""
        took: list[float] = []
        until = perf_counter() + seconds
        while perf_counter() < until or not took:
            accepted = await self.ask(commands.EXECUTE_SETTLEMENT, self.some(1)[0])
            start = perf_counter()
            answer = (
                await self.door.submit(commands.CANCEL, [CancelSettlement(accepted.id)], caller=self.caller, book=self.book)
            )[0]
            if not isinstance(answer, Refusal):  # the sender may have been quicker
                took.append((perf_counter() - start) * 1000)
        return p99(took)

    async def compare(self) -> None:
        """Refuse to go on if our nostros are not what the bank says they are."""
        async with self.database.reading([self.book]) as tx:
            ours = await tx.tuples("SELECT number, balance FROM nostro_accounts WHERE book = %(book)s", {"book": self.book})
        theirs = {each.account: each.balance for each in await self.bank.control.balances()}
        known = {f"{bic}:USD" for bic in self.payees}
        for number, balance in (row for row in ours if row[0] in known):
            cents = int(str(balance))
            if f"{cents // 100}.{cents % 100:02}" != theirs[str(number)]:
                raise WrongCount(name=str(number), acknowledged=theirs[str(number)], found=str(balance))


def p99(took: Sequence[float]) -> float:
    """Return what 99 of 100 are not above; nothing took no time."""
    return sorted(took)[int(len(took) * 0.99)] if took else 0.0


def _contestants(bench: Bench) -> Sequence[Contestant]:
    async def headline(_: float) -> float:
        return HEADLINE

    asked, commit = "the document's headline", "one commit, p99"
    return [
        Contestant(asked, "settlements/s", headline),
        Contestant(
            "settlements end to end", "settlements/s", bench.end_to_end, asked, 120, 60, GOAL_A_SECOND
        ),
        Contestant(commit, "milliseconds", bench.commit),
        Contestant(
            f"accept to COMPLETED at {OFFERED_A_SECOND}/s, p99", "milliseconds", bench.latency, commit, asked=1_000
        ),
        Contestant("rollback, p99", "milliseconds", bench.rollback, commit, asked=50),
    ]  # fmt: skip


def prepared(sizes: Sizes | None = None) -> Prepared:
    """Return what is measured, of these sizes."""

    @asynccontextmanager
    async def opened(here: Ground) -> AsyncGenerator[Sequence[Contestant]]:
        known, book, _ = await caller_of(here.database)
        scopes = frozenset({commands.EXECUTE, commands.ACCOUNTS, commands.READ, SCOPE, netting.SCOPE})
        caller = Caller(known.id, "the bench", books={"main": book}, scopes={book: scopes})
        door, bank = Door(here.database), SimulatedBank(here.database, book=book)
        bench = Bench(here.database, door, bank, caller, book, sizes or Sizes())
        await bench.prepare()
        async with working(door, stages=STAGES):
            yield [
                *_contestants(bench), *statements.contestants(door, caller, book, bench.sizes.lines),
                *await netting.contestants(door, caller, book, bench.sizes.obligations),
            ]  # fmt: skip

    return opened

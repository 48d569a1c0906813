"""The bench of interbank: settlements from the first word to COMPLETED, with the simulated bank, counted in both books.

Everything is on: validation, locks, sending, confirmation, the journal and its chain. The reference is the headline of the
document that this product stands on: 1,000 settlements a minute.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.app import server, worker
from clearhouse.app.bench.houses import WrongCount, folder
from clearhouse.app.bench.netting import SCOPES as NETTING
from clearhouse.app.bench.netting import Netting, measured
from clearhouse.app.bench.rounds import Contestant, Report, race, report
from clearhouse.app.config import Config
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap, principals
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.principals import AddPrincipal
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.banks import FundBankAccount, KeepBank, OpenBankAccount
from clearhouse.slices.interbank.engine import Engine
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Settlement
from clearhouse.slices.interbank.stopping import CancelSettlement

HEADLINE = 1_000 / 60
GOAL_A_SECOND = 2_000
OFFERED_A_SECOND = 500
BANKS = 10
FUNDS = "1000000000.00"
BATCH = 500
CALLERS = 3
OUTSTANDING_MAX = 10_000
LOOK_SECONDS = 0.2
FIRST_OFFER = 0.02
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


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
        for number in range(BANKS):
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

    async def completed(self) -> int:
        """Return how many settlements have come to their end."""
        statement = "SELECT count(*) AS count FROM settlement_transactions WHERE book = %(book)s AND state = 'COMPLETED'"
        async with self.database.reading([self.book]) as tx:
            found = await tx.row(statement, _Count, book=self.book)
        return 0 if found is None else found.count

    async def drained(self, wanted: int) -> None:
        """Wait until so many have come to their end."""
        while await self.completed() < wanted:  # noqa: ASYNC110 - what is waited for happens in the database
            await asyncio.sleep(LOOK_SECONDS)

    async def end_to_end(self, seconds: float) -> float:
        """Return how many settlements a second went all the way, the last one's end included."""
        before, start = await self.completed(), perf_counter()
        accepted = before

        async def again() -> None:
            nonlocal accepted
            while perf_counter() < start + seconds:
                more = await self.execute(BATCH)
                accepted += more
                while accepted - await self.completed() > OUTSTANDING_MAX:  # noqa: ASYNC110 - the same
                    await asyncio.sleep(LOOK_SECONDS)

        await asyncio.gather(*(again() for _ in range(CALLERS)))
        await self.drained(accepted)
        elapsed = perf_counter() - start
        await self.compare()
        return (accepted - before) / elapsed

    async def latency(self, seconds: float) -> float:
        """Return the milliseconds within which 99 of 100 went from acceptance to COMPLETED, at a steady offer."""
        before, start = await self.completed(), perf_counter()
        first, accepted = self.asked, before
        while (elapsed := perf_counter() - start) < seconds:
            due = int(elapsed * OFFERED_A_SECOND) - (accepted - before)
            if due > 0:
                more = await self.execute(due)
                accepted += more
            await asyncio.sleep(FIRST_OFFER)
        await self.drained(accepted)
        statement = (
            "SELECT coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - accepted_at)), 0)"
            " ::float8 * 1000 AS value FROM settlement_transactions WHERE book = %(book)s AND obligation_id = ANY(%(names)s)"
            " AND state = 'COMPLETED'"
        )
        names = [f"OBL-{number}" for number in range(first, self.asked)]
        async with self.database.reading([self.book]) as tx:
            found = await tx.row(statement, _Milliseconds, book=self.book, names=names)
        return 0.0 if found is None else found.value

    async def rollback(self, seconds: float) -> float:
        """Return the milliseconds within which 99 of 100 were taken back: cancelled, their funds free."""
        took: list[float] = []
        until = perf_counter() + seconds
        while perf_counter() < until:
            accepted = await self.ask(commands.EXECUTE_SETTLEMENT, self.some(1)[0])
            start = perf_counter()
            answer = (
                await self.door.submit(commands.CANCEL, [CancelSettlement(accepted.id)], caller=self.caller, book=self.book)
            )[0]
            if not isinstance(answer, Refusal):  # the sender may have been quicker
                took.append((perf_counter() - start) * 1000)
        return sorted(took)[int(len(took) * 0.99)] if took else 0.0

    async def compare(self) -> None:
        """Refuse to go on if our nostros are not what the bank says they are."""
        async with self.database.reading([self.book]) as tx:
            ours = await tx.tuples("SELECT number, balance FROM nostro_accounts WHERE book = %(book)s", {"book": self.book})
        theirs = {each.account: each.balance for each in await self.bank.control.balances()}
        for number, balance in ours:
            cents = int(str(balance))
            if f"{cents // 100}.{cents % 100:02}" != theirs[str(number)]:
                raise WrongCount(name=str(number), acknowledged=theirs[str(number)], found=str(balance))


def _contestants(bench: Bench) -> Sequence[Contestant]:
    async def headline(_: float) -> float:
        return HEADLINE

    turns: list[tuple[str, str, Callable[[float], Awaitable[float]], str | None, float | None, float | None]] = [
        ("the document's headline", "settlements/s", headline, None, None, None),
        (
            "settlements end to end",
            "settlements/s",
            bench.end_to_end,
            "the document's headline",
            60,
            GOAL_A_SECOND / HEADLINE,
        ),
        (f"accept to COMPLETED at {OFFERED_A_SECOND}/s, p99", "ms", bench.latency, None, None, None),
        ("rollback, p99", "ms", bench.rollback, None, None, None),
    ]
    return [
        Contestant(name, unit, turn, reference=reference, least=least, goal=goal)
        for name, unit, turn, reference, least, goal in turns
    ]


async def _principal(database: Database) -> UUID:
    await bootstrap.ensure_admin(database, None)
    own = ids.fresh()
    async with database.writing(book=1) as tx:
        wanted = AddPrincipal("the bench", roles=["operator"], kind="service")
        await principals.add_principals(tx, [Asked(wanted, own, ids.NOBODY)], clock.now())
    return own


async def run(seconds: float, *, obligations: int, tell: Tell) -> Report:
    """Measure everything within so many seconds, and cycles of so many obligations beyond; return the report."""
    begun = perf_counter()
    async with AsyncExitStack() as stack:
        config = Config(data=stack.enter_context(folder()), rate_limit=10_000_000)
        dsn = await stack.enter_async_context(server.owner_address(config, tell))
        database = await stack.enter_async_context(server.opened(dsn, tell))
        door, bank = Door(database), SimulatedBank(database, book=1)
        scopes = frozenset({commands.EXECUTE, commands.ACCOUNTS, commands.READ})
        by = await _principal(database)
        bench = Bench(database, door, bank, Caller(by, "the bench", books={"main": 1}, scopes={1: scopes}), 1)
        await bench.prepare()
        working = [
            asyncio.create_task(worker.work(database, door.committed)),
            asyncio.create_task(Engine(door, 1, bank).run()),
        ]
        server.steady()
        contestants = _contestants(bench)
        await race(contestants, seconds=max(5.0, seconds - (perf_counter() - begun)), tell=tell)
        netting = Netting(database, door, Caller(by, "the bench", books={"main": 1}, scopes={1: NETTING}), 1)
        contestants = [*contestants, *(await measured(netting, obligations, tell=tell))]
        await door.close()
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    return report("interbank", contestants)

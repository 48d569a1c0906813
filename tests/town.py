"""A town of banks for a test: two correspondents with funded accounts, the simulated bank, and an engine by hand."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.pipelines import rows
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.declared import Firing
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands, engine, engines, listening, reading, turns, waking
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.banks import FundBankAccount, KeepBank, OpenBankAccount, Side, find_account
from clearhouse.slices.interbank.channel import PaymentOrder
from clearhouse.slices.interbank.engines import Line
from clearhouse.slices.interbank.reconciling import SCOPE, Report, compare
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Settlement
from clearhouse.slices.interbank.turns import Outgoing
from house import House
from people import add

PAYER, PAYEE = "CHASUS33", "DEUTDEFF"
SCOPES = frozenset({commands.READ, commands.EXECUTE, commands.GIVE_UP, commands.ACCOUNTS, commands.RULES, SCOPE})


@dataclass(slots=True)
class Town:
    """Banks, and what settles between them."""

    house: House
    bank: SimulatedBank
    line: Line
    caller: Caller
    book: int = 1
    orders: int = 0

    @classmethod
    async def built(
        cls, house: House, *, currency: str = "USD", funds: str = "1000.00", book: int = 1, name: str = "main"
    ) -> "Town":
        line = engines.line(house.database, book)
        assert isinstance(line.channel, SimulatedBank)
        somebody = await add(house, "operator", name="who settles", book=name)
        caller = Caller(ids.parse("prn", somebody.id), "who settles", books={name: book}, scopes={book: SCOPES})
        made = cls(house, line.channel, line, caller, book)
        for bic, called in ((PAYER, "Chase"), (PAYEE, "Deutsche Bank")):
            await made.ask(commands.KEEP_BANK, KeepBank(bic, called))
        await made.correspond(currency, funds)
        return made

    async def correspond(self, currency: str, funds: str) -> None:
        """Open and fund the payer's vostro and our nostro with the payee, on both sides."""
        sides: list[tuple[Side, str]] = [("vostro", PAYER), ("nostro", PAYEE)]
        for side, bic in sides:
            await self.ask(commands.OPEN_ACCOUNT, OpenBankAccount(side, bic, currency))
            await self.ask(commands.FUND_ACCOUNT, FundBankAccount(side, bic, currency, funds))
        await self.bank.control.open([OpenAccount(f"{PAYEE}:{currency}", currency, balance=funds)])

    async def ask(self, kind: Kind[Any, Any], command: Any) -> Any:
        """Return the answer to a command; a refusal is raised."""
        answer = (await self.ask_all(kind, [command]))[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def ask_all(self, kind: Kind[Any, Any], asked: Sequence[Any]) -> list[Any]:
        return await self.house.door.submit(kind, asked, caller=self.caller, book=self.book)

    def obligation(self, amount: str = "100.00", **more: Any) -> ExecuteSettlement:
        """Return an obligation that nobody has asked for yet."""
        self.orders += 1
        given: dict[str, Any] = {
            "obligation_id": f"OBL-{self.orders}", "from_bank": PAYER, "to_bank": PAYEE, "amount": amount, "currency": "USD",
        }  # fmt: skip
        return ExecuteSettlement(**{**given, **more})

    async def execute(self, amount: str = "100.00", **more: Any) -> Settlement:
        answer: Settlement = await self.ask(commands.EXECUTE_SETTLEMENT, self.obligation(amount, **more))
        return answer

    async def settle(self) -> None:
        """Let the engine do everything that can be done at this hour: its jobs, and its stages until none has work."""
        for job in (waking.RETRY, waking.CLEAN_UP):
            async with self.house.database.writing(book=self.book) as tx:
                at = clock.now()
                await job.run(tx, Firing(ids.fresh(), job.name, at, at, ids.NOBODY, None))
        await waking.wake_reviewed(self.house.database)
        for _ in range(3):  # what one stage does, another goes on with
            await self.advance(*engine.STAGES)
        with suppress(Refusal):  # the stage has listened already, and is not due again at once
            await listening.listen(self.line)

    async def advance(self, *stages: Stage) -> None:
        """Let stages do what is due."""
        advancer = Advancer(self.house.database, wake=Wakes(engine.STAGES), chance=Random(1))
        for stage in stages:
            await advancer.run(stage)

    async def show(self, settlement: Settlement) -> Settlement:
        async with self.house.database.reading([self.book]) as tx:
            return await reading.find(tx, settlement.id)

    async def funds(self, currency: str = "USD") -> dict[str, tuple[str, str]]:
        """Return what is on the payer's vostro and on our nostro, and what of it is held."""
        async with self.house.database.reading([self.book]) as tx:
            found = [await find_account(tx, "vostro", PAYER, currency), await find_account(tx, "nostro", PAYEE, currency)]
        return {each.side: (each.balance, each.held) for each in found}

    async def paid(self, settlement: Settlement) -> tuple[int, str]:
        """Return in how many bookings how much really left our account at the bank."""
        truth = await self.bank.control.paid([UUID(settlement.uetr)])
        return (truth[0].times, truth[0].debited) if truth else (0, "0")

    async def doubtful(self, amount: str = "1.00", **more: Any) -> Settlement:
        """Return a settlement of which nobody knows whether the bank has it."""
        accepted = await self.execute(amount, **more)
        sent = await self.initiated()
        await listening.hear(self.line, [Word(each.id, "silent") for each in sent])
        return await self.show(accepted)

    async def initiated(self) -> list[PaymentOrder]:
        """Say what will be sent, in its order, and die before it is."""
        async with self.house.database.writing(book=self.book) as tx:
            at = clock.now()
            taken = [each.id for each in await rows.pick(tx, turns.STAGE, at)]
            leased = await turns.initiate(tx, taken, at)
        return [each.order for each in leased.messages.values() if isinstance(each, Outgoing)]

    async def confirm(self, settlement: Settlement, total: str) -> None:
        """Let the bank confirm that so much has left by now."""
        await listening.hear(self.line, [Word(UUID(settlement.uetr), "confirmed", total)])

    async def give_back(self, settlement: Settlement) -> None:
        """Let the bank return what it has paid."""
        await self.bank.control.send_back([UUID(settlement.uetr)])

    async def compare(self) -> list[Report]:
        """Compare our nostros with the bank's statements."""
        return await compare(self.house.door, self.bank, caller=self.caller, book=self.book)

    async def alerts(self) -> int:
        """Return how many alerts stand in the journal."""
        async with self.house.database.writing(book=self.book) as tx:
            lines = await tx.tuples("SELECT lines FROM journal WHERE book = %s", [self.book])
        return sum(str(each[0]).count('"interbank.alert"') for each in lines)


def obligation(name: str, **more: Any) -> dict[str, Any]:
    """Return what is asked for over a wire."""
    asked = {"obligation_id": name, "from_bank": PAYER, "to_bank": PAYEE, "amount": "1.00", "currency": "USD"}
    return {**asked, **more}

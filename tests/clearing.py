"""A clearing house for a test: banks with funded vostros, who owe each other, and a worker by hand that nets and settles."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import UUID

from clearhouse import ids
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank.banks import (
    ChangeBankAccount,
    FundBankAccount,
    KeepBank,
    OpenBankAccount,
    find_account,
)
from clearhouse.slices.interbank.netting import commands, cycles, positions
from clearhouse.slices.interbank.netting.cycle import (
    AbortCycle,
    CarryCycle,
    CloseCycle,
    Cycle,
    Method,
    OpenCycle,
    SettleCycle,
)
from clearhouse.slices.interbank.netting.obligations import Obligation, RecordObligation
from clearhouse.slices.interbank.netting.positions import Position
from clearhouse.slices.interbank.netting.settling import STAGES
from house import House, ok
from people import add

ANN, BOB, CID = "ANNBUS33", "BOBBDEFF", "CIDBGB22"
BANKS = (ANN, BOB, CID)
OWN = "NET-own"
SCOPES = frozenset(
    {commands.READ, commands.RECORD_SCOPE, commands.SETTLE_SCOPE, interbank.ACCOUNTS, interbank.RULES, interbank.EXECUTE}
)
Owed = tuple[str, str, str]


@dataclass(slots=True)
class Clearing:
    """Banks that net with each other in a book, and who works for them."""

    database: Database
    door: Door
    caller: Caller
    book: int = 1
    name: str = "main"
    recorded: int = 0

    @classmethod
    async def built(
        cls, house: House, *, banks: Iterable[str] = BANKS, funds: str = "1000.00", currency: str = "USD", book: int = 1,
        name: str = "main",
    ) -> "Clearing":  # fmt: skip
        somebody = await add(house, "operator", name="who clears", book=name)
        caller = Caller(ids.parse("prn", somebody.id), "who clears", books={name: book}, scopes={book: SCOPES})
        made = cls(house.database, house.door, caller, book, name)
        await made.settle_in(banks, funds, currency)
        return made

    async def settle_in(self, banks: Iterable[str], funds: str, currency: str) -> None:
        """Let banks be known, with money on their vostros."""
        for bic in banks:
            await self.ask(interbank.KEEP_BANK, KeepBank(bic, f"the bank {bic}"))
            await self.ask(interbank.OPEN_ACCOUNT, OpenBankAccount("vostro", bic, currency))
            await self.ask(interbank.FUND_ACCOUNT, FundBankAccount("vostro", bic, currency, funds))

    async def ask_all(self, kind: Kind[Any, Any], asked: Sequence[Any]) -> list[Any]:
        return await self.door.submit(kind, asked, caller=self.caller, book=self.book)

    async def ask(self, kind: Kind[Any, Any], command: Any) -> Any:
        """Return the answer to a command; a refusal is raised."""
        answer = (await self.ask_all(kind, [command]))[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def open(self, method: Method = "multilateral", currency: str = "USD") -> Cycle:
        answer: Cycle = await self.ask(commands.OPEN, OpenCycle(currency, method))
        return answer

    async def owe(self, *owed: Owed, currency: str = "USD") -> list[Obligation]:
        """Record what each payer owes a payee."""
        first, self.recorded = self.recorded, self.recorded + len(owed)
        asked = [
            RecordObligation(f"NET-{first + place}", payer, payee, amount, currency)
            for place, (payer, payee, amount) in enumerate(owed)
        ]
        answers = await self.ask_all(commands.RECORD, asked)
        for each in answers:
            if isinstance(each, Refusal):
                raise each
        return answers

    async def close(self, cycle: Cycle, **how: Any) -> Cycle:
        answer: Cycle = await self.ask(commands.CLOSE, CloseCycle(cycle.id, **how))
        return answer

    async def settle(self, cycle: Cycle) -> Cycle:
        """Let a cycle be settled, and do all that can be done for it."""
        await self.ask(commands.SETTLE, SettleCycle(cycle.id))
        return await self.worked(cycle)

    async def abort(self, cycle: Cycle, reason: str = "a bank asked for it") -> Cycle:
        answer: Cycle = await self.ask(commands.ABORT, AbortCycle(cycle.id, reason))
        return answer

    async def carry(self, cycle: Cycle, *without: str) -> Cycle:
        answer: Cycle = await self.ask(commands.CARRY, CarryCycle(cycle.id, list(without)))
        return answer

    async def worked(self, cycle: Cycle) -> Cycle:
        """Let the worker do everything that is due, and return the cycle as it stands then."""
        await work(self.database)
        return await self.show(cycle)

    async def step(self, cycle: Cycle) -> Cycle:
        """Let the worker take one step, and return the cycle as it stands then."""
        for stage in STAGES:
            if await advancer(self.database).step(stage, self.book):
                break
        return await self.show(cycle)

    async def everything(self, by: UUID | None = None) -> dict[str, str]:
        """Leave a cycle for each verb, one settled, and one aborted of what somebody recorded; return paths' parts."""
        await self.own(by or self.caller.id)
        settled = await self.open("bilateral")
        obligation = (await self.owe((ANN, BOB, "1.00")))[0]
        await self.close(settled, settle=True, last=True)
        await self.worked(settled)
        found: dict[str, str] = {}
        for verb in ("settle", "carry", "abort", "close"):
            cycle = await self.open()
            await self.owe((ANN, BOB, "1.00"))
            found[f"{{cycle}}/{verb}"] = f"{cycle.id}/{verb}"
            if verb != "close":
                await self.close(cycle, last=True)
            if verb == "carry":
                await self.abort(cycle)
        return {
            **found, "{cycle}": settled.id, "{position}": (await self.positions(settled))[0].id,
            "{obligation}": obligation.obligation_id,
        }  # fmt: skip

    async def own(self, by: UUID) -> None:
        """Leave an obligation that somebody recorded in a cycle that was aborted."""
        aborted = await self.open()
        asked = [RecordObligation(OWN, ANN, BOB, "1.00", "USD")]
        await self.door.submit(commands.RECORD, asked, caller=replace(self.caller, id=by), book=self.book)
        await self.close(aborted, last=True)
        await self.abort(aborted)

    async def show(self, cycle: Cycle) -> Cycle:
        async with self.database.reading([self.book]) as tx:
            return (await cycles.row(tx, cycle.id)).shown()

    async def positions(self, cycle: Cycle) -> list[Position]:
        async with self.database.reading([self.book]) as tx:
            return await positions.listed(tx, cycle.id, most=1_000)

    async def nets(self, cycle: Cycle) -> dict[str, str]:
        """Return what each position comes to, by its bank or by both of them."""
        found = await self.positions(cycle)
        return {each.bank if each.counterparty is None else f"{each.bank}>{each.counterparty}": each.net for each in found}

    async def stands(self, cycle: Cycle) -> list[str]:
        return [each.state.value for each in await self.positions(cycle)]

    async def funds(self, currency: str = "USD", banks: Iterable[str] = BANKS) -> dict[str, tuple[str, str]]:
        """Return what is on the vostros, and what of it is held."""
        async with self.database.reading([self.book]) as tx:
            found = {bic: await find_account(tx, "vostro", bic, currency) for bic in banks}
        return {bic: (each.balance, each.held) for bic, each in found.items()}

    async def balances(self, currency: str = "USD") -> dict[str, str]:
        return {bic: balance for bic, (balance, _) in (await self.funds(currency)).items()}

    async def freeze(self, bic: str, state: Any = "frozen") -> None:
        await self.ask(interbank.CHANGE_ACCOUNT, ChangeBankAccount("vostro", bic, "USD", state))

    async def fund(self, bic: str, amount: str) -> None:
        await self.ask(interbank.FUND_ACCOUNT, FundBankAccount("vostro", bic, "USD", amount))


def netted(name: str, **more: Any) -> dict[str, Any]:
    """Return an obligation as it is recorded over a wire."""
    asked = {"obligation_id": name, "from_bank": ANN, "to_bank": BOB, "amount": "1.00", "currency": "USD"}
    return {**asked, **more}


def advancer(database: Database) -> Advancer:
    return Advancer(database, wake=Wakes(STAGES), chance=Random(1))


async def work(database: Database) -> None:
    """Do everything that is due."""
    for stage in STAGES:
        await advancer(database).run(stage)


@asynccontextmanager
async def hall(database: Database) -> AsyncGenerator[House]:
    """Give a house on a database that other tests use too: each clearing in it has a book of its own."""
    key = await bootstrap.recover_admin(database)
    async with House.opened(database, str(key)) as opened:
        yield opened


async def in_own_book(house: House, **how: Any) -> Clearing:
    """Return a clearing in a book that nobody else uses."""
    name = f"book-{ids.fresh().hex[-12:]}"
    ok(await house.admin.post("/api/v1/access/books", json={"name": name}))
    house.gate._known.clear()
    async with house.database.writing() as tx:
        found = await tx.tuples("SELECT id FROM book WHERE name = %s", [name])
    return await Clearing.built(house, book=int(str(found[0][0])), name=name, **how)


async def apart(database: Database, door: Door, *, funds: str = "1000.00", banks: Iterable[str] = BANKS) -> Clearing:
    """Return a clearing in a new book without going through any door: for laws, which need many."""
    async with database.writing() as tx:
        name = f"book-{ids.fresh().hex[-12:]}"
        [(book,)] = await tx.tuples("INSERT INTO book (name) VALUES (%s) RETURNING id", [name])
        await tx.do("INSERT INTO ledger_day (book) VALUES (%(book)s)", book=book)
        await tx.do(
            "INSERT INTO principal (book, id, name, organisation, kind, added_at)"
            " VALUES (%(book)s, %(id)s, %(name)s, '', 'person', clock_timestamp()) ON CONFLICT DO NOTHING",
            book=book, id=ids.derived("who clears"), name="who clears",
        )  # fmt: skip
    number = int(str(book))
    caller = Caller(ids.derived("who clears"), "who clears", books={name: number}, scopes={number: SCOPES})
    made = Clearing(database, door, caller, number, name)
    await made.settle_in(banks, funds, "USD")
    return made

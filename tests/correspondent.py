"""A correspondent for a test: the simulated bank, reached in process or over HTTP, and orders to it."""

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.app.bank import Security, served
from clearhouse.kernel.db.database import Database
from clearhouse.slices.interbank.bank.client import HttpBank, HttpControl, Line
from clearhouse.slices.interbank.bank.control import Control, OpenAccount
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.bank.server import application
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.channel import (
    Channel,
    Method,
    Notice,
    PaymentOrder,
    Said,
    State,
    StatementLine,
    Status,
)

NOSTRO = "CHASUS33:USD"
KEY = "the customer's key"
FUNDS = "1000.00"


def order(amount: str = "100.00", **more: Any) -> PaymentOrder:
    """Return an order from our account, under an id of its own unless one is given."""
    plain = PaymentOrder(ids.fresh(), NOSTRO, "DEUTDEFF", "BNPAFRPP", amount, "USD", Method.MOCK)
    return msgspec.structs.replace(plain, **more)


@dataclass(frozen=True, slots=True)
class Correspondent:
    """A bank by its channel, and what only a test may ask of it."""

    channel: Channel
    control: Control | HttpControl

    async def send(self, *orders: PaymentOrder) -> list[str]:
        """Hand in orders and return what was said to each: a word, or the code of a refusal."""
        return [ack.code if ack.said is Said.REFUSED else ack.said.value for ack in await self.channel.send(orders)]

    async def meet(self, fault: Fault, *orders: PaymentOrder, **how: Any) -> list[str]:
        """Hand in orders that meet a lie."""
        await self.control.lie(Lie(fault, ids=[each.id for each in orders], **how))
        return await self.send(*orders)

    async def status(self, one: PaymentOrder) -> Status:
        return (await self.channel.ask([one.id]))[0]

    async def state(self, one: PaymentOrder) -> State:
        return (await self.status(one)).state

    async def news(self, *, after: str = "") -> list[tuple[UUID, str, str, str]]:
        """Return what was said by itself: of whom, what, how much, and how much so far."""
        return [(each.id, each.state.value, each.amount, each.total) for each in await self.notices(after=after)]

    async def notices(self, *, after: str = "") -> list[Notice]:
        return (await self.channel.news(after=after)).notices

    async def paid(self, one: PaymentOrder) -> tuple[int, str, str]:
        """Return what really happened to an order: how many bookings, how much went, how much came back."""
        found = await self.control.paid([one.id])
        return (found[0].times, found[0].debited, found[0].credited) if found else (0, "0.00", "0.00")

    async def lines(self) -> list[StatementLine]:
        return (await self.channel.statement(NOSTRO)).lines

    async def holds(self, account: str = NOSTRO) -> tuple[str, str]:
        """Return an account's balance, and what of it is promised away."""
        found = {each.account: each for each in await self.control.balances()}
        return found[account].balance, found[account].reserved

    async def is_balanced(self) -> bool:
        """Tell whether the bank's books sum to nothing, and every account is what its entries add up to."""
        sums = (await self.control.trial_balance()).values()
        return not any(map(Decimal, sums)) and all(each.balance == each.proved for each in await self.control.balances())


async def fresh_book(database: Database) -> int:
    """Open a book of its own for a test, with a bank of its own."""
    async with database.writing() as tx:
        made = await tx.tuples("INSERT INTO book (name) VALUES (%s) RETURNING id", [str(ids.fresh())])
    return int(str(made[0][0]))


@asynccontextmanager
async def correspondent(database: Database, *, http: bool, book: int = 1, **line: Any) -> AsyncGenerator[Correspondent]:
    """Give the bank of a book, its account for us open and funded."""
    bank = SimulatedBank(database, book=book)
    await bank.control.open([OpenAccount(NOSTRO, "USD", FUNDS)])
    if not http:
        yield Correspondent(bank, bank.control)
        return
    async with serving(bank) as url, HttpBank(Line(url, KEY, **line)) as over:
        yield Correspondent(over, over.control)


@asynccontextmanager
async def serving(bank: SimulatedBank, security: Security | None = None) -> AsyncGenerator[str]:
    """Serve a bank on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    async with served(application(bank, KEY), listening, security or Security()) as url:
        yield url


def amounts(lines: Sequence[StatementLine]) -> list[str]:
    return [each.amount for each in lines]

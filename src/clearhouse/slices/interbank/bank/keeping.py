"""Keeping: the bank's rows, read and written set by set, in transactions that are its own.

Promise: whoever changes a bank has locked it first, so its events are numbered in the order of their commits, and a reader
that goes on after the last number it saw misses none.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from clearhouse import clock
from clearhouse.kernel.db.arrays import array, hexes, texts
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.interbank.bank.books import SUSPENSE, Account, Books, Event
from clearhouse.slices.interbank.bank.lies import Liar, Lie
from clearhouse.slices.interbank.bank.methods import Terms
from clearhouse.slices.interbank.bank.orders import Act, Order, Step

sql = Statements.of("clearhouse.slices.interbank.bank", "bank.sql")
STEPS_MAX = 10_000


@dataclass(slots=True)
class Head:
    """A bank's settings, and the number of its last event."""

    seed: int
    ahead_seconds: float
    latency_seconds: float
    terms: list[Terms]
    lies: list[Lie]
    last: int
    next_due: datetime | None

    @classmethod
    def read(cls, *, rails: str, lies: str, **columns: object) -> "Head":
        """Return the head from its row."""
        kept = {"terms": msgspec.json.decode(rails, type=list[Terms]), "lies": msgspec.json.decode(lies, type=list[Lie])}
        return cls(**kept, **columns)  # type: ignore[arg-type] - a row has the columns of its statement

    @property
    def at(self) -> datetime:
        """Return the bank's own time."""
        return clock.now() + timedelta(seconds=self.ahead_seconds)


@dataclass(slots=True)
class Desk:
    """A bank that is locked: its head, and the transaction that changes it."""

    tx: Tx
    head: Head
    at: datetime

    @property
    def book(self) -> int:
        """Return whose bank it is."""
        return self.tx.book

    async def books(self, codes: Iterable[str]) -> Books:
        """Return the accounts of these codes."""
        found = await self.tx.rows(
            sql["accounts_of_codes"], Account, book=self.book, codes=texts(sorted({SUSPENSE, *codes}))
        )
        return Books(found, last=self.head.last)

    async def orders(self, orders: str) -> dict[UUID, Order]:
        """Return those orders of an array of ids that have arrived."""
        found = await self.tx.rows(sql["orders_of_ids"], Order.read, book=self.book, ids=orders)
        return {each.id: each for each in found}

    async def lost(self, orders: str) -> list[UUID]:
        """Return those orders of an array of ids that were lost before."""
        found = await self.tx.tuples(sql["lost_of_ids"], {"book": self.book, "ids": orders})
        return [UUID(str(each)) for (each,) in found]

    async def open(self, accounts: Sequence[Account]) -> list[Account]:
        """Open those accounts that are not there yet, and return them."""
        return await self.tx.rows(
            sql["open_accounts"], Account, book=self.book,
            codes=texts([each.code for each in accounts]), currencies=texts([each.currency for each in accounts]),
            exponents=array([each.exponent for each in accounts]), roles=texts([each.role for each in accounts]),
            credit_lines=array([each.credit_line for each in accounts]),
        )  # fmt: skip

    def keep(self, books: Books) -> None:
        """Write what happened in the books."""
        if books.touched:
            touched = [books.touched[each] for each in sorted(books.touched)]
            self.tx.later(
                sql["change_accounts"], book=self.book, ids=array([each.id for each in touched]),
                balances=array([each.balance for each in touched]), reserved=array([each.reserved for each in touched]),
            )  # fmt: skip
        if books.events:
            self.tx.later(sql["add_events"], book=self.book, **_events(books.events))
            self.tx.later(sql["change_last"], book=self.book, last=books.last)
            self.head.last = books.last

    def add(self, orders: Sequence[Order], steps: Sequence[Step], lost: Sequence[UUID]) -> None:
        """Write what was taken in."""
        if orders:
            self.tx.later(sql["add_orders"], book=self.book, at=self.at, **_orders(orders))
        if steps:
            self.tx.later(sql["add_steps"], book=self.book, **_steps(steps))
        if lost:
            self.tx.later(sql["lose"], book=self.book, ids=array(lost))

    def change(self, orders: Sequence[Order]) -> None:
        """Write what became of orders that were there."""
        if orders:
            self.tx.later(
                sql["change_orders"], book=self.book, ids=array([each.id for each in orders]),
                states=array([each.state.value for each in orders]), codes=texts([each.code for each in orders]),
                confirmed=array([each.confirmed for each in orders]), returned=array([each.returned for each in orders]),
            )  # fmt: skip

    def settle(self, liar: Liar) -> None:
        """Remember which lies are still to be told."""
        if liar.told:
            self.head.lies = liar.left()
            self.keep_head()

    def keep_head(self) -> None:
        """Write the settings."""
        head = self.head
        self.tx.later(
            sql["change_head"], book=self.book, seed=head.seed, ahead_seconds=head.ahead_seconds,
            latency_seconds=head.latency_seconds, rails=msgspec.json.encode(head.terms).decode(),
            lies=msgspec.json.encode(head.lies).decode(),
        )  # fmt: skip

    async def carry_out(self) -> None:
        """Do every step that is due by now, in the order in which they became due."""
        while self.head.next_due is not None and self.head.next_due <= self.at:
            steps = await self.tx.rows(sql["due_steps"], _step, book=self.book, at=self.at, most=STEPS_MAX)
            orders = await self.orders(array({each.order for each in steps}))
            sides = {side for each in orders.values() for side in (each.account, each.payee) if side is not None}
            found = await self.tx.rows(sql["accounts_of_ids"], Account, book=self.book, ids=array(sorted(sides)))
            books = Books(found, last=self.head.last)
            for each in steps:
                books.apply(orders[each.order], each)
            self.keep(books)
            self.change(list(orders.values()))
            dues, numbers = array([f'"{each.due}"' for each in steps]), array([each.number for each in steps])
            self.tx.later(sql["drop_steps"], book=self.book, dues=dues, ids=numbers)
            if len(steps) < STEPS_MAX:
                break


@asynccontextmanager
async def locked(database: Database, book: int) -> AsyncGenerator[Desk]:
    """Open a transaction of the bank's own, alone in it, with everything carried out that is due."""
    async with database.writing(book=book) as tx:
        tx.later(sql["lock"], book=book)
        head = await tx.row(sql["head"], Head.read, book=book)
        if head is None:
            tx.later(sql["make_head"], book=book)
            head = await tx.row(sql["head"], Head.read, book=book)
        assert head is not None  # noqa: S101 - it was just made
        desk = Desk(tx, head, head.at)
        await desk.carry_out()
        yield desk


def _step(*, order_id: UUID, act: str, amount: int, code: str, due: datetime, id: int) -> Step:  # noqa: A002 - a column
    return Step(order_id, Act(act), amount, code, due, id)


def _orders(orders: Sequence[Order]) -> dict[str, object]:
    return {
        "ids": array([f"{each.id.int:032x}" for each in orders]),
        "contents": hexes([each.content for each in orders]),
        "states": array([each.state.value for each in orders]),
        "accounts": array([_or_null(each.account) for each in orders]),
        "payees": array([_or_null(each.payee) for each in orders]),
        "amounts": array([each.amount for each in orders]),
        "confirmed": array([each.confirmed for each in orders]),
        "returned": array([each.returned for each in orders]),
        "methods": array([each.method for each in orders]),
        "payers": texts([each.payer for each in orders]),
        "references": texts([each.reference for each in orders]),
        "codes": texts([each.code for each in orders]),
        "values": array([each.value for each in orders]),
    }


def _steps(steps: Sequence[Step]) -> dict[str, object]:
    return {
        "dues": array([f'"{each.due}"' for each in steps]),
        "orders": array([each.order for each in steps]),
        "acts": array([each.act.value for each in steps]),
        "amounts": array([each.amount for each in steps]),
        "codes": texts([each.code for each in steps]),
    }


def _events(events: Sequence[Event]) -> dict[str, object]:
    return {
        "numbers": array([each.number for each in events]),
        "ats": array([f'"{each.at}"' for each in events]),
        "values": array([each.value for each in events]),
        "kinds": array([each.kind for each in events]),
        "orders": array(["NULL" if each.order is None else f"{each.order.int:032x}" for each in events]),
        "states": array(["NULL" if each.state is None else each.state.value for each in events]),
        "debits": array([_or_null(each.debit) for each in events]),
        "credits": array([_or_null(each.credit) for each in events]),
        "amounts": array([each.amount for each in events]),
        "totals": array([each.total for each in events]),
        "debit_balances": array([_or_null(each.debit_balance) for each in events]),
        "credit_balances": array([_or_null(each.credit_balance) for each in events]),
        "codes": texts([each.code for each in events]),
        "references": texts([each.reference for each in events]),
    }


def _or_null(value: int | None) -> int | str:
    return "NULL" if value is None else value

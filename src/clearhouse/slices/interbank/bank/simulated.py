"""The simulated bank in process: a channel like any other, on books of its own in tables of its own.

Promise: what it answers was kept before, so whoever dies in between finds the truth by asking. Its transactions are never
the caller's: what we roll back, it still has.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import Lost, Passing
from clearhouse.slices.interbank.bank import lies, telling
from clearhouse.slices.interbank.bank.books import COUNTERPARTY, Account, Books
from clearhouse.slices.interbank.bank.control import Control
from clearhouse.slices.interbank.bank.keeping import Desk, locked, sql
from clearhouse.slices.interbank.bank.lies import Liar, Outage
from clearhouse.slices.interbank.bank.taking import NAME_MAX, Counter, is_writable
from clearhouse.slices.interbank.channel import (
    BATCH_MAX,
    Ack,
    News,
    NoAnswer,
    NotSent,
    NotTaken,
    PaymentOrder,
    State,
    Statement,
    Status,
)

NAME = "the simulated bank"


class SimulatedBank:
    """The bank of one book. `control` makes it lie, moves its clock, and says what really happened."""

    def __init__(self, database: Database, *, book: int = 1) -> None:
        self.database = database
        self.book = book
        self.control = Control(database, book)
        self._turn = asyncio.Lock()  # one of our calls at a time waits for the lock in the database, holding one connection

    async def send(self, orders: Sequence[PaymentOrder]) -> list[Ack]:
        """Take orders in; there is an answer for each, in their order."""
        if len(orders) > BATCH_MAX:
            raise NotTaken(bank=NAME, reason=f"{len(orders)} orders are more than {BATCH_MAX}")
        async with self._open() as desk:
            liar = Liar(desk.head.lies, desk.head.seed)
            ids = array([f"{each.id.int:032x}" for each in orders])
            known = await desk.orders(ids)
            lost = await desk.lost(ids) if liar.tells(frozenset({lies.Fault.LOSE_BEFORE})) else []
            books = await self._books(desk, orders)
            counter = Counter(books, liar, desk.head.terms, known=known, lost=lost, at=desk.at)
            taken = counter.take(orders)
            desk.add(taken.orders, taken.steps, taken.lost)
            desk.keep(books)
            desk.settle(liar)
        return taken.acks

    async def ask(self, orders: Sequence[UUID]) -> list[Status]:
        """Return how far each order is."""
        async with self._open():
            pass
        async with self.database.reading([self.book]) as tx:
            found = await tx.rows(sql["statuses"], telling.Standing, book=self.book, ids=array(orders))
        known = {each.id: each.status() for each in found}
        return [known.get(each) or Status(each, State.UNKNOWN) for each in orders]

    async def news(self, *, after: str = "", most: int = 1_000) -> News:
        """Return what was said since a cursor."""
        async with self._open():
            pass
        last = telling.number(after, NAME)
        async with self.database.reading([self.book]) as tx:
            found = await tx.rows(sql["notices"], telling.Word, book=self.book, after=last, most=min(most, BATCH_MAX))
        return News([each.notice() for each in found], str(found[-1].number) if found else after)

    async def statement(
        self,
        account: str,
        *,
        after: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        most: int = BATCH_MAX,
    ) -> Statement:
        """Return the bookings of an account; they may be told wrong, the balances never are."""
        async with self._open() as desk:
            liar = Liar(desk.head.lies, desk.head.seed)
        last, size = telling.number(after, NAME), max(1, min(most, BATCH_MAX))
        async with self.database.reading([self.book]) as tx:
            holder = await tx.row(sql["account_of_code"], Account, book=self.book, code=account)
            if holder is None:
                raise NotTaken(bank=NAME, reason=f"it keeps no account {account[:64]} for us")
            place: dict[str, object] = {"book": self.book, "account": holder.id, "after": last, "until": until}
            lines = await tx.rows(sql["lines"], telling.Line, **place, since=since, most=size + 1)
            before = 0
            if not lines:
                found = await tx.tuples(sql["balance_before"], place)
                before = int(str(found[0][0])) if found else 0
        return telling.statement(holder, lines, before=before, most=size, after=after, liar=liar)

    async def _books(self, desk: Desk, orders: Sequence[PaymentOrder]) -> Books:
        """Return the accounts that orders name; a payee whom the bank has not met gets one."""
        codes = {each.account for each in orders} | {each.payee for each in orders}
        books = await desk.books({code for code in codes if code.isprintable() and 0 < len(code) <= NAME_MAX})
        new: dict[tuple[str, str], Account] = {}
        for each in orders:
            holder = books.by_name.get((each.account, each.currency))
            name = (each.payee, each.currency)
            if holder is not None and name not in books.by_name and is_writable(each):
                new[name] = Account(0, *name, holder.exponent, COUNTERPARTY, 0, 0, 0)
        if new:
            books.add(await desk.open(list(new.values())))
        return books

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Desk]:
        """Give the bank, locked, with what is due done; or fail as it was told to, or as its database does."""
        outage: Outage | None = None
        try:
            async with self._turn, locked(self.database, self.book) as desk:
                liar = Liar(desk.head.lies, desk.head.seed)
                outage = liar.outage()
                desk.settle(liar)
                latency = desk.head.latency_seconds
                if outage in {None, Outage.AFTER}:
                    yield desk
        except Passing as fault:
            raise NotSent(bank=NAME, reason="it is busy") from fault
        except Lost as fault:
            raise NoAnswer(bank=NAME, reason="its database is gone") from fault
        if latency:
            await asyncio.sleep(latency)
        if outage is Outage.NOT_SENT:
            raise NotSent(bank=NAME, reason="it is down")
        if outage is not None:
            raise NoAnswer(bank=NAME, reason="it fell silent")

"""Lines to the banks: one for each book in a process, with the door for what is heard on it.

Unless `lead` named a bank elsewhere (BANK_URL), it is the simulated one in process, on accounts that mirror our nostros, so
that a house that was just opened settles at once.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakKeyDictionary

import structlog

from clearhouse import clock
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal.writing import SYSTEM
from clearhouse.slices.interbank import banks
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.bank import client
from clearhouse.slices.interbank.bank.client import HttpBank
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.channel import (
    Ack,
    Channel,
    NoAnswer,
    NotSent,
    NotTaken,
    PaymentOrder,
    Said,
)
from clearhouse.slices.interbank.commands import ENGINE
from clearhouse.slices.interbank.reconciling import SCOPE

SIMULATED_CREDIT = "1000000000"
DUPLICATE = frozenset({"AM05", "DUPL"})
_SAID = {Said.ACCEPTED: "accepted", Said.REFUSED: "rejected", Said.SILENT: "silent"}
_log = structlog.get_logger(__name__)


class StoodStill(Exception):
    """The time in which orders could be sent was over before they were: nobody knows what was decided since."""


@dataclass(slots=True)
class Line:
    """A book's line to its banks. One listens on it at a time (`turn`); `mirrored` are the nostros that the bank knows."""

    database: Database
    book: int
    channel: Channel
    door: Door
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    mirrored: set[str] = field(default_factory=set[str])

    @property
    def caller(self) -> Caller:
        """Return the engine as it asks its own door."""
        return Caller(SYSTEM, "interbank engine", books={"": self.book}, scopes={self.book: frozenset({ENGINE, SCOPE})})

    async def pay(self, orders: Sequence[PaymentOrder], *, until: datetime | None = None) -> list[Word]:
        """Send orders, and return a word on each. What the bank does not take as a batch it is given in halves.

        Nothing leaves after `until`: whoever stood still for longer than it had may find that others have decided meanwhile.
        """
        await self.mirror(each.account for each in orders)
        left = None if until is None else (until - clock.now()).total_seconds()
        if left is not None and left <= 0:
            raise StoodStill(until)
        try:
            async with asyncio.timeout(left):
                acks = await self.channel.send(orders)
        except NotSent as refusal:
            return [Word(each.id, "not_sent", code=refusal.code, reason=str(refusal)) for each in orders]
        except NoAnswer as refusal:
            return [Word(each.id, "silent", code=refusal.code, reason=str(refusal)) for each in orders]
        except NotTaken as refusal:
            if len(orders) == 1:
                return [Word(orders[0].id, "not_sent", code=refusal.code, reason=str(refusal))]
            middle = len(orders) // 2
            return [
                *await self.pay(orders[:middle], until=until), *await self.pay(orders[middle:], until=until)
            ]  # fmt: skip
        return [_word(ack) for ack in acks]

    async def mirror(self, accounts: Iterable[str] | None = None) -> None:
        """Open at the simulated bank what it does not know yet of our nostros, all of them unless some are named."""
        bank = self.channel
        if not isinstance(bank, SimulatedBank) or (accounts is not None and self.mirrored.issuperset(accounts)):
            return
        async with self.database.writing(book=self.book) as tx:
            nostros = await banks.listed(tx, "nostro", most=10_000)
        wanted = [
            OpenAccount(each.number, each.currency, balance=each.balance, credit_line=SIMULATED_CREDIT)
            for each in nostros
            if each.number not in self.mirrored and not each.balance.startswith("-")
        ]
        if wanted:
            await bank.control.open(wanted)
            self.mirrored |= {each.account for each in wanted}


def _word(ack: Ack) -> Word:
    """Return what a bank said of an order. That it has the id already is no refusal: then it has the order, and is asked."""
    said = "silent" if ack.code in DUPLICATE else _SAID[ack.said]
    return Word(ack.id, said, code=ack.code, reason=ack.reason)  # type: ignore[arg-type] - a word of the table


@dataclass(slots=True)
class _Elsewhere:
    """Where the banks of this process are, if not in it."""

    line: client.Line | None = None


_elsewhere = _Elsewhere()
_lines: WeakKeyDictionary[Database, dict[int, Line]] = WeakKeyDictionary()


def lead(to: client.Line | None) -> None:
    """Lead every book to a bank elsewhere from now on, or to the simulated one in process."""
    _elsewhere.line = to


def line(database: Database, book: int) -> Line:
    """Return the line of a book."""
    mine = _lines.setdefault(database, {})
    if book not in mine:
        there = _elsewhere.line
        channel = SimulatedBank(database, book=book) if there is None else HttpBank(there)
        mine[book] = Line(database, book, channel, Door(database))
    return mine[book]


async def channel_of(database: Database, book: int) -> Channel:
    """Return the channel to the banks of a book, with every nostro known there."""
    found = line(database, book)
    await found.mirror()
    return found.channel

"""The bench of statements: so many lines on a nostro, all of which we booked too, from the bank's word to the report."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.app.bench.houses import WrongCount
from clearhouse.app.bench.rounds import Contestant
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.ledger import posting
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction
from clearhouse.kernel.reconciliation import matching
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import banks, commands, reconciling
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.banks import KeepBank, OpenBankAccount
from clearhouse.slices.interbank.channel import BATCH_MAX, Statement, StatementLine

AT_ONCE = 5_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LINE = "100000000.00"
BARE = "one JOIN of lines and bookings, nothing kept"
JOIN = """
SELECT count(*) FROM reconciliation_item AS o
JOIN reconciliation_item AS t
    ON t.book = o.book AND t.name = o.name AND t.side = 'theirs' AND t.asset = o.asset AND t.end_to_end = o.end_to_end
    AND t.amount = o.amount
WHERE o.book = %(book)s AND o.name = %(name)s AND o.side = 'ours'
"""


class Telling(SimulatedBank):
    """A bank that says of one account what it is told to say, page by page."""

    lines: Sequence[StatementLine] = ()
    closing = "0.00"

    async def statement(
        self,
        account: str,
        *,
        after: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        most: int = BATCH_MAX,
    ) -> Statement:
        """Return the next lines."""
        _ = since, until
        start = int(after or "0")
        end = min(start + most, len(self.lines))
        done = end == len(self.lines)
        return Statement(account, "USD", "0.00", self.closing, list(self.lines[start:end]), str(end), done)


@dataclass(slots=True)
class Bench:
    """A book with nostros in it, and who reconciles."""

    door: Door
    bank: Telling
    caller: Caller
    book: int
    size: int
    reconciled: str = ""

    async def compare(self, _seconds: float) -> float:
        """Return how many seconds it takes to hear a statement of a nostro, match it with our bookings and report."""
        bic = await self._opened()
        orders = await self._booked(bic)
        self.bank.lines = [
            StatementLine(f"{bic}-{number}", "-1.00", clock.now(), clock.now().date(), "payment", order, f"ref {number}")
            for number, order in enumerate(orders)
        ]
        random.shuffle(self.bank.lines)
        self.bank.closing = f"-{self.size}.00"
        start = perf_counter()
        found = await reconciling.compare(self.door, self.bank, caller=self.caller, book=self.book, bank=bic)
        elapsed = perf_counter() - start
        if [(each.status, each.matched) for each in found] != [("BALANCED", self.size)]:
            raise WrongCount(name="statement lines", acknowledged=str(self.size), found=str(found))
        self.reconciled = banks.reconciliation_of(bic, "USD")
        return elapsed

    async def bare(self, _seconds: float) -> float:
        """Return how many seconds PostgreSQL needs to find the same pairs, and to keep nothing."""
        if not self.reconciled:
            await self.compare(0)
        start = perf_counter()
        async with self.door.database.writing(book=self.book) as tx:
            await matching.look_at_all(tx)
            found = await tx.tuples(JOIN, {"book": self.book, "name": self.reconciled})
        elapsed = perf_counter() - start
        if int(str(found[0][0])) != self.size:
            raise WrongCount(name="pairs", acknowledged=str(self.size), found=str(found[0][0]))
        return elapsed

    async def _opened(self) -> str:
        """Open a nostro that nobody has used."""
        bic = "".join(random.choices(LETTERS, k=4)) + "US" + "".join(random.choices(LETTERS, k=2))
        await self._ask(commands.KEEP_BANK, KeepBank(bic, "A bank with many lines"))
        await self._ask(commands.OPEN_ACCOUNT, OpenBankAccount("nostro", bic, "USD", credit_line=LINE))
        return bic

    async def _booked(self, bic: str) -> list[UUID]:
        """Hold and capture so many payments on it, as settlements do, and return the holds."""
        own, treasury = banks.code("nostro", bic, "USD"), "treasury:USD"
        orders: list[UUID] = []
        for start in range(0, self.size, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, self.size))
            hold = Leg(debit=treasury, credit=own, amount="1.00", currency="USD", pending=True)
            held = await self._post([PostTransaction([hold]) for _ in numbers])
            captures = [Leg(capture=each, final=True) for each in held]
            await self._post(
                [PostTransaction([leg], reference=f"ref {number}") for number, leg in zip(numbers, captures, strict=True)]
            )
            orders += [ids.parse("trf", each) for each in held]
        return orders

    async def _post(self, some: Sequence[PostTransaction]) -> list[str]:
        asked = [Asked(each, ids.fresh(), self.caller.id) for each in some]
        async with self.door.database.writing(book=self.book, careful=True) as tx:
            answers = await posting.post(tx, asked, clock.now())
        return [_posted(each).transfers[0] for each in answers]

    async def _ask(self, kind: Kind[Any, Any], command: Any) -> None:
        _posted((await self.door.submit(kind, [command], caller=self.caller, book=self.book))[0])


def _posted(answer: Any) -> Posted:
    if isinstance(answer, Refusal):
        raise answer
    return answer


def contestants(door: Door, caller: Caller, book: int, lines: int) -> list[Contestant]:
    """Return what is measured of statements, of so many lines each."""
    bench = Bench(door, Telling(door.database, book=book), caller, book, lines)
    asked = lines / 10_000
    return [
        Contestant(f"{lines:,} statement lines reconciled", "seconds", bench.compare, BARE, asked=asked),
        Contestant(BARE, "seconds", bench.bare),
    ]

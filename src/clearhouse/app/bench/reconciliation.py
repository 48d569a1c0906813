"""The bench of reconciliation: so many items on each side, most with a counterpart, from the loads to the last break.

Promise: each turn reconciles a set of its own, loaded beforehand, and a wrong answer is refused.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from time import perf_counter
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.app.bench import memory
from clearhouse.app.bench.memory import Peak
from clearhouse.app.bench.rounds import Contestant
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.reconciliation import items, matching, rules, runs
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.kernel.reconciliation.runs import Run, StartRun
from clearhouse.refusals import Kind, Refusal

FIRST = date(2026, 1, 1)
AT_ONCE = 50_000
SECONDS_A_MILLION = 60
MEBIBYTES = 1_024
MILLION = 1_000_000
REFERENCES, ENDS, ALONE = 90, 97, 99  # of a hundred items
SIDES: tuple[Side, ...] = ("ours", "theirs")
RULES = [
    Rule("reference"), Rule("end_to_end"), Rule("amount", days=3), Rule("reference", many=True),
]  # fmt: skip
BARE = "one JOIN by reference, nothing kept"
JOIN = """
SELECT count(*) FROM reconciliation_item AS o
JOIN reconciliation_item AS t
    ON t.book = o.book AND t.name = o.name AND t.side = 'theirs' AND t.asset = o.asset AND t.reference = o.reference
    AND t.amount = o.amount
WHERE o.book = %(book)s AND o.name = %(name)s AND o.side = 'ours'
"""


class WrongMatches(Refusal):
    """{found} matches were found where {expected} belong together."""

    code = "wrong_matches"
    kind = Kind.REFUSED


@dataclass(slots=True)
class Bench:
    """Items to reconcile, and how much memory it took the last time."""

    database: Database
    book: int
    by: UUID
    size: int
    postmaster: int
    waiting: str = ""
    peak: Peak = field(default_factory=Peak)

    async def bare(self, _seconds: float) -> float:
        """Return how many seconds PostgreSQL needs to find the pairs by reference alone, and to keep nothing."""
        name = await self._loaded()
        start = perf_counter()
        async with self.database.writing(book=self.book) as tx:
            await matching.look_at_all(tx)
            await tx.tuples("SELECT set_config('enable_seqscan', 'on', true)")
            found = await tx.tuples(JOIN, {"book": self.book, "name": name})
        elapsed = perf_counter() - start
        _check(int(str(found[0][0])), sum(_place(number) < REFERENCES for number in range(self.size)))
        return elapsed

    async def run(self, _seconds: float) -> float:
        """Return how many seconds a run takes, from what was loaded to the last break."""
        name, self.waiting = await self._loaded(), ""
        with memory.watched(self.postmaster) as self.peak:
            start = perf_counter()
            async with self.database.writing(book=self.book) as tx:
                run = (await runs.start(tx, [Asked(StartRun(name), ids.fresh(), self.by)], clock.now()))[0]
            elapsed = perf_counter() - start
        if not isinstance(run, Run):
            raise run
        _check(run.matches, sum(_place(number) != ALONE for number in range(self.size)))
        return elapsed

    async def postgres(self, _seconds: float) -> float:
        """Return the most memory that PostgreSQL had during the last run."""
        return self.peak.postgres

    async def python(self, _seconds: float) -> float:
        """Return the most memory that this process had during the last run."""
        return self.peak.python

    async def _loaded(self) -> str:
        """Load a new set, unless one is waiting, and return its name."""
        if not self.waiting:
            name = f"bench-{ids.fresh().hex[-12:]}"
            async with self.database.writing(book=self.book) as tx:
                await rules.define(tx, [Asked(DefineRules(name, RULES), ids.fresh(), self.by)], clock.now())
            for side in SIDES:
                await self._load(name, side)
            self.waiting = name
        return self.waiting

    async def _load(self, name: str, side: Side) -> None:
        for start in range(0, self.size, AT_ONCE):
            some = [_item(side, number) for number in range(start, min(start + AT_ONCE, self.size))]
            random.shuffle(some)
            async with self.database.writing(book=self.book) as tx:
                await items.load(tx, [Asked(LoadItems(name, side, some), ids.fresh(), self.by)], clock.now())


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise WrongMatches(found=str(found), expected=str(expected))


async def contestants(database: Database, book: int, by: UUID, size: int) -> Sequence[Contestant]:
    """Return what is measured of reconciliation, with so many items on each side: goals are of a million."""
    bench = Bench(database, book, by, size, await memory.postmaster_of(database))
    name = f"reconcile {size:,} with {size:,}"
    return [
        Contestant(BARE, "seconds", bench.bare),
        Contestant(name, "seconds", bench.run, BARE, asked=SECONDS_A_MILLION * size / MILLION),
        Contestant(f"{name}, memory of PostgreSQL", "MiB", bench.postgres, asked=MEBIBYTES),
        Contestant(f"{name}, memory of Python", "MiB", bench.python, asked=MEBIBYTES),
    ]


def _place(number: int) -> int:
    return number % 100


def _item(side: Side, number: int) -> Item:
    """Return an item: nine in ten share a reference, some an end-to-end id, some amount and date only, few nothing."""
    place = _place(number)
    amount = f"{1 + number % 50_000}.{number % 97:02}"
    if place == ALONE:  # who stands alone differs by the side, too
        amount = f"{200_000 + 2 * number + (side == 'ours')}.00"
    elif place >= ENDS:  # an amount that nobody else has
        amount = f"{1_000_000 + number}.00"
    day = FIRST + timedelta(days=number // 5_000 % 28 + (side == "theirs") * (number % 2))
    reference = f"invoice {number}" if place < REFERENCES else None
    end = f"end-to-end {number}" if REFERENCES <= place < ENDS else None
    return Item(f"{side[0]}{number}", amount, "EUR", day, reference, end)

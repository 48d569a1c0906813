"""Matching: the rules of a set applied in order to items that are open, by statements over all of them at once.

Promise: what one rule matched no later one looks at; where several fit, the nearest day, then the date, then the id decides,
so that the same items give the same matches wherever and however often they are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.reconciliation.rules import Rule, tolerances
from clearhouse.refusals import Refusal

MANY_FROM = 10_000  # items: fewer are looked up one by one, whatever else there is
ROUNDS_MAX = 20  # of looking for what is nearest among items of one key; whoever is left then is for people
_sql = Statements.of("clearhouse.kernel.reconciliation", "matching.sql")


@dataclass(frozen=True, slots=True)
class Left:
    """Items that are in no match, as an array that PostgreSQL wrote, and how many of each side they are."""

    items: str
    ours: int
    theirs: int

    @property
    def count(self) -> int:
        """Return how many they are."""
        return self.ours + self.theirs

    @property
    def may_match(self) -> bool:
        """Tell whether there is something on both sides."""
        return self.ours > 0 and self.theirs > 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was matched, in a word."""

    digest: bytes
    matches: int


@dataclass(frozen=True, slots=True)
class _Found:
    found: int


@dataclass(slots=True)
class Matching:
    """One run over items: what it is called, what is left, and how much was found."""

    tx: Tx
    batch: UUID
    name: str
    at: datetime
    who: UUID
    left: Left
    found: int = 0
    looks_at_all: bool | None = None

    async def apply(self, place: int, rule: Rule, exponents: Mapping[str, int]) -> None:
        """Match by one rule what the earlier ones left."""
        amounts = tolerances(rule, exponents)
        tolerated = {"assets": texts(amounts), "tolerances": array(amounts.values())}
        if rule.many:
            await self._pass("several", place, by=rule.by, **tolerated)
            return
        for shift in _shifts(rule.days or 0):
            await self._pass("exact", place, by=rule.by, shift=shift)
        if not any(amounts.values()):
            return
        for shift in _shifts(rule.days or 0):
            for _ in range(ROUNDS_MAX):
                if not await self._pass("nearest", place, by=rule.by, shift=shift, **tolerated):
                    break

    async def _pass(self, statement: str, place: int, **values: object) -> int:
        if not self.left.may_match:
            return 0
        await self._plan()
        found = await self.tx.row(
            _sql[statement], _Found, book=self.tx.book, batch=self.batch, name=self.name, at=self.at, who=self.who,
            left=self.left.items, first=self.found, rule=place, **values,
        )  # fmt: skip
        count = 0 if found is None else found.found
        if count:
            self.found += count
            self.left = await left_of(self.tx, self.left.items)
        return count

    async def _plan(self) -> None:
        many = self.left.count >= MANY_FROM
        if many != self.looks_at_all:
            await look_at_all(self.tx, self.left.count)
            self.looks_at_all = many


def _shifts(days: int) -> list[int]:
    """Return distances in days, the nearest first and earlier before later."""
    return [0, *(shift for day in range(1, days + 1) for shift in (-day, day))]


async def left_of(tx: Tx, items: str) -> Left:
    """Return what of some items is in no match."""
    return await tx.row(_sql["left"], Left, book=tx.book, left=items) or Left("{}", 0, 0)


async def look_at_all(tx: Tx, count: int) -> None:
    """Let the planner read so many items from one end to the other, which a writer otherwise avoids."""
    await tx.tuples(_sql["plan"], {"loops": "off" if count >= MANY_FROM else "on"})


async def look_up(tx: Tx) -> None:
    """Let the planner look up again what it is asked for."""
    await tx.tuples(_sql["plan_as_before"])


async def outcome(tx: Tx, batch: UUID) -> Outcome:
    """Return what a run matched, in a word."""
    found = await tx.row(_sql["digest"], Outcome, book=tx.book, batch=batch)
    if found is None:
        raise Refusal
    return found

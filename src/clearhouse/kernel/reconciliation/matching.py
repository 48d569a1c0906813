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
SPARSE_FROM = 4  # numbers for each item that is wanted: then, too, they are looked up one by one
TOGETHER_MAX = 10_000  # items of one match by what they have in common
ROUNDS_MAX = 20  # of looking for what is nearest among items of one key; whoever is left then is for people
_NONE_DENSE = (1 << 63) - 1
_sql = Statements.of("clearhouse.kernel.reconciliation", "matching.sql")


@dataclass(frozen=True, slots=True)
class Left:
    """Items in no match, as an array that PostgreSQL wrote; how many of each side they are, and the last of them."""

    items: str
    ours: int
    theirs: int
    last: int

    @property
    def count(self) -> int:
        """Return how many they are."""
        return self.ours + self.theirs

    @property
    def may_match(self) -> bool:
        """Tell whether there is something on both sides."""
        return self.ours > 0 and self.theirs > 0

    def dense(self, first: int) -> int:
        """Return from where on they are read one after another, if most of those from a number on are among them."""
        return dense(self.count, first, self.last)


@dataclass(frozen=True, slots=True)
class Apart:
    """Pairs of items whose match was undone, as two arrays of one length, and how many of them one item is in at most."""

    ours: str
    theirs: str
    most: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was matched, in a word."""

    digest: bytes
    matches: int


@dataclass(frozen=True, slots=True)
class _Found:
    found: int
    apart: int = 0


@dataclass(slots=True)
class Matching:
    """One run over items: what it is called, what is left, and how much was found; `first` is the first that is new."""

    tx: Tx
    batch: UUID
    name: str
    at: datetime
    who: UUID
    left: Left
    first: int
    apart: Apart
    found: int = 0

    async def apply(self, place: int, rule: Rule, exponents: Mapping[str, int]) -> None:
        """Match by one rule what the earlier ones left."""
        amounts = tolerances(rule, exponents)
        tolerated = {"assets": texts(amounts), "tolerances": array(amounts.values())}
        if rule.many:
            await self._pass("several", place, by=rule.by, most=TOGETHER_MAX, **tolerated)
            return
        for shift in _shifts(rule.days or 0):
            await self._exact(place, rule, shift)
        if not any(amounts.values()):
            return
        for shift in _shifts(rule.days or 0):
            for _ in range(ROUNDS_MAX):
                if not (await self._pass("nearest", place, by=rule.by, shift=shift, **tolerated)).found:
                    break

    async def _exact(self, place: int, rule: Rule, shift: int) -> None:
        """Match equal items. Where two meet that were undone, turn, until each has been beside somebody else."""
        turn, vain = 0, 0
        while vain <= self.apart.most:
            met = await self._pass("exact", place, by=rule.by, shift=shift, turn=turn)
            if not met.apart:
                return
            turn, vain = turn + 1, 0 if met.found else vain + 1

    async def _pass(self, statement: str, place: int, **values: object) -> _Found:
        if not self.left.may_match:
            return _Found(0)
        dense = self.left.dense(self.first)
        met = await self.tx.row(
            _sql[statement], _Found, book=self.tx.book, batch=self.batch, name=self.name, at=self.at, who=self.who,
            left=self.left.items, dense=dense, first=self.found, rule=place, apart_ours=self.apart.ours,
            apart_theirs=self.apart.theirs, **values,
        )  # fmt: skip
        met = met or _Found(0)
        if met.found:
            self.found += met.found
            self.left = await left_of(self.tx, self.left.items, dense)
        return met


def _shifts(days: int) -> list[int]:
    """Return distances in days, the nearest first and earlier before later."""
    return [0, *(shift for day in range(1, days + 1) for shift in (-day, day))]


def dense(count: int, first: int, last: int) -> int:
    """Return from which number on items are read one after another: at most so many are read in vain, whatever there is."""
    return first if count >= MANY_FROM and last - first < SPARSE_FROM * count else _NONE_DENSE


async def left_of(tx: Tx, items: str, dense: int) -> Left:
    """Return what of some items is in no match."""
    return await tx.row(_sql["left"], Left, book=tx.book, left=items, dense=dense) or Left("{}", 0, 0, 0)


async def look_at_all(tx: Tx) -> None:
    """Let the planner put items together at once, which a writer otherwise avoids."""
    await tx.tuples(_sql["plan"])


async def look_up(tx: Tx) -> None:
    """Let the planner look up again what it is asked for."""
    await tx.tuples(_sql["plan_as_before"])


async def outcome(tx: Tx, batch: UUID) -> Outcome:
    """Return what a run matched, in a word."""
    found = await tx.row(_sql["digest"], Outcome, book=tx.book, batch=batch)
    if found is None:  # pragma: no cover - an aggregate is one row, which the types do not know
        raise Refusal
    return found

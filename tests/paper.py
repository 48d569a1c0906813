"""Reconciliation on paper: a slow and obvious model of what a run matches, for the laws to hold it against."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

from clearhouse.kernel.approvals.policies import Sum
from clearhouse.kernel.reconciliation.items import Item, Side
from clearhouse.kernel.reconciliation.rules import Rule
from clearhouse.money import decimal_text

FIRST = date(2026, 11, 2)
ASSETS = ("EUR", "USD")
SIDES: tuple[Side, ...] = ("ours", "theirs")
Group = tuple[int, frozenset[str], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Thing:
    """An item on paper."""

    side: Side
    id: str
    asset: str
    amount: int
    day: int
    reference: str | None
    end_to_end: str | None

    @property
    def order(self) -> tuple[int, str]:
        return self.day, self.id

    @property
    def signed(self) -> int:
        return self.amount if self.side == "ours" else -self.amount

    @property
    def item(self) -> Item:
        day = FIRST + timedelta(days=self.day)
        return Item(self.id, decimal_text(self.amount, 2), self.asset, day, self.reference, self.end_to_end)


@dataclass(frozen=True, slots=True)
class Way:
    """A rule on paper."""

    by: str
    many: bool
    days: int
    tolerance: int

    @property
    def rule(self) -> Rule:
        tolerated = [Sum(decimal_text(self.tolerance, 2), asset) for asset in ASSETS] if self.tolerance else []
        return Rule(self.by, self.many, self.days if self.by == "amount" else None, tolerated)  # type: ignore[arg-type] - one of them

    def key(self, thing: Thing, shift: int = 0) -> object:
        if self.by == "amount":
            return thing.day + (shift if thing.side == "ours" else 0)
        return thing.reference if self.by == "reference" else thing.end_to_end

    def fits(self, our: Thing, their: Thing) -> bool:
        """Tell whether two items may be matched at all."""
        near = any(self.key(our, shift) == self.key(their) for shift in range(-self.days, self.days + 1))
        known = self.key(our) is not None
        return known and near and our.asset == their.asset and abs(our.amount - their.amount) <= self.tolerance

    def narrower(self, other: "Way") -> bool:
        return (
            (self.by, self.many) == (other.by, other.many) and self.days <= other.days and self.tolerance <= other.tolerance
        )


class Paper:
    """Matching by hand, one after another, but for those that were undone."""

    def __init__(self, things: list[Thing], undone: Sequence[list[Thing]] = ()) -> None:
        self.left = sorted(things, key=lambda each: each.order)
        self.found: list[tuple[int, list[Thing]]] = []
        self.apart = {(o, t) for each in undone for o in each for t in each if (o.side, t.side) == SIDES}

    def may(self, one: Thing, other: Thing) -> bool:
        return not {(one, other), (other, one)} & self.apart

    def take(self, place: int, *chosen: Thing) -> None:
        self.found.append((place, list(chosen)))
        self.left = [each for each in self.left if each not in chosen]

    def of(self, side: str) -> list[Thing]:
        return [each for each in self.left if each.side == side]

    def apply(self, place: int, way: Way) -> None:
        if way.many:
            self.several(place, way)
            return
        shifts = [0, *(shift for day in range(1, way.days + 1) for shift in (-day, day))]
        for shift in shifts:
            self.exact(place, way, shift)
        for shift in shifts if way.tolerance else []:
            while self.nearest(place, way, shift):
                pass

    def exact(self, place: int, way: Way, shift: int) -> None:
        turn = vain = 0
        while vain <= max(Counter(each for pair in self.apart for each in pair).values(), default=0):
            met = self.turned(way, shift, turn)
            for pair in met & self.allowed(met):
                self.take(place, *pair)
            if met == self.allowed(met):
                return
            turn, vain = turn + 1, 0 if self.allowed(met) else vain + 1

    def allowed(self, met: set[tuple[Thing, Thing]]) -> set[tuple[Thing, Thing]]:
        return {pair for pair in met if self.may(*pair)}

    def turned(self, way: Way, shift: int, turn: int) -> set[tuple[Thing, Thing]]:
        """Return who meets if equal ones stand side by side, and the larger side has moved on by so many places."""
        met: set[tuple[Thing, Thing]] = set()
        for line in self.lines(way, shift):
            for amount in {each.amount for each in line}:
                ours, theirs = ([each for each in line if (each.side, each.amount) == (side, amount)] for side in SIDES)
                if len(ours) <= len(theirs):
                    met |= {(our, theirs[(place + turn) % len(theirs)]) for place, our in enumerate(ours)}
                else:
                    met |= {(ours[(place + turn) % len(ours)], their) for place, their in enumerate(theirs)}
        return met

    def lines(self, way: Way, shift: int = 0) -> Iterator[list[Thing]]:
        by_key: defaultdict[object, list[Thing]] = defaultdict(list)
        for each in self.left:
            if way.key(each) is not None:
                by_key[each.asset, way.key(each, shift)].append(each)
        yield from by_key.values()

    def nearest(self, place: int, way: Way, shift: int) -> bool:
        chosen: list[tuple[Thing, Thing]] = []
        for line in self.lines(way, shift):
            line.sort(key=lambda each: (each.amount, each.order, each.side))
            pairs = list(pairwise(line))
            gaps = [
                high.amount - low.amount
                if low.side != high.side and self.may(low, high) and high.amount - low.amount <= way.tolerance
                else 10**9
                for low, high in pairs
            ]
            around = [10**9, *gaps, 10**9]
            chosen += [
                pair
                for at, (pair, gap) in enumerate(zip(pairs, gaps, strict=True), start=1)
                if gap < 10**9 and gap < around[at - 1] and gap <= around[at + 1]
            ]
        for pair in chosen:
            self.take(place, *pair)
        return bool(chosen)

    def several(self, place: int, way: Way) -> None:
        for line in self.lines(way):
            counts = [sum(each.side == side for each in line) for side in SIDES]
            apart = any(not self.may(one, other) for one in line for other in line)
            if min(counts) == 1 and not apart and abs(sum(each.signed for each in line)) <= way.tolerance:
                self.take(place, *line)

    def groups(self) -> set[Group]:
        return {(place, _names(chosen, "ours"), _names(chosen, "theirs")) for place, chosen in self.found}


def _names(chosen: list[Thing], side: str) -> frozenset[str]:
    return frozenset(each.id for each in chosen if each.side == side)


def model(things: list[Thing], ways: list[Way], undone: Sequence[list[Thing]] = ()) -> Paper:
    paper = Paper(things, undone)
    for place, way in enumerate(ways, start=1):
        paper.apply(place, way)
    return paper


def pairs_of(paper: Paper) -> Iterator[tuple[Thing, Thing]]:
    """Give everyone of ours with everyone of theirs in one match."""
    for _, chosen in paper.found:
        yield from ((o, t) for o in chosen for t in chosen if (o.side, t.side) == SIDES)

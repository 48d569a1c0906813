"""A settlement structure: by which key records are summed, which metrics, how, and how its rounds are settled.

Promise: what a structure is never changes; where it stands is its change (a number, one for each upload, settling and
clearing) and its round (a cut, so that a record in flight lands in exactly one).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from clearhouse import money
from clearhouse.asking import Asked
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal
from clearhouse.slices.records import aggregations, settlements
from clearhouse.slices.records.cells import Aggregation, Number
from clearhouse.slices.records.refusals import StructureExists, StructureUnknown, Unparsable
from clearhouse.slices.records.settling import Settlement

RESERVED = frozenset({"create", "dlc"})
METRICS_MAX = 50
NAME_LENGTH_MAX = 200
NO_SETTLEMENT = "none"
PLACEHOLDER = "string"  # what the contract's own example has for a settlement type
_sql = Statements.of("clearhouse.slices.records", "structures.sql")
_SETTLEID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")


class Create(msgspec.Struct, frozen=True, omit_defaults=True):
    """A structure that is asked for, checked; `by` is a name and its organisation."""

    settleid: str
    aggregates: list[str]
    aggregation: str
    primary_key: str
    settlement: str
    by: str
    sample: str = "{}"
    tolerance: str = "0"
    currency: str | None = None
    dispute_hours: int = 72


class Update(msgspec.Struct, frozen=True):
    """The last change of a structure."""

    operation: str
    timestamp: int
    user: str


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure as it stands: its round is the one that records go into now."""

    number: int
    settleid: str
    primary_key: str
    metrics: list[str]
    aggregation: str
    settlement: str
    tolerance: Number
    asset: str | None
    exponent: int | None
    dispute_hours: int
    changes: int
    operation: str
    at: datetime
    by_whom: str
    settled_at: datetime
    round: int

    @property
    def aggregating(self) -> Aggregation:
        """Return what is made of its records."""
        return aggregations.FOUND[self.aggregation]

    @property
    def books(self) -> bool:
        """Tell whether its settled rounds are posted to the ledger."""
        return self.asset is not None and self.settling.books

    @property
    def settling(self) -> Settlement:
        """Return what is made of its rounds."""
        return settlements.FOUND[self.settlement]

    def shown(self, **other: Any) -> dict[str, Any]:
        """Return it as the contract has it, without its aggregates, or as it was after another change."""
        last = Update(
            other.get("operation", self.operation), seconds(other.get("at", self.at)), other.get("by_whom", self.by_whom)
        )
        return {
            "aggregationMetrics": self.metrics,
            "aggregationType": self.aggregation,
            "lastSettlement": seconds(other.get("settled_at", self.settled_at)),
            "lastUpdate": last,
            "primaryKey": self.primary_key,
            "settleid": self.settleid,
            "settlementType": self.settlement,
        }


@dataclass(frozen=True, slots=True)
class Head:
    """Where a structure stands after a change: `added` is how many sums all of them added to, `round` the open one."""

    number: int
    changes: int
    added: int
    at: datetime
    settled_at: datetime
    round: int


def seconds(at: datetime) -> int:
    """Return an instant as the contract has it."""
    return int(at.timestamp())


def cut_of(settleid: str) -> str:
    """Return the name of a structure's cut."""
    return f"records:{settleid}"


def checked(create: Create) -> Create:
    """Return a structure that can be made, or refuse it with the place."""
    if _SETTLEID.fullmatch(create.settleid) is None or create.settleid in RESERVED:
        raise Unparsable(place="settleid", problem="letters, digits and _ . : - are taken, up to 100, but not create or dlc")
    _name("primaryKey", create.primary_key)
    if not 0 < len(create.aggregates) <= METRICS_MAX or len(set(create.aggregates)) != len(create.aggregates):
        raise Unparsable(place="aggregates", problem=f"name 1 to {METRICS_MAX} metrics, each once")
    for each in create.aggregates:
        _name("aggregates", each)
    if create.aggregation not in aggregations.FOUND:
        raise Unparsable(place="aggregationType", problem=f"there are {', '.join(sorted(aggregations.FOUND))}")
    _settled(create)
    return create


def _name(place: str, name: str) -> None:
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise Unparsable(place=place, problem=f"a name has 1 to {NAME_LENGTH_MAX} characters that can be seen")


def _settled(create: Create) -> None:
    if create.settlement not in settlements.FOUND:
        raise Unparsable(place="settlementType", problem=f"there are {', '.join(sorted(settlements.FOUND))}")
    if settlements.FOUND[create.settlement].apart and not aggregations.FOUND[create.aggregation].apart:
        raise Unparsable(place="settlementType", problem=f"{create.settlement} compares organisations: aggregate with 1CDR")
    try:
        money.minor_units(create.tolerance, money.DIGITS_MAX // 2)
    except Refusal as refusal:
        raise Unparsable(place="tolerance", problem=str(refusal)) from refusal
    if create.tolerance.startswith("-"):
        raise Unparsable(place="tolerance", problem="it cannot be below zero")
    if create.currency is not None and not settlements.FOUND[create.settlement].books:
        raise Unparsable(place="currency", problem=f"{create.settlement} posts nothing to the ledger: say net")
    if create.currency is not None and money.iso(create.currency) is None:
        raise Unparsable(place="currency", problem="it is no currency of ISO 4217")


async def create_structures(tx: Tx, asked: Sequence[Asked[Create]], at: datetime) -> list[Structure | Refusal]:
    """Make structures, one after another; an id that is taken is refused."""
    return [await _create(tx, each.command, at) for each in asked]


async def _create(tx: Tx, create: Create, at: datetime) -> Structure | Refusal:
    asset = None if create.currency is None else money.iso(create.currency)
    cuts.open_cuts(tx, [cut_of(create.settleid)], at)
    made = await tx.do(
        _sql["create"], book=tx.book, settleid=create.settleid, primary_key=create.primary_key, metrics=create.aggregates,
        aggregation=create.aggregation, settlement=create.settlement, tolerance=Decimal(create.tolerance),
        asset=None if asset is None else asset.code, exponent=None if asset is None else asset.exponent,
        dispute_hours=create.dispute_hours, sample=create.sample, at=at, by=create.by,
    )  # fmt: skip
    return await find(tx, create.settleid) if made else StructureExists(settleid=create.settleid)


async def find(tx: Tx, settleid: str) -> Structure:
    """Return a structure as it stands."""
    found = await tx.row(_sql["structure"], Structure, book=tx.book, settleid=settleid)
    if found is None:
        raise StructureUnknown(settleid=settleid[:100])
    return found


async def structures(tx: Tx, *, after: str, most: int) -> list[Structure]:
    """Return structures in the order of their ids."""
    return await tx.rows(_sql["structures"], Structure, book=tx.book, after=after, most=most)


@dataclass(frozen=True, slots=True)
class Step:
    """Changes that a structure is to make: how many, to how many sums they add, and by whom the last one is."""

    settleid: str
    number: int
    by: str
    count: int = 1
    added: int = 0


async def count_on(tx: Tx, steps: Sequence[Step], at: datetime) -> dict[int, Head]:
    """Enter the cuts of structures, and then lock all of them and number their uploads: in one round trip."""
    cuts.enter_next(tx, sorted({cut_of(each.settleid) for each in steps}))
    return await _advance(tx, steps, "Update", at)


async def end_rounds(tx: Tx, steps: Sequence[Step], operation: str, at: datetime) -> dict[int, Head]:
    """Move the cuts of structures on, and then lock all of them and number what ended their rounds: in one round trip."""
    cuts.move_next(tx, sorted({cut_of(each.settleid) for each in steps}), at)
    return await _advance(tx, steps, operation, at)


async def _advance(tx: Tx, steps: Sequence[Step], operation: str, at: datetime) -> dict[int, Head]:
    """Give numbers to changes; their structures stay locked until we commit: who is next waits for that, so be quick."""
    rows = await tx.rows(
        _sql["advance"], Head, book=tx.book, numbers=array([each.number for each in steps]),
        counts=array([each.count for each in steps]), added=array([each.added for each in steps]),
        by=texts([each.by for each in steps]), operation=operation, settles=operation == "Settle", at=at,
    )  # fmt: skip
    return {row.number: row for row in rows}

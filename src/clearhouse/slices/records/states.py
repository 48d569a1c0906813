"""States: what a structure's sums are, were after any change, or were at any instant; and its history, change by change.

Promise: a past state is the sum of what each change added, and never changes; it costs by what was added since the snapshot
before it, however long its round was. What waits to be merged is in every answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any, cast
from uuid import UUID

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.records.cells import Cell, Number
from clearhouse.slices.records.parsing import Sum, merged
from clearhouse.slices.records.settling import Cells, Terms, shown
from clearhouse.slices.records.structures import Structure

KEYS_SHOWN_MAX = 1_000  # of more, the answer to a change shows those that it touched
EVERY = 2**62
_sql = Statements.of("clearhouse.slices.records", "states.sql")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a structure."""

    change: int
    operation: str
    round: int
    upload: UUID | None
    at: datetime
    by_whom: str
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    metric: int
    organisation: str
    count: int
    total: Number | None
    least: Number | None
    most: Number | None
    latest: str | None
    first_at: datetime | None = None
    last_at: datetime | None = None
    change: int = 0


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


@dataclass(frozen=True, slots=True)
class _Start:
    change: int


@dataclass(frozen=True, slots=True)
class _Key:
    key: str


_Summed = dict[str, dict[str, list[Cell]]]


async def aggregates(tx: Tx, structure: Structure, round_: int) -> dict[str, Any]:
    """Return the sums of a round as they are, by key and metric."""
    if structure.aggregating.counts and not await _pending(tx, structure, round_):
        values: dict[str, object] = {
            "book": tx.book, "structure": structure.number, "round": round_, "most": EVERY,
        }  # fmt: skip
        rows = cast("list[tuple[str, int, int]]", await tx.tuples(_sql["counts"], values))  # as the statement has them
        found: dict[str, Any] = {}
        for key, metric, count in rows:
            found.setdefault(key, {})[structure.metrics[metric]] = structure.aggregating.show([Cell("", count)])
        return found
    return shown(await cells(tx, structure, round_), structure.aggregating)


async def cells(tx: Tx, structure: Structure, round_: int, change: int | None = None) -> Cells:
    """Return the cells of a round, as they are or as they were after a change."""
    values = {"book": tx.book, "structure": structure.number, "round": round_, "most": EVERY}
    if change is not None:
        return await _cells_then(tx, structure, round_, change)
    if await _pending(tx, structure, round_):
        values.pop("most")
        return _by_key(await tx.rows(_sql["cells_whole"], _Row, **values), structure)
    return _by_key(await tx.rows(_sql["cells"], _Row, **values), structure)


async def _cells_then(tx: Tx, structure: Structure, round_: int, change: int) -> Cells:
    values: dict[str, object] = {"book": tx.book, "structure": structure.number, "change": change}
    base = await tx.row(_sql["base"], _Start, **values, round=round_)
    rows = await tx.rows(_sql["cells_then"], _Row, **values, base=0 if base is None else base.change)
    return _by_key(rows, structure)


async def _pending(tx: Tx, structure: Structure, round_: int) -> bool:
    """Tell whether sums wait to be merged; of a round that is over, none come to those that wait."""
    found = await tx.row(_sql["pending"], _Count, book=tx.book, structure=structure.number, round=round_)
    return found is not None and found.count > 0


async def settled(tx: Tx, structure: Structure, round_: int) -> dict[str, Any]:
    """Return what a round comes to that is over."""
    return structure.settling.settle(await cells(tx, structure, round_), terms(structure))


def terms(structure: Structure) -> Terms:
    """Return what a structure says on how its rounds are settled."""
    return Terms(structure.aggregating, structure.tolerance)


async def current(tx: Tx, structure: Structure) -> dict[str, Any]:
    """Return a structure as it stands, with all of its sums."""
    return _with(structure.shown(), await aggregates(tx, structure, structure.round))


async def after(tx: Tx, structure: Structure, change: int) -> dict[str, Any]:
    """Return a structure as it stands after an upload, with all of its sums, or of many, with those that it touched."""
    values: dict[str, object] = {"book": tx.book, "structure": structure.number, "round": structure.round}
    if await _pending(tx, structure, structure.round):
        count = await tx.row(_sql["count_keys_whole"], _Count, **values)
    else:
        count = await tx.row(_sql["count_keys"], _Count, **values, most=KEYS_SHOWN_MAX + 1)
    if count is None or count.count <= KEYS_SHOWN_MAX:
        return await current(tx, structure)
    touched = await tx.rows(
        _sql["touched"], _Key, book=tx.book, structure=structure.number, change=change, most=KEYS_SHOWN_MAX
    )
    rows = await tx.rows(_sql["cells_of"], _Row, **values, keys=[each.key for each in touched])
    return _with(structure.shown(), shown(_by_key(rows, structure), structure.aggregating)) | {"partial": True}


async def at(tx: Tx, structure: Structure, instant: datetime) -> dict[str, Any] | None:
    """Return a structure as it was at an instant; None if there was none yet."""
    change = await tx.row(_sql["last_change"], Change, book=tx.book, structure=structure.number, at=instant)
    if change is None:
        return None
    there: Cells = {} if change.operation != "Update" else await cells(tx, structure, change.round, change.change)
    return _with(_shown(structure, change), shown(there, structure.aggregating))


async def history(tx: Tx, structure: Structure, *, before: int = EVERY, most: int) -> list[tuple[int, dict[str, Any]]]:
    """Return changes, newest first, each with its number and the structure as it was after it."""
    changes = await tx.rows(_sql["changes"], Change, book=tx.book, structure=structure.number, before=before, most=most)
    entries: dict[int, dict[str, Any]] = {each.change: _shown(structure, each) for each in changes}
    updates = [each for each in reversed(changes) if each.operation == "Update"]
    for round_ in sorted({each.round for each in updates}):
        there = await _unfolded(tx, structure, [each for each in updates if each.round == round_])
        entries = {change: entry | there.get(change, {}) for change, entry in entries.items()}
    return [(change, dict(sorted(entry.items()))) for change, entry in entries.items()]


async def _unfolded(tx: Tx, structure: Structure, updates: Sequence[Change]) -> dict[int, dict[str, Any]]:
    """Return the sums after each of a round's updates, in order: those after the first, and then what each added."""
    first, last = updates[0], updates[-1]
    base = await cells(tx, structure, first.round, first.change)
    there: _Summed = {key: {name: list(its) for name, its in metrics.items()} for key, metrics in base.items()}
    values = {"book": tx.book, "structure": structure.number}
    rows = await tx.rows(_sql["deltas"], _Row, **values, after=first.change - 1, until=last.change)
    by_change = {change: list(its) for change, its in groupby(rows, key=lambda row: row.change)}
    found: dict[int, dict[str, Any]] = {}
    for each in updates:
        added = by_change.get(each.change, [])
        if each is not first:
            for row in added:
                _add(there, row, structure, each.at)
        few = len(there) <= KEYS_SHOWN_MAX
        keys: Iterable[str] = there if few else sorted({row.key for row in added})[:KEYS_SHOWN_MAX]
        part = shown({key: there[key] for key in sorted(keys)}, structure.aggregating)
        found[each.change] = ({"aggregates": part} if part else {}) | ({} if few else {"partial": True})
    return found


def _add(there: _Summed, row: _Row, structure: Structure, at_: datetime) -> None:
    its = there.setdefault(row.key, {}).setdefault(structure.metrics[row.metric], [])
    new = _cell(replace(row, first_at=at_, last_at=at_))
    for place, old in enumerate(its):
        if old.organisation == new.organisation:
            sum_ = merged(_sum(old), _sum(new))
            its[place] = Cell(
                old.organisation, sum_.count, sum_.total, sum_.least, sum_.most, sum_.latest, old.first_at, at_
            )
            return
    its.append(new)
    its.sort(key=lambda cell: cell.organisation)


def _sum(cell: Cell) -> Sum:
    return Sum(cell.count, cell.total, cell.least, cell.most, cell.latest)


def _shown(structure: Structure, change: Change) -> dict[str, Any]:
    return structure.shown(operation=change.operation, at=change.at, by_whom=change.by_whom, settled_at=change.settled_at)


def _with(structure: dict[str, Any], sums: dict[str, Any]) -> dict[str, Any]:
    return {"aggregates": sums, **structure} if sums else structure


def _by_key(rows: Iterable[_Row], structure: Structure) -> _Summed:
    found: _Summed = {}
    for row in rows:
        found.setdefault(row.key, {}).setdefault(structure.metrics[row.metric], []).append(_cell(row))
    return found


def _cell(row: _Row) -> Cell:
    return Cell(row.organisation, row.count, row.total, row.least, row.most, row.latest, row.first_at, row.last_at)

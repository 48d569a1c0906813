"""States: what a structure's sums are, were after any change, or were at any instant; and its history, change by change.

Promises: a past state is the sum of what each change added, and never changes; it costs by what was added since the snapshot
before it, however long its round was. A page of the history looks at no keys but those that it shows. What waits to be
merged is in every answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Touched:
    change: int
    key: str


_Summed = dict[str, dict[str, list[Cell]]]


async def aggregates(tx: Tx, structure: Structure, round_: int) -> dict[str, Any]:
    """Return the sums of a round as they are, by key and metric."""
    if structure.aggregating.counts:
        values: dict[str, object] = {"book": tx.book, "structure": structure.number, "round": round_, "most": EVERY}
        statement = _sql["counts_whole" if await _pending(tx, structure, round_) else "counts"]
        rows = cast("list[tuple[str, int, int]]", await tx.tuples(statement, values))  # as the statement has them
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
    rows = await tx.rows(_sql["cells_then"], _Row, **values, base=await _start(tx, structure, round_, change))
    return _by_key(rows, structure)


async def _start(tx: Tx, structure: Structure, round_: int, change: int) -> int:
    """Return the last change up to one of which there is a snapshot, or with which the round before ended."""
    base = await tx.row(_sql["base"], _Start, book=tx.book, structure=structure.number, round=round_, change=change)
    return 0 if base is None else base.change


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
    count = await tx.row(_sql["count_keys"], _Count, **values, most=KEYS_SHOWN_MAX + 1)
    if count is None or count.count <= KEYS_SHOWN_MAX:
        return await current(tx, structure)
    touched = await _touched(tx, structure, after=change - 1, until=change, most=KEYS_SHOWN_MAX)
    rows = await tx.rows(_sql["cells_of"], _Row, **values, keys=touched.get(change, []))
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
    """Return what is shown of a round after each of these updates, in order, and look at no other keys."""
    last, base = updates[-1].change, await _start(tx, structure, updates[0].round, updates[0].change - 1)
    keys = await _shown_keys(tx, structure, updates, base)
    wanted = sorted({key for its in keys.values() for key in its.keys})
    values: dict[str, object] = {"book": tx.book, "structure": structure.number, "keys": wanted}
    rows = await tx.rows(_sql["snapshot_cells"], _Row, **values, base=base)
    rows += await tx.rows(_sql["added_to"], _Row, **values, after=base, until=last)
    by_change = {change: list(its) for change, its in groupby(rows, key=lambda row: row.change)}
    there: _Summed = {}
    found: dict[int, dict[str, Any]] = {}
    for change in sorted(by_change.keys() | keys.keys()):
        for row in by_change.get(change, []):
            _add(there, row, structure)
        if change in keys:
            its = {key: there[key] for key in keys[change].keys if key in there}
            aggregates_ = {"aggregates": shown(its, structure.aggregating)} if its else {}
            found[change] = aggregates_ | ({"partial": True} if keys[change].partial else {})
    return found


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of a round that are shown after a change, in order; of many, those that it touched."""

    keys: Sequence[str]
    partial: bool


async def _shown_keys(tx: Tx, structure: Structure, updates: Sequence[Change], base: int) -> dict[int, _Keys]:
    """Return which keys are shown after each update: all that there were, as long as they were few."""
    most, values = KEYS_SHOWN_MAX + 1, {"book": tx.book, "structure": structure.number}
    ever = {each.key for each in await tx.rows(_sql["snapshot_keys"], _Key, **values, base=base, most=most)}
    after = base if len(ever) <= KEYS_SHOWN_MAX else updates[0].change - 1
    touched = await _touched(tx, structure, after=after, until=updates[-1].change, most=most)
    wanted = {each.change for each in updates}
    found: dict[int, _Keys] = {}
    for change in sorted(touched.keys() | wanted):
        its = touched.get(change, [])
        ever.update(its if len(ever) <= KEYS_SHOWN_MAX else ())
        if change in wanted:
            few = len(ever) <= KEYS_SHOWN_MAX
            found[change] = _Keys(sorted(ever) if few else its[:KEYS_SHOWN_MAX], partial=not few)
    return found


async def _touched(tx: Tx, structure: Structure, *, after: int, until: int, most: int) -> dict[int, list[str]]:
    values: dict[str, object] = {
        "book": tx.book,
        "structure": structure.number,
        "after": after,
        "until": until,
        "most": most,
    }
    found: dict[int, list[str]] = {}
    for row in await tx.rows(_sql["touched"], _Touched, **values):
        found.setdefault(row.change, []).append(row.key)
    return found


def _add(there: _Summed, row: _Row, structure: Structure) -> None:
    its, new = there.setdefault(row.key, {}).setdefault(structure.metrics[row.metric], []), _cell(row)
    for place, old in enumerate(its):
        if old.organisation == new.organisation:
            sum_ = merged(_sum(old), _sum(new))
            its[place] = Cell(
                old.organisation, sum_.count, sum_.total, sum_.least, sum_.most, sum_.latest, old.first_at, new.last_at
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

"""Merging: an upload is counted at once by one row, and what it adds is added to the sums of its round afterwards.

Promises: whoever reads sees all of an upload or nothing of it, merged or not; nobody who writes or settles ever waits for a
merge, since only who merges takes the sums; a part is bounded by rows, not by uploads, and leaves the machine to others as
long as it took. A process that ends halfway leaves the rest to the next, and nothing is added twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.loops import one_by_one
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.records.cells import Number
from clearhouse.slices.records.parsing import KEY_LENGTH_MAX, Place, Sum

ROWS_AT_ONCE = 5_000  # about 50 ms: sums that are read in one transaction; an upload with more is merged in parts
UPLOADS_AT_ONCE = 500
ROUNDS_DUE = 100
SECONDS_BETWEEN = 0.5
AFTER_EVERY_KEY = "\U0010ffff" * (KEY_LENGTH_MAX + 1)
_sql = Statements.of("clearhouse.slices.records", "merging.sql")


@dataclass(frozen=True, slots=True)
class Aside:
    """What an upload adds, or a part of it; `organisation` only where each has cells of its own."""

    upload: UUID
    organisation: str
    sums: Mapping[Place, Sum]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An upload that is counted, and whose sums, so many at most, are to be merged into those of its round."""

    structure: int
    round: int
    change: int
    upload: UUID
    at: datetime
    sums: int


@dataclass(frozen=True, slots=True)
class Due:
    """A round of which sums are to be merged: what changes up to this one added."""

    book: int
    structure: int
    round: int
    change: int


@dataclass(frozen=True, slots=True)
class _Claim:
    change: int
    upload: UUID
    merged: str
    at: datetime
    sums: int


@dataclass(frozen=True, slots=True)
class _Key:
    key: str


def set_aside(tx: Tx, added: Sequence[Aside], *, more: bool = False) -> None:
    """Keep, with the commit, what uploads add, or parts of them (`more`: beside what others added); nobody counts it yet."""
    places = [place for place, each in enumerate(added, 1) for _ in each.sums]
    if not places:
        return
    names = [name for each in added for name in each.sums]
    values = [sum_ for each in added for sum_ in each.sums.values()]
    numbers = any(each.total is not None for each in values)
    latest = [each.latest for each in values] if any(each.latest is not None for each in values) else []
    tx.later(
        _sql["set_aside_more" if more else "set_aside"], book=tx.book, uploads=array([each.upload for each in added]),
        organisations=texts([each.organisation for each in added]), places=array(places),
        keys="\n".join([key for key, _ in names]), metrics=array([metric for _, metric in names]),
        counts=array([each.count for each in values]), totals=_numbers([each.total for each in values] if numbers else []),
        least=_numbers([each.least for each in values] if numbers else []),
        most=_numbers([each.most for each in values] if numbers else []), latest=latest,
    )  # fmt: skip


def _numbers(values: Sequence[Number | None]) -> str:
    return array(["NULL" if each is None else each for each in values])


def wait(tx: Tx, waiting: Sequence[Waiting]) -> None:
    """Count uploads with the commit, and leave their sums to be merged."""
    there = [each for each in waiting if each.sums]
    if there:
        tx.later(
            _sql["wait"], book=tx.book, structures=array([each.structure for each in there]),
            rounds=array([each.round for each in there]), changes=array([each.change for each in there]),
            uploads=array([each.upload for each in there]), at=[each.at for each in there],
            sums=array([each.sums for each in there]),
        )  # fmt: skip


async def merge(database: Database) -> None:
    """Merge whatever is due, again and again, until cancelled: whoever writes meanwhile has the machine half of the time."""
    bell = Bell()

    async def turn() -> None:
        if await one_by_one(await waiting(database), lambda each: _part_and_rest(database, each)):
            bell.strike()

    await database.loops.forever("merge_uploads", turn, SECONDS_BETWEEN, bell=bell)


async def _part_and_rest(database: Database, due: Due) -> int:
    now = asyncio.get_running_loop().time
    start = now()
    is_merged = await merge_part(database, due)
    await asyncio.sleep(now() - start)
    return int(is_merged)


async def waiting(database: Database, *, most: int = ROUNDS_DUE) -> list[Due]:
    """Return rounds of which sums are to be merged, of whatever book."""
    async with database.writing() as tx:
        return await tx.rows(_sql["due"], Due, most=most)


async def merge_due(database: Database) -> int:
    """Merge all sums that wait; return in how many parts."""
    count = 0
    while due := await waiting(database):
        count += await one_by_one(due, lambda each: _merged(database, each))
    return count


async def _merged(database: Database, due: Due) -> int:
    count = 0
    while await merge_part(database, due):
        count += 1
    return count


async def merge_part(database: Database, due: Due) -> bool:
    """Merge the next part of a round: several uploads, or some keys of one that is large; tell whether there was any."""
    where: dict[str, object] = {"structure": due.structure, "round": due.round}
    async with database.writing(book=due.book) as tx:
        claims = await tx.rows(
            _sql["claim"], _Claim, book=tx.book, **where, change=due.change, most=min(UPLOADS_AT_ONCE, ROWS_AT_ONCE)
        )
        if not claims:
            return False
        part = _fitting(claims)
        after, until = part[0].merged, AFTER_EVERY_KEY
        if part[0].sums > ROWS_AT_ONCE:
            last = await tx.row(
                _sql["next_key"], _Key, book=tx.book, upload=part[0].upload, after=after, rows=ROWS_AT_ONCE - 1
            )
            until = AFTER_EVERY_KEY if last is None else last.key
        changes = array([each.change for each in part])
        tx.later(_sql["unhurried"])
        tx.later(
            _sql["merge"], book=tx.book, **where, changes=changes, uploads=array([each.upload for each in part]),
            at=[each.at for each in part], after=after, until=until,
        )  # fmt: skip
        if until == AFTER_EVERY_KEY:
            tx.later(_sql["done"], book=tx.book, **where, changes=changes)
        else:
            tx.later(_sql["go_on"], book=tx.book, **where, changes=changes, until=until)
    return True


def _fitting(claims: Sequence[_Claim]) -> list[_Claim]:
    """Return the first uploads that are merged at once: one at least, and more while all of them have few sums."""
    part, rows = [claims[0]], claims[0].sums
    for each in claims[1:]:
        rows += each.sums
        if rows > ROWS_AT_ONCE:
            break
        part.append(each)
    return part

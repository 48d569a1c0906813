"""Merging: what an upload with many keys adds is counted at once by one row, and added to the sums key by key afterwards.

Promises: whoever reads sees all of an upload or nothing of it, merged or not; nobody who writes or settles waits for
more than a small part of it, and only who adds to the same keys waits at all; parts are as large as a short time allows. A
process that ends halfway leaves the rest to the next, and nothing is added twice.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog

from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.records.parsing import Place, Sum

ROWS_AT_ONCE = 1_000  # about 20 ms: so many sums are counted under the cut, or merged in one transaction at most
ROWS_MIN = 50
SECONDS_AIMED = 0.02  # who adds to the same keys waits so long for a part of a merge; it waits twice as long seldom
UPLOADS_DUE = 100
SECONDS_BETWEEN = 1.0
_log = structlog.get_logger(__name__)
_sql = Statements.of("clearhouse.slices.records", "merging.sql")


@dataclass(frozen=True, slots=True)
class Waiting:
    """An upload that is counted, and whose sums are to be merged into those of its round."""

    structure: int
    round: int
    change: int
    upload: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """An upload whose sums are to be merged."""

    book: int
    structure: int
    round: int
    change: int
    upload: UUID


@dataclass(frozen=True, slots=True)
class _Claim:
    merged: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Key:
    key: str


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


@dataclass(slots=True)
class Pace:
    """How many sums are merged at once, so that a part takes about as long as it may."""

    rows: int = field(default_factory=lambda: min(ROWS_AT_ONCE, 4 * ROWS_MIN))

    def took(self, seconds: float) -> None:
        """Go on with smaller parts where one took long, and with larger ones where it did not."""
        factor = min(2.0, max(0.25, SECONDS_AIMED / max(seconds, 1e-6)))
        self.rows = min(ROWS_AT_ONCE, max(ROWS_MIN, int(self.rows * factor)))


def wait(tx: Tx, waiting: Sequence[Waiting]) -> None:
    """Count uploads with the commit, and leave their sums to be merged."""
    if waiting:
        tx.later(
            _sql["wait"], book=tx.book, structures=array([each.structure for each in waiting]),
            rounds=array([each.round for each in waiting]), changes=array([each.change for each in waiting]),
            uploads=array([each.upload for each in waiting]), at=[each.at for each in waiting],
        )  # fmt: skip


def set_aside(tx: Tx, upload: UUID, organisation: str, sums: Mapping[Place, Sum]) -> None:
    """Keep, with the commit, what an upload or a part of it adds, beside what it adds already; nobody counts it yet."""
    if not sums:
        return
    values = list(sums.values())
    numbers = {
        name: [getattr(each, attribute) for each in values]
        for name, attribute in (("totals", "total"), ("least", "least"), ("most", "most"), ("latest", "latest"))
    }
    tx.later(
        _sql["set_aside"], book=tx.book, upload=upload, organisation=organisation, keys="\n".join([key for key, _ in sums]),
        metrics=array([metric for _, metric in sums]), counts=array([each.count for each in values]),
        **{name: its if any(each is not None for each in its) else "{}" for name, its in numbers.items()},
    )  # fmt: skip


async def at_once(tx: Tx, upload: UUID) -> bool:
    """Tell whether an upload has so few sums that it is counted where it stands."""
    found = await tx.row(_sql["count_rows"], _Count, book=tx.book, upload=upload, most=ROWS_AT_ONCE + 1)
    return found is None or found.count <= ROWS_AT_ONCE


def add(tx: Tx, waiting: Waiting, *, after: str = "", until: str | None = None) -> None:
    """Add an upload's sums to those of its round, with the commit: all of them, or those of the keys between these."""
    tx.later(
        _sql["merge"], book=tx.book, structure=waiting.structure, round=waiting.round, change=waiting.change,
        upload=waiting.upload, at=waiting.at, after=after, until=until,
    )  # fmt: skip


async def merge(database: Database) -> None:
    """Merge whatever is due, again and again, until cancelled."""
    await database.loops.forever("merge_uploads", lambda: merge_due(database), SECONDS_BETWEEN)


async def waiting(database: Database, *, most: int = UPLOADS_DUE) -> list[Due]:
    """Return uploads whose sums are to be merged, of whatever book, oldest first."""
    async with database.writing() as tx:
        return await tx.rows(_sql["due"], Due, most=most)


async def merge_due(database: Database) -> int:
    """Merge the sums of every upload that is counted; return in how many parts."""
    count, pace = 0, Pace()
    while True:
        due = await waiting(database)
        if not due:
            return count
        failed: list[Exception] = []
        for each in due:
            try:
                while await merge_part(database, each, pace):
                    count += 1
            except Exception as error:  # noqa: BLE001 - the others have their turn all the same
                failed.append(error)
        if failed:
            raise failed[0]


async def merge_part(database: Database, due: Due, pace: "Pace | None" = None) -> bool:
    """Merge the next part of an upload; tell whether there was any."""
    pace, now = pace or Pace(), asyncio.get_running_loop().time
    where: dict[str, object] = {"structure": due.structure, "round": due.round, "change": due.change}
    async with database.writing(book=due.book) as tx:
        claim = await tx.row(_sql["claim"], _Claim, book=tx.book, **where)
        if claim is None:
            return False
        part: dict[str, object] = {"upload": due.upload, "after": claim.merged, "rows": pace.rows}
        last = await tx.row(_sql["next_key"], _Key, book=tx.book, **part)
        tx.later(_sql["unhurried"])
        until = None if last is None else last.key
        add(tx, Waiting(due.structure, due.round, due.change, due.upload, claim.at), after=claim.merged, until=until)
        if until is None:
            tx.later(_sql["done"], book=tx.book, **where)
        else:
            tx.later(_sql["go_on"], book=tx.book, until=until, **where)
        start = now()  # sums are locked from here to the commit: all of it is one round trip
    pace.took(now() - start)
    return True

"""Snapshots: now and then the sums of a long round are written down, so that a past state is found from the one before it.

Promise: what a snapshot says is what the changes up to it had added, no more; one is taken only when as much was added as
the one before it holds, so all of them together are no more than what was uploaded.
"""

from dataclasses import dataclass

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.loops import one_by_one
from clearhouse.kernel.db.statements import Statements

CHANGES_BETWEEN = 100
SUMS_BETWEEN = 50_000
SECONDS_BETWEEN = 10.0
_sql = Statements.of("clearhouse.slices.records", "snapshots.sql")


@dataclass(frozen=True, slots=True)
class _Due:
    book: int
    structure: int
    change: int
    round: int
    base: int


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


async def snap(database: Database) -> None:
    """Take the snapshots that are due, again and again, until cancelled."""
    await database.loops.forever("snapshots", lambda: take_due(database), SECONDS_BETWEEN)


async def take_due(database: Database) -> int:
    """Take a snapshot of every round that had many changes since its last one; return how many were taken."""
    async with database.writing() as tx:
        due = await tx.rows(_sql["due"], _Due, changes=CHANGES_BETWEEN, sums=SUMS_BETWEEN)
    return await one_by_one(due, lambda each: _taken(database, each))


async def _taken(database: Database, due: _Due) -> int:
    where: dict[str, object] = {"structure": due.structure, "base": due.base, "change": due.change}
    async with database.writing(book=due.book) as tx:
        if await tx.row(_sql["outweigh"], _Count, book=tx.book, **where) is None:
            return 0
        if not await tx.do(_sql["begin"], book=tx.book, structure=due.structure, change=due.change, round=due.round):
            return 0
        cells = await tx.do(_sql["take"], book=tx.book, **where)
        await tx.do(_sql["taken"], book=tx.book, structure=due.structure, change=due.change, cells=cells)
    return 1

"""The rows of a stage: one set of statements for every table that a product's stages stand on, so none gets it wrong.

They are made from `rows.template` by the names that a stage declares in our own code, never by input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from clearhouse.kernel.db.arrays import array, holdable, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.pipelines.stages import Stage

_template = Statements.of("clearhouse.kernel.pipelines", "rows.template")
ERROR_LETTERS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A row that this transaction holds: the state it was taken in, and how often its stage has failed on it."""

    id: UUID
    state: str
    attempts: int


@dataclass(frozen=True, slots=True)
class PutBack:
    """A row that did not move: when it is due again, if it is, and why."""

    row: Taken
    next_at: datetime | None
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Depth:
    """How many rows wait: due now, due later, of both those after a failure; and since when any is due."""

    due: int
    later: int
    retrying: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that waits for somebody to look at it."""

    id: UUID
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class _Next:
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Book:
    book: int


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


@cache
def statements(table: str, order: str) -> dict[str, str]:
    """Return the statements on the rows of a table."""
    return {name: text.replace("{table}", table).replace("{order}", order) for name, text in _template.texts.items()}


def _sql(stage: Stage, name: str) -> str:
    return statements(stage.table, stage.order)[name]


async def due_books(tx: Tx, stage: Stage, at: datetime) -> list[int]:
    """Return the books that have rows for a stage now."""
    return [each.book for each in await tx.rows(_sql(stage, "due_books"), _Book, state=stage.state, at=at)]


async def next_due(tx: Tx, stage: Stage) -> datetime | None:
    """Return when the next row of a stage is due, in whatever book; it may be past."""
    found = await tx.row(_sql(stage, "next_due"), _Next, state=stage.state)
    return None if found is None else found.next_at


async def pick(tx: Tx, stage: Stage, at: datetime, these: Sequence[UUID] | None = None) -> list[Taken]:
    """Take a batch of rows that are due, or those of these that still are."""
    if these is None:
        return await tx.rows(
            _sql(stage, "pick"), Taken, book=tx.book, state=stage.state, at=at, most=stage.batch
        )  # fmt: skip
    return await tx.rows(_sql(stage, "pick_these"), Taken, book=tx.book, state=stage.state, at=at, ids=array(these))


async def pick_leased(tx: Tx, stage: Stage, ids: Sequence[UUID], lease: UUID) -> list[Taken]:
    """Take those of the rows that were not taken over by somebody else since a lease was written."""
    return await tx.rows(_sql(stage, "pick_leased"), Taken, book=tx.book, ids=array(ids), lease=lease)


def lease(tx: Tx, stage: Stage, ids: Sequence[UUID], lease: UUID, until: datetime) -> None:
    """Write that a call about rows is under way."""
    tx.later(_sql(stage, "lease"), book=tx.book, state=stage.state, ids=array(ids), lease=lease, until=until)


async def settle(tx: Tx, stage: Stage, moved: Sequence[Taken], at: datetime, lease: UUID | None = None) -> list[Taken]:
    """Forget what befell rows before they moved, and return those that did not move although it was said that they did."""
    if not moved:
        return []
    ids, states = array([each.id for each in moved]), texts([each.state for each in moved])
    tx.later(_sql(stage, "settle"), book=tx.book, ids=ids, states=states, at=at, lease=lease)
    return await tx.rows(_sql(stage, "unmoved"), Taken, book=tx.book, ids=ids, states=states, at=at, lease=lease)


def put_back(tx: Tx, stage: Stage, given: Sequence[PutBack]) -> None:
    """Write when rows that did not move are due again, and why they wait."""
    if given:
        tx.later(
            _sql(stage, "put_back"), book=tx.book, ids=array([each.row.id for each in given]),
            states=texts([each.row.state for each in given]), times=[each.next_at for each in given],
            attempts=array([each.attempts for each in given]),
            errors=[None if each.error is None else _writable(each.error) for each in given],
        )  # fmt: skip


def _writable(error: str) -> str:
    return holdable(error)[:ERROR_LETTERS_MAX] or "?"


async def depth(tx: Tx, stage: Stage, at: datetime) -> Depth:
    """Return how many rows of a book wait for a stage."""
    found = await tx.row(_sql(stage, "depth"), Depth, book=tx.book, state=stage.state, at=at)
    return found or Depth(0, 0, 0, None)


async def aside_count(tx: Tx, stage: Stage) -> int:
    """Return how many rows of a book a stage has set aside."""
    found = await tx.row(_sql(stage, "aside_count"), _Count, book=tx.book, state=stage.state)
    return 0 if found is None else found.count


async def aside(tx: Tx, stage: Stage, *, after: UUID, most: int) -> list[SetAside]:
    """Return rows that a stage has set aside."""
    return await tx.rows(_sql(stage, "aside"), SetAside, book=tx.book, state=stage.state, after=after, most=most)


async def retry(tx: Tx, stage: Stage, ids: Sequence[UUID], at: datetime) -> set[UUID]:
    """Make rows that were set aside due again, and return which those were."""
    found = await tx.rows(_sql(stage, "retry"), _Id, book=tx.book, state=stage.state, ids=array(ids), at=at)
    return {each.id for each in found}

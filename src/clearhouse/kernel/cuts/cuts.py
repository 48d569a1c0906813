"""A cut: a day, a round, a cycle or a monthly bill ends, and what is in flight lands before the end or after it.

Promises: a write that entered at a position commits before the cut leaves that position, so what is summed afterwards is
all there ever is; no write is lost, none counts twice. Writers do not wait for each other.

A writer enters late, when all that remains is to write; a closer moves and commits, and sums are computed after that: nobody
holds a cut longer than a tenth of a second. Whoever needs several enters them in one call, before it locks any row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import NotFound

LEDGER_DAY = 0  # the number of a book's day; its place is in ledger_day, and post_transfers enters it itself
_sql = Statements.of("clearhouse.kernel.cuts", "cuts.sql")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cut stands."""

    name: str
    position: int


def open_cuts(tx: Tx, names: Sequence[str], at: datetime) -> None:
    """Have cuts of these names; a new one stands at 1."""
    tx.later(_sql["open_cuts"], book=tx.book, names=sorted(set(names)), at=at)


async def enter(tx: Tx, names: Sequence[str]) -> dict[str, int]:
    """Keep these cuts from moving until the transaction ends, and return where each stands; an unknown one is missing."""
    places = await tx.rows(_sql["enter"], Place, book=tx.book, names=list(names))
    return {each.name: each.position for each in places}


async def move(tx: Tx, names: Sequence[str], at: datetime) -> dict[str, int]:
    """Wait for everybody who entered these cuts, and let all who come later find the next position; return those.

    Commit at once; an unknown cut is missing.
    """
    places = await tx.rows(_sql["move"], Place, book=tx.book, names=list(names), at=at)
    return {each.name: each.position for each in places}


def enter_next(tx: Tx, names: Sequence[str]) -> None:
    """Enter these cuts in one round trip with the next statement, which reads itself where they stand."""
    tx.later(_sql["enter"], book=tx.book, names=list(names))


def move_next(tx: Tx, names: Sequence[str], at: datetime) -> None:
    """Move these cuts on in one round trip with the next statement, which reads itself where they stand then."""
    tx.later(_sql["move"], book=tx.book, names=list(names), at=at)


async def hold(tx: Tx, number: int) -> None:
    """Wait for everybody who entered a cut whose place its owner keeps, and keep all others out. Commit at once."""
    await tx.tuples(_sql["hold"], {"book": tx.book, "number": number})


async def standing(tx: Tx, name: str) -> int:
    """Return where a cut stands now; it may have moved a moment later."""
    place = await tx.row(_sql["standing"], Place, book=tx.book, name=name)
    if place is None:
        raise NotFound(what="cut", id=name)
    return place.position

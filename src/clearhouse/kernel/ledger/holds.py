"""Pinning holds: while what a hold was made for may be on its way, no timer and no hand frees it.

`pin` belongs in the transaction that says what will be sent; `unpin` or `answered` in the one that records the answer;
`posting.post(…, answered=…)` does the latter together with what it posts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements

_sql = Statements.of("clearhouse.kernel.ledger", "posting.sql")


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def pin(tx: Tx, holds: Sequence[UUID], at: datetime) -> set[UUID]:
    """Disarm the expiry of holds and return those that are pinned now; an expired or ended one is not among them."""
    rows = await tx.rows(_sql["pin_holds"], _Id, book=tx.book, ids=list(holds), at=at)
    return {row.id for row in rows}


async def unpin(tx: Tx, holds: Sequence[UUID]) -> set[UUID]:
    """Arm holds again, since the answer has come; return those that were pinned."""
    rows = await tx.rows(_sql["unpin_holds"], _Id, book=tx.book, ids=list(holds))
    return {row.id for row in rows}


async def answered(tx: Tx, holds: Sequence[UUID]) -> set[UUID]:
    """Free holds for their answer, however late it comes: they do not expire any more; return those that were pinned."""
    rows = await tx.rows(_sql["answer_holds"], _Id, book=tx.book, ids=list(holds))
    return {row.id for row in rows}

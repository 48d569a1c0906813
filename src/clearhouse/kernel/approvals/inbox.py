"""The inbox: what waits for one person, oldest first; every approval, newest first, and any by its id."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from clearhouse import ids
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals.approval import Approval, ApprovalNotFound, Row, State, Subject, cases
from clearhouse.kernel.approvals.approvers import standing
from clearhouse.kernel.approvals.policies import sql
from clearhouse.kernel.db.database import Tx

_START = datetime(1, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)


async def find(tx: Tx, text: str) -> Approval:
    """Return an approval."""
    found = await tx.rows(sql["request"], Row, book=tx.book, id=readable("apr", text))
    if not found:
        raise ApprovalNotFound(id=text)
    return (await _shown(tx, found))[0]


async def listed(
    tx: Tx, *, subject: Subject | None = None, state: State | None = None, before: Approval | None = None, most: int = 100
) -> list[Approval]:
    """Return approvals, newest first: of one subject or of all, in one state or in any."""
    until, last = (_END, ids.NOBODY) if before is None else (before.requested_at, ids.parse("apr", before.id))
    values = {"book": tx.book, "state": None if state is None else state.value, "before": until, "id": last, "most": most}
    if subject is None:
        return await _shown(tx, await tx.rows(sql["listed"], Row, **values))
    return await _shown(tx, await tx.rows(sql["listed_of_subject"], Row, kind=subject.kind, subject=subject.id, **values))


async def waiting(tx: Tx, me: UUID, *, at: datetime, after: Approval | None = None, most: int = 100) -> list[Approval]:
    """Return what waits for somebody: the level asks for them, and they neither made it nor approved it yet."""
    mine = (await standing(tx, [me])).get(me)
    if mine is None or not mine.decides:
        return []
    since, last = (_START, ids.NOBODY) if after is None else (after.requested_at, ids.parse("apr", after.id))
    rows = await tx.rows(sql["inbox"], Row, book=tx.book, me=me, roles=mine.roles, at=at, after=since, id=last, most=most)
    return await _shown(tx, rows)


async def _shown(tx: Tx, rows: Sequence[Row]) -> list[Approval]:
    return [case.approval() for case in await cases(tx, rows)]

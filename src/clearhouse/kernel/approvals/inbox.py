"""The inbox: what waits for one person, oldest first; every approval, newest first, and any by its id.

Promise: a page costs as much as waits for whoever asks, or is in the state that is asked about, and not as all there is.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import UUID

from clearhouse import ids
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals.approval import Approval, ApprovalNotFound, Row, State, cases
from clearhouse.kernel.approvals.approvers import standing
from clearhouse.kernel.approvals.policies import sql
from clearhouse.kernel.db.database import Tx
from clearhouse.refusals import Malformed

_START = datetime(1, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)


async def find(tx: Tx, text: str) -> Approval:
    """Return an approval."""
    found = await tx.rows(sql["request"], Row, book=tx.book, id=readable("apr", text))
    if not found:
        raise ApprovalNotFound(id=text)
    return (await _shown(tx, found))[0]


@dataclass(frozen=True, slots=True)
class Only:
    """What a list is narrowed down to: a kind of subject, and amounts of one currency, from one on and below another."""

    kind: str | None = None
    currency: str | None = None
    at_least: str | None = None
    below: str | None = None

    def __post_init__(self) -> None:
        if self.currency is None and (self.at_least, self.below) != (None, None):
            raise Malformed(field="currency", problem="an amount is of some currency: say which")


ALL = Only()


async def listed(
    tx: Tx, only: Only = ALL, *, subject: str | None = None, state: State | None = None, before: Approval | None = None,
    most: int = 100,
) -> list[Approval]:  # fmt: skip
    """Return approvals, newest first: of all or as narrowed down, of one subject of a kind, in one state or in any."""
    until, last = (_END, ids.NOBODY) if before is None else (before.requested_at, ids.parse("apr", before.id))
    states = [each.value for each in State] if state is None else [state.value]
    statement = "listed" if only.kind is None else "listed_of_kind" if subject is None else "listed_of_subject"
    rows = await tx.rows(
        sql[statement], Row, book=tx.book, states=states, before=until, id=last, most=most, subject=subject, **asdict(only)
    )
    return await _shown(tx, rows)


async def waiting(
    tx: Tx, me: UUID, only: Only = ALL, *, at: datetime, after: Approval | None = None, most: int = 100
) -> list[Approval]:
    """Return what waits for somebody: the level asks for them, and they neither made it nor approved it yet."""
    mine = (await standing(tx, [me])).get(me)
    if mine is None or not mine.decides:
        return []
    since, last = (_START, ids.NOBODY) if after is None else (after.requested_at, ids.parse("apr", after.id))
    rows = await tx.rows(
        sql["inbox"], Row, book=tx.book, me=me, who=[*mine.roles, str(me)], at=at, after=since, id=last, most=most,
        **asdict(only),
    )  # fmt: skip
    return await _shown(tx, rows)


async def _shown(tx: Tx, rows: Sequence[Row]) -> list[Approval]:
    return [case.approval() for case in await cases(tx, rows)]

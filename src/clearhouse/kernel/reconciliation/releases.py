"""Releases: what an approval in reconciliation does by itself. The last word on a proposal carries it out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.approvals.approval import Approval, Subject
from clearhouse.kernel.approvals.effects import Effect
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.reconciliation import amendments, breaks, resolutions, rules


async def _hold(tx: Tx, subjects: Sequence[Subject]) -> None:
    """Hold the rule sets of breaks and matches together, in the order of their names."""
    of_breaks = await breaks.names(tx, [each.id for each in subjects if each.kind == breaks.SUBJECT])
    of_matches = await amendments.names(tx, [each.id for each in subjects if each.kind == amendments.SUBJECT])
    await rules.lock(tx, [*of_breaks, *of_matches])


async def _carry_out(tx: Tx, approval: Approval, by: UUID, at: datetime) -> None:
    todo = resolutions.carry_out if approval.subject.kind == breaks.SUBJECT else amendments.carry_out
    await todo(tx, approval, by, at)


_effect = Effect(_hold, _carry_out)
EFFECTS: Mapping[str, Effect] = {breaks.SUBJECT: _effect, amendments.SUBJECT: _effect}

"""Withdrawing: what was recorded by mistake, or counts for nothing since its cycle was aborted, gives its id back.

Promise: what a cycle that was closed counts is never changed: an obligation is withdrawn before that, or once the cycle is
aborted, and its closed cycles go on showing it. Only who recorded it withdraws it, with a reason; the same again is answered
as it stands.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.netting.cycle import CycleState, Why, cut_of
from clearhouse.slices.interbank.netting.obligations import Obligation, ObligationNotFound, ObligationRow, sql
from clearhouse.slices.interbank.settlement import ObligationId


class NotRecorder(Refusal):
    """Obligation {obligation_id} was recorded by somebody else, and only they can withdraw it."""

    code = "not_recorder"
    kind = Kind.DENIED


class ObligationCounts(Refusal):
    """Obligation {obligation_id} counts for a cycle that is {state}; it is withdrawn only from an open or aborted one."""

    code = "obligation_counts"
    kind = Kind.CONFLICT


class WithdrawObligation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Withdraw an obligation that was recorded for netting, with a reason: its id is free again."""

    obligation_id: ObligationId
    reason: Why


class _Standing(ObligationRow, frozen=True, kw_only=True):
    """An obligation, who recorded it, and the number of the cycle that it counts for."""

    recorded_by: UUID
    number: int = 0

    @property
    def counted_until(self) -> int:
        """Return the last cycle of its currency that goes on counting it."""
        return self.number if self.state == CycleState.ABORTED.value else self.number - 1


async def withdraw(tx: Tx, asked: Sequence[Asked[WithdrawObligation]], at: datetime) -> list[Obligation | Refusal]:
    """Withdraw obligations; from entering their cuts to the commit no cycle that they count for is closed."""
    names = {each.command.obligation_id for each in asked}
    await cuts.enter(tx, sorted({cut_of(row.currency) for row in (await _there(tx, names)).values()}))
    there = await _there(tx, names)
    before = {each.obligation_id: each for each in await _withdrawn(tx, names - there.keys())}
    gone: dict[str, tuple[_Standing, str]] = {}
    answers: list[Obligation | Refusal] = []
    for each in asked:
        name = each.command.obligation_id
        row = there.get(name) or before.get(name)
        refusal = _refusal(row, each)
        if row is None or refusal is not None:
            answers.append(refusal or ObligationNotFound(id=name))
            continue
        exists = name not in there or name in gone
        if not exists:
            gone[name] = row, each.command.reason
        reason, when = (gone[name][1], at) if name in gone else (row.reason, row.withdrawn_at)
        answers.append(msgspec.structs.replace(row, reason=reason, withdrawn_at=when).shown(exists=exists))
    await _free(tx, gone, at)
    return answers


def _refusal(row: _Standing | None, asked: Asked[WithdrawObligation]) -> Refusal | None:
    name = asked.command.obligation_id
    if row is None:
        return ObligationNotFound(id=name)
    if row.recorded_by != asked.by:
        return NotRecorder(obligation_id=name)
    if row.withdrawn_at is None and row.state not in {CycleState.OPEN.value, CycleState.ABORTED.value}:
        return ObligationCounts(obligation_id=name, state=row.state)
    return None


async def _free(tx: Tx, gone: dict[str, tuple[_Standing, str]], at: datetime) -> None:
    if not gone:
        return
    rows = [row for row, _ in gone.values()]
    await tx.do(
        sql["keep_withdrawn"], book=tx.book, at=at, ids=texts(gone), cycles=array([row.cycle for row in rows]),
        numbers=array([row.counted_until for row in rows]), reasons=texts([reason for _, reason in gone.values()]),
    )  # fmt: skip
    await tx.do(sql["free_withdrawn"], book=tx.book, ids=texts(gone))


async def _there(tx: Tx, names: Iterable[str]) -> dict[str, _Standing]:
    found = await tx.rows(sql["withdrawable"], _Standing, book=tx.book, ids=texts(sorted(names)))
    return {each.obligation_id: each for each in found}


async def _withdrawn(tx: Tx, names: Iterable[str]) -> list[_Standing]:
    return await tx.rows(sql["withdrawn"], _Standing, book=tx.book, ids=texts(sorted(names)))

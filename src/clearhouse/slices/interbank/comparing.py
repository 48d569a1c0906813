"""Comparing by the clock: a job makes every nostro's statement due, and each is asked for and compared by itself.

Promise: a bank that cannot be reached keeps no other nostro from being compared; it is asked again, and set aside with the
reason when that was of no use, until the next time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.pipelines.declared import Firing, Job
from clearhouse.kernel.pipelines.stages import BackOff, Calls, Heard, NotYet, Stage, Unheard
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import engines, periods
from clearhouse.slices.interbank.engines import Line
from clearhouse.slices.interbank.reconciling import compare

_sql = Statements.of("clearhouse.slices.interbank", "reports.sql")


class _Due(msgspec.Struct, frozen=True):
    id: UUID
    bank: str
    currency: str


class Nostro(msgspec.Struct, frozen=True):
    """Whose statement is asked for, and the line that it is asked by."""

    line: Line
    bank: str
    currency: str


async def _begin(tx: Tx, own: Sequence[UUID], _: datetime) -> Mapping[UUID, Nostro]:
    line = engines.line(tx.database, tx.book)
    found = await tx.rows(_sql["due_statements"], _Due, book=tx.book, ids=array(own))
    return {each.id: Nostro(line, each.bank, each.currency) for each in found}


async def _compare(nostros: Sequence[Nostro]) -> list[bool | Unheard]:
    return [await _one(each) for each in nostros]


async def _one(nostro: Nostro) -> bool | Unheard:
    line = nostro.line
    try:
        await line.mirror()
        await compare(
            line.door, line.channel, caller=line.caller, book=line.book, bank=nostro.bank, currency=nostro.currency
        )  # fmt: skip
    except Refusal as refusal:
        return Unheard(str(refusal))
    return True


async def _done(tx: Tx, heard: Sequence[Heard[Nostro, bool]], _: datetime) -> Mapping[UUID, NotYet]:
    tx.later(_sql["compared"], book=tx.book, ids=array([each.id for each in heard]))
    return {}


async def _all(tx: Tx, firing: Firing) -> None:
    await tx.do(_sql["compare_all"], book=tx.book, at=firing.at)
    tx.wake(STAGE.name)


STAGE = Stage(
    "interbank.compare", "banks.asked", "interbank_statement", "kept", Calls(_begin, _compare, _done, lease_seconds=300),
    batch=1, back_off=BackOff(first_seconds=60, tries=6), about="nostros are compared with their banks' statements",
    prefix="acc",
)  # fmt: skip
JOB = Job(periods.RECONCILE, "Compare every nostro with what its bank says.", _all)

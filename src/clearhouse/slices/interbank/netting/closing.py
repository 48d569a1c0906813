"""Closing cycles by the clock: the job that a schedule may name."""

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger.transfers import Currency
from clearhouse.kernel.pipelines.declared import Firing, Job
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting import cycles
from clearhouse.slices.interbank.netting.cycle import CloseCycle, CycleState, Method, OpenCycle


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which currency's cycle is closed, whether it is settled, and by which method the next one is."""

    currency: Currency
    settle: bool = True
    method: Method = "multilateral"


async def turn_over(tx: Tx, firing: Firing) -> None:
    """Close the open cycle of a currency and open the next; where none is open, only open one."""
    wanted: Turn = firing.arguments
    current = (await cycles.opened(tx, [wanted.currency])).get(wanted.currency)
    if current is None:
        opening = Asked(OpenCycle(wanted.currency, wanted.method), firing.id, firing.by)
        answer, event = (await cycles.open_cycles(tx, [opening], firing.at))[0], "interbank.cycle_opened"
    else:
        closing = CloseCycle(ids.text("cyc", current), wanted.settle, method=wanted.method)
        answer = (await cycles.close_cycles(tx, [Asked(closing, firing.id, firing.by)], firing.at))[0]
        event = "interbank.cycle_closed"
    if isinstance(answer, Refusal):
        raise answer
    if answer.state is CycleState.SETTLED:
        event = "interbank.cycle_settled"
    line = Line(event, answer.id, answer)
    writing.write(tx, [line], book=tx.book, kind="interbank.turn_cycle", by=firing.by, at=firing.at)


TURN_CYCLE = Job(
    "interbank.turn_cycle", "the netting cycle of a currency is closed and settled, and the next is opened", turn_over, Turn
)

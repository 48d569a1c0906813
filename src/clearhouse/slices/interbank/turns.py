"""Turns: those whose funds are locked are sent, the most urgent first; what will be sent is said before it is sent.

Promise: from the moment an order may leave the house its lock is pinned, so no timer frees it, and it leaves within
its lease or not at all; if we die before the answer
is written down, the settlement is found in EXECUTING, called IN_DOUBT, and the bank is asked by the same id.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from clearhouse import ids
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger import holds
from clearhouse.kernel.pipelines.stages import Calls, Failed, Heard, Leased, NotYet, Stage
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import answers, engines, rows
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.channel import Method, PaymentOrder
from clearhouse.slices.interbank.engines import Line
from clearhouse.slices.interbank.listening import listen, soon
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import SEND as NAME
from clearhouse.slices.interbank.settlement import State
from clearhouse.slices.interbank.world import World, known

LEASE_SECONDS = 60
ORDERS_MAX = 1_000
_log = structlog.get_logger(__name__)


class Outgoing(msgspec.Struct, frozen=True):
    """An order, its line, and until when it is ours to send; one that is being given up is only asked about."""

    line: Line
    order: PaymentOrder
    until: datetime
    given_up: bool = False


async def initiate(tx: Tx, own: Sequence[UUID], at: datetime) -> Leased[Outgoing]:
    """Say what will be sent: pin the locks and note the hour; what has lost its lock is rolled back."""
    world, line, lease = await known(tx), engines.line(tx.database, tx.book), ids.fresh()
    there = await rows.locked(tx, own)
    pinned = await holds.pin(tx, sorted(row.lock_id for row in there.values()), at)
    until = at + timedelta(seconds=LEASE_SECONDS)
    orders: dict[UUID, Outgoing | NotYet] = {}
    for row in (there[each] for each in own):
        if row.lock_id in pinned:
            orders[row.id] = Outgoing(line, order(world, row), until)
            row.become(State.EXECUTING, "INITIATE", next_at=until, lease=lease, sent_at=at)
        else:
            row.become(State.ROLLED_BACK, "ROLLBACK", reason="lock_expired", ended_at=at)
    await rows.write(tx, there.values(), at)
    rows.journal(tx, there.values(), kind="interbank.initiated", at=at)
    return Leased(lease, orders)


def order(world: World, row: Row) -> PaymentOrder:
    """Return what a bank is told to pay: from our nostro with the payee's bank, on behalf of the payer.

    What carries an order that was sent before says the same in every word, so that the bank knows it again.
    """
    account = world.accounts["nostro", row.to_bank, row.currency]
    return PaymentOrder(
        row.order, account.number, row.from_bank, row.to_bank, row.money(row.amount), row.currency, Method(row.method),
        ids.text("stl", row.origin),
    )  # fmt: skip


async def send(orders: Sequence[Outgoing]) -> list[Word]:
    """Send orders, and hear at once what the bank has to say already: what it confirms need not be written twice."""
    line = orders[0].line
    words = await line.pay([each.order for each in orders], until=orders[0].until)
    try:
        await listen(line)
    except Refusal as refusal:
        _log.info("the bank is heard later", reason=str(refusal))
    return words


async def answer(tx: Tx, heard: Sequence[Heard[Outgoing, Word]], at: datetime) -> Mapping[UUID, NotYet]:
    """Write down what the bank said when it got the orders."""
    if any(each.answer.said == "accepted" for each in heard):
        soon(tx, at)
    return await note(tx, {each.id: each.answer for each in heard}, at)


async def note(tx: Tx, said: Mapping[UUID, Word], at: datetime) -> Mapping[UUID, NotYet]:
    """Write words of settlements down, and return which of these it did not move."""
    there = await rows.locked(tx, said)
    told = await answers.take(tx, there, list(said.values()), at)
    answers.journal(tx, told, at)
    return {row.id: Failed(f"the bank said: {said[row.id].said}") for row in there.values() if row.state == row.found}


STAGE = Stage(
    NAME, "banks", "settlement_transactions", State.FUNDS_LOCKED.value,
    Calls(initiate, send, answer, lease_seconds=LEASE_SECONDS), batch=ORDERS_MAX,
    about="what has its funds locked is sent to its bank", prefix="stl",
)  # fmt: skip

"""Turns: those whose funds are locked are sent, the most urgent first; what will be sent is said before it is sent.

Promise: from the moment an order may leave the house its lock is pinned, so no timer frees it; if we die before the answer
is written down, the settlement is found in EXECUTING, called IN_DOUBT, and the bank is asked by the same id.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger import holds
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import rows
from clearhouse.slices.interbank.channel import BATCH_MAX, Method, PaymentOrder
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import State
from clearhouse.slices.interbank.world import World, known

SEND_SECONDS = 60
Most = Annotated[int, msgspec.Meta(ge=1, le=BATCH_MAX)]


class Initiate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take those whose turn it is."""

    most: Most


class Orders(msgspec.Struct, frozen=True):
    """What is to be sent or asked now, and how many settlements were touched."""

    orders: list[PaymentOrder]
    touched: int


async def initiate(tx: Tx, asked: Sequence[Asked[Initiate]], at: datetime) -> list[Orders | Refusal]:
    """Say what will be sent: pin the locks and note the hour; what has lost its lock is rolled back."""
    world = await known(tx)
    answers: list[Orders | Refusal] = []
    for each in asked:
        turn = await tx.rows(rows.sql["claim_turns"], Row, book=tx.book, most=each.command.most)
        pinned = await holds.pin(tx, sorted(row.order for row in turn), at) if turn else set[UUID]()
        for row in turn:
            if row.order in pinned:
                row.become(State.EXECUTING, "INITIATE", due_at=at + timedelta(seconds=SEND_SECONDS), sent_at=at)
            else:
                row.become(State.ROLLED_BACK, "ROLLBACK", reason="lock_expired", ended_at=at)
        await rows.write(tx, turn, at)
        rows.journal(tx, turn, kind="interbank.initiated", at=at)
        answers.append(Orders([order(world, row) for row in turn if row.order in pinned], len(turn)))
    return answers


def order(world: World, row: Row) -> PaymentOrder:
    """Return what a bank is told to pay: from our nostro with the payee's bank, on behalf of the payer."""
    account = world.accounts["nostro", row.to_bank, row.currency]
    return PaymentOrder(
        row.order, account.number, row.from_bank, row.to_bank, row.money(row.amount), row.currency, Method(row.method),
        row.text,
    )  # fmt: skip

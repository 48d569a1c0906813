"""Orders as the bank keeps them, and what becomes of each: its course, step by step.

Promise: an order's state moves only as the seam allows, and what is confirmed of it never exceeds its amount.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from uuid import UUID

from clearhouse.slices.interbank.bank.lies import Fault, Lie, Rest

REASON_UNSAID = "MS03"
ACCOUNT_CLOSED = "AC04"
REST_ENDED = "ENDED"


class Stage(Enum):
    """The state of an order that has arrived."""

    REFUSED = "refused"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    PARTLY = "partly"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    RETURNED = "returned"


OPEN = frozenset({Stage.RECEIVED, Stage.ACCEPTED, Stage.PARTLY})


class Act(Enum):
    """One step of an order's course."""

    CONFIRM = "confirm"
    REPEAT = "repeat"
    REJECT = "reject"
    RETURN = "return"


@dataclass(slots=True)
class Order:
    """An order that has arrived; `account` and `payee` are the numbers of the bank's accounts."""

    id: UUID
    content: bytes
    state: Stage
    account: int | None
    payee: int | None
    amount: int
    method: str
    payer: str
    reference: str
    value: date
    at: datetime
    confirmed: int = 0
    returned: int = 0
    code: str = ""

    @classmethod
    def read(cls, *, state: str, content: bytes, **columns: object) -> "Order":
        """Return an order from its row."""
        return cls(state=Stage(state), content=bytes(content), **columns)  # type: ignore[arg-type] - the same


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to an order, and when by the bank's clock; `number` is its place among those that wait."""

    order: UUID
    act: Act
    amount: int
    code: str
    due: datetime
    number: int = 0


def course(order: Order, lie: Lie | None, due: datetime) -> list[Step]:
    """Return what becomes of an order that was accepted: confirmed when it is due, unless a lie says otherwise."""
    confirm = Step(order.id, Act.CONFIRM, order.amount, "", due)
    if lie is None:
        return [confirm]
    later = due + timedelta(seconds=lie.seconds)
    if lie.fault is Fault.SLOW:
        return [Step(order.id, Act.CONFIRM, order.amount, "", later)]
    if lie.fault is Fault.TWICE:
        return [confirm, Step(order.id, Act.REPEAT, order.amount, "", later)]
    if lie.fault is Fault.REJECT:
        return [Step(order.id, Act.REJECT, order.amount, lie.code or REASON_UNSAID, later)]
    if lie.fault is Fault.RETURN:
        return [confirm, Step(order.id, Act.RETURN, order.amount, lie.code or ACCOUNT_CLOSED, later)]
    return _in_parts(order, lie, due=due, later=later)


def _in_parts(order: Order, lie: Lie, *, due: datetime, later: datetime) -> list[Step]:
    part = min(max(int(order.amount * lie.part), 1), order.amount)
    rest = order.amount - part
    first = Step(order.id, Act.CONFIRM, part, REST_ENDED if lie.rest is Rest.ENDED else "", due)
    if not rest or lie.rest in {Rest.NEVER, Rest.ENDED}:
        return [first]
    if lie.rest is Rest.REJECTED:
        return [first, Step(order.id, Act.REJECT, rest, lie.code or REASON_UNSAID, later)]
    return [first, Step(order.id, Act.CONFIRM, rest, "", later)]

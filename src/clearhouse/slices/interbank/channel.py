"""A bank as our side sees it: orders go out, word comes back, and statements can be asked for. Everything in batches.

Promise: whoever stands behind it, these four calls mean the same. An order is known by its end-to-end id (the UETR) and by
nothing else: the same id with the same content again is never a second payment, so when nobody knows, send it again or ask.

    NotSent    nothing left this house: the same again is safe, and so is giving up
    NoAnswer   something left and no answer came: nobody knows; only the bank, asked by the same id, can tell
    NotTaken   the bank took nothing of the batch as it stands: it was not understood, or we may not ask

A call may take as long as the bank likes: never make one inside a transaction of ours.
"""

from collections.abc import Sequence
from datetime import date, datetime
from enum import Enum
from typing import Protocol
from uuid import UUID

import msgspec

from clearhouse.refusals import Kind, Refusal

BATCH_MAX = 10_000


class NotSent(Refusal):
    """The bank {bank} cannot be reached, and nothing was sent: {reason}."""

    code = "bank_not_reached"
    kind = Kind.UNAVAILABLE
    retryable = True


class NoAnswer(Refusal):
    """The bank {bank} did not answer, and nobody knows what it did: {reason}; ask it by the same end-to-end ids."""

    code = "bank_silent"
    kind = Kind.UNAVAILABLE


class NotTaken(Refusal):
    """The bank {bank} took nothing of this: {reason}."""

    code = "bank_took_nothing"


class Method(Enum):
    """By which rail an order goes."""

    SWIFT = "SWIFT"
    SEPA = "SEPA"
    LOCAL_ACH = "LOCAL_ACH"
    MOCK = "MOCK"


class PaymentOrder(msgspec.Struct, frozen=True):
    """Pay so much from our account with the bank: to `payee`, on behalf of `payer`. `amount` is decimal text."""

    id: UUID
    account: str
    payer: str
    payee: str
    amount: str
    currency: str
    method: Method
    reference: str = ""


class Said(Enum):
    """What the bank said to an order when it got it. Of one that it left out nobody knows: `silent`, as in NoAnswer."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    SILENT = "silent"


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """The bank's word on one order. A refusal has its reason (ISO 20022 external code); it is final for this id."""

    id: UUID
    said: Said
    code: str = ""
    reason: str = ""


class State(Enum):
    """How far an order is at the bank; `unknown` may still be on its way there."""

    UNKNOWN = "unknown"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    PARTLY = "partly"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    RETURNED = "returned"


# What may follow what; unknown may become anything, the last two nothing.
FOLLOWS: dict[State, frozenset[State]] = {
    State.UNKNOWN: frozenset(State) - {State.UNKNOWN},
    State.RECEIVED: frozenset({State.ACCEPTED, State.PARTLY, State.CONFIRMED, State.REJECTED}),
    State.ACCEPTED: frozenset({State.PARTLY, State.CONFIRMED, State.REJECTED}),
    State.PARTLY: frozenset({State.PARTLY, State.CONFIRMED, State.REJECTED}),
    State.CONFIRMED: frozenset({State.RETURNED}),
    State.REJECTED: frozenset(),
    State.RETURNED: frozenset(),
}


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far an order is: what of it has left our account, and came back; `final` when no more than a part leaves."""

    id: UUID
    state: State
    confirmed: str = "0"
    returned: str = "0"
    code: str = ""
    reason: str = ""
    at: datetime | None = None
    final: bool = False


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bank says by itself, once, twice or late: `amount` is what this notice is about, `total` so far with it."""

    number: str
    id: UUID
    state: State
    at: datetime
    amount: str = "0"
    total: str = "0"
    currency: str = ""
    code: str = ""
    reason: str = ""


class News(msgspec.Struct, frozen=True):
    """Notices in the order in which the bank gave them, and where to go on: the next `after`."""

    notices: list[Notice]
    cursor: str


class StatementLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One booking on our account: what we lost has a minus. `number` is the bank's own reference of it."""

    number: str
    amount: str
    booked: datetime
    value: date
    kind: str
    id: UUID | None = None
    reference: str = ""
    other: str = ""
    code: str = ""


class Statement(msgspec.Struct, frozen=True):
    """An account over a time: honest, opening plus lines is closing. More is to come unless it is `complete`."""

    account: str
    currency: str
    opening: str
    closing: str
    lines: list[StatementLine]
    cursor: str
    complete: bool


class Channel(Protocol):
    """A bank, however it is reached."""

    async def send(self, orders: Sequence[PaymentOrder]) -> list[Ack]:
        """Hand in orders; there is an answer for each, in their order. Raises NotSent, NoAnswer or NotTaken for all."""
        ...

    async def ask(self, orders: Sequence[UUID]) -> list[Status]:
        """Return how far each order is, in the order asked."""
        ...

    async def news(self, *, after: str = "", most: int = 1_000) -> News:
        """Return what the bank has said by itself since a cursor; an empty one is the beginning."""
        ...

    async def statement(
        self,
        account: str,
        *,
        after: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        most: int = BATCH_MAX,
    ) -> Statement:
        """Return the bookings of an account after a cursor, from an instant on, and before another."""
        ...

"""A settlement: one obligation of a bank towards another, on its way from acceptance to its end.

    PENDING ──→ VALIDATING ──→ FUNDS_LOCKED ──→ EXECUTING ──→ CONFIRMING ──→ COMPLETED
       └───────────┴────────────→ FAILED | ROLLED_BACK          └──→ IN_DOUBT ──→ COMPLETED | FAILED

Promise: what is legal stands in one table, and the database holds the same. Before it is sent, a settlement ends as FAILED
or ROLLED_BACK and its funds are free; once it is sent, only the bank's word, or two people, free them.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.ledger.transfers import Currency, MoneyText, Text
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.channel import Method


class State(Enum):
    """Where a settlement stands."""

    PENDING = "PENDING"
    VALIDATING = "VALIDATING"
    FUNDS_LOCKED = "FUNDS_LOCKED"
    EXECUTING = "EXECUTING"
    CONFIRMING = "CONFIRMING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    ROLLED_BACK = "ROLLED_BACK"
    IN_DOUBT = "IN_DOUBT"


_BEFORE = frozenset({State.FUNDS_LOCKED, State.FAILED, State.ROLLED_BACK})
# The trigger `legal` of the table knows the same.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: _BEFORE | {State.VALIDATING},
    State.VALIDATING: _BEFORE | {State.PENDING},
    State.FUNDS_LOCKED: frozenset({State.EXECUTING, State.ROLLED_BACK}),
    State.EXECUTING: frozenset({State.CONFIRMING, State.COMPLETED, State.FAILED, State.IN_DOUBT}),
    State.CONFIRMING: frozenset({State.COMPLETED, State.FAILED, State.IN_DOUBT}),
    State.IN_DOUBT: frozenset({State.COMPLETED, State.FAILED}),
    State.FAILED: frozenset({State.PENDING}),
    State.COMPLETED: frozenset(),
    State.ROLLED_BACK: frozenset(),
}
SENT = frozenset({State.EXECUTING, State.CONFIRMING, State.IN_DOUBT})
ENDED = frozenset({State.COMPLETED, State.FAILED, State.ROLLED_BACK})


class Priority(Enum):
    """Whose turn is first."""

    URGENT = "URGENT"
    HIGH = "HIGH"
    NORMAL = "NORMAL"


# The stages that carry it on; whoever makes work for one says so.
VALIDATE, SEND, RESOLVE = "interbank.validate", "interbank.send", "interbank.resolve"
Step = Literal["VALIDATION", "LOCK", "INITIATE", "CONFIRM", "FINALIZE", "ROLLBACK", "DOUBT"]
Waiting = Literal["window", "review", "retry"]
ATTEMPTS_MAX = 16
_ATTEMPTS = ATTEMPTS_MAX - 1
_PRIORITIES = tuple(Priority)
# A `$` alone would let a line break through at the end.
Bic = Annotated[str, msgspec.Meta(max_length=20, examples=["DEUTDEFF"])]
ObligationId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[\x21-\x7e]+$(?!\n)", examples=["OBL-2026-11-0001"])
]
SettlementRef = Annotated[str, msgspec.Meta(max_length=30, examples=["stl_01KAHG7R9Q7XKJ8W3M5N2P4T6V"])]


class SettlementNotFound(Refusal):
    """There is no settlement {id} here."""

    code = "settlement_not_found"
    kind = Kind.UNKNOWN


class DuplicateObligation(Refusal):
    """Obligation {obligation_id} is settled by {settlement} already; it is settled again only if that one fails."""

    code = "duplicate_obligation"
    kind = Kind.CONFLICT


class ObligationNetted(Refusal):
    """Obligation {obligation_id} is recorded for netting already, and is paid with its cycle."""

    code = "obligation_netted"
    kind = Kind.CONFLICT


class OtherTerms(Refusal):
    """Obligation {obligation_id} may still be paid by the order of {settlement}: settle it with the same {field} only."""

    code = "other_terms"
    kind = Kind.CONFLICT


class PaidLate(Refusal):
    """Obligation {obligation_id} was paid after {settlement} was given up: book its money from suspense, where it lies."""

    code = "paid_late"
    kind = Kind.CONFLICT


class PartlyPaid(Refusal):
    """Obligation {obligation_id} was paid in part by {settlement}, and the rest may still be; owe it under another id."""

    code = "partly_paid"
    kind = Kind.CONFLICT


class Party(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who pays or is paid behind a bank, as far as the obligation says."""

    name: Annotated[str, msgspec.Meta(max_length=140, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", examples=["Mira Novak"])] = ""
    iban: Annotated[str, msgspec.Meta(max_length=42, examples=["DE89370400440532013000"])] = ""


class ExecuteSettlement(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Settle an obligation: so much from one bank to another, by a method, with a priority."""

    obligation_id: ObligationId
    from_bank: Bic
    to_bank: Bic
    amount: MoneyText
    currency: Currency
    method: Method = Method.MOCK
    priority: Priority = Priority.NORMAL
    debtor: Party = Party()
    creditor: Party = Party()
    remittance: Text | None = None


class Settlement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A settlement as it stands. `captured` is what the bank has confirmed, `returned` what came back of that."""

    id: str
    obligation_id: str
    from_bank: str
    to_bank: str
    amount: str
    currency: str
    method: str
    priority: str
    state: State
    accepted_at: datetime
    captured: str
    uetr: str
    waiting_for: Waiting | None = None
    due_at: datetime | None = None
    attempts: int = 0
    reason: str | None = None
    remark: str | None = None
    review: str | None = None
    returned: str | None = None
    compensates: str | None = None
    sent_at: datetime | None = None
    ended_at: datetime | None = None


class Checkpoint(msgspec.Struct, frozen=True):
    """A step that an attempt has passed."""

    attempt: int
    step: Step
    at: datetime


def settlement(**row: Any) -> Settlement:
    """Read a settlement from its row."""
    exponent: int = row["exponent"]
    own: UUID = row["id"]
    return Settlement(
        id=ids.text("stl", own), obligation_id=row["obligation_id"], from_bank=row["from_bank"], to_bank=row["to_bank"],
        amount=decimal_text(row["amount"], exponent), currency=row["currency"], method=row["method"],
        priority=_PRIORITIES[int(row["priority"])].value, state=State(row["state"]), accepted_at=row["accepted_at"],
        captured=decimal_text(row["captured"], exponent), uetr=str(row["carries"] or order_id(own, row["attempt"])),
        waiting_for=row["waiting_for"], due_at=row["next_at"] if row["waiting_for"] else None, attempts=row["attempt"],
        reason=row["reason"], remark=row["remark"], review=None if row["review"] is None else ids.text("apr", row["review"]),
        returned=decimal_text(row["returned"], exponent) if row["returned"] else None,
        compensates=None if row["compensates"] is None else ids.text("stl", row["compensates"]),
        sent_at=row["sent_at"], ended_at=row["ended_at"],
    )  # fmt: skip


def place(priority: Priority) -> int:
    """Return a priority as its column has it: the lower, the sooner."""
    return _PRIORITIES.index(priority)


def own_id(asked: UUID) -> UUID:
    """Return the id of a settlement: shaped as a UETR (version 4), with room for the ids of its attempts."""
    return UUID(int=asked.int & ~(0xF << 76) & ~_ATTEMPTS | 4 << 76)


def order_id(own: UUID, attempt: int) -> UUID:
    """Return the id of an attempt, of its hold and of its order: what a bank refused is never sent again."""
    return UUID(int=own.int | max(attempt - 1, 0))


def of_order(order: UUID) -> tuple[UUID, int]:
    """Return the settlement that an end-to-end id belongs to, and which attempt of it."""
    return UUID(int=order.int & ~_ATTEMPTS), (order.int & _ATTEMPTS) + 1

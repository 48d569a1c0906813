"""Settlements as a batch moves them: read under a lock, changed in memory, written back in one statement.

Promise: whatever moves a settlement writes its steps and its line in the journal in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.arrays import array, instants, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.money import decimal_text
from clearhouse.slices.interbank.settlement import (
    TRANSITIONS,
    Settlement,
    State,
    Step,
    of_order,
    order_id,
    settlement,
)

sql = Statements.of("clearhouse.slices.interbank", "settlements.sql")


# Who comes to one of these has paid nothing, so the obligation is anybody's again.
_NOTHING = {State.FAILED.value, State.ROLLED_BACK.value}
_AT_ONCE: list[Step] = ["VALIDATION", "LOCK"]


class IllegalTransition(Exception):
    """A settlement cannot become what our own code wants it to become."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader of the events is told when a settlement moves."""

    state: State
    from_bank: str
    to_bank: str
    amount: str
    currency: str
    obligation_id: str
    captured: str | None = None
    waiting_for: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


@dataclass(slots=True, eq=False)
class Row:
    """A settlement under our lock. Only `become` changes its state, and only `carry` and `end_order` whose order it has.

    `attempts`, `lease` and `error` are the pipelines'. `over` says that the bank has said for good what became of its order.
    """

    book: int
    id: UUID
    obligation_id: str
    from_bank: str
    to_bank: str
    currency: str
    exponent: int
    amount: int
    method: str
    priority: int
    state: str
    waiting_for: str | None
    next_at: datetime | None
    attempt: int
    hold: UUID | None
    captured: int
    returned: int
    reason: str | None
    remark: str | None
    review: UUID | None
    reviewed: bool
    parties: str | None
    compensates: UUID | None
    accepted_at: datetime
    accepted_by: UUID
    sent_at: datetime | None
    ended_at: datetime | None
    attempts: int = 0
    lease: UUID | None = None
    error: str | None = None
    at_once: bool = False
    release: UUID | None = None
    denied_at: datetime | None = None
    retried_at: datetime | None = None
    carries: UUID | None = None
    heir: UUID | None = None
    over: bool = False
    found: str = field(init=False)
    steps: list[Step] = field(default_factory=list[Step])
    told: list[Line] = field(default_factory=list[Line])
    touched: bool = False
    carried: UUID | None = field(init=False)

    def __post_init__(self) -> None:
        self.found = self.state
        self.carried = self.carries

    @property
    def text(self) -> str:
        """Return its id as it is shown."""
        return ids.text("stl", self.id)

    @property
    def order(self) -> UUID:
        """Return the end-to-end id of its order: of the attempt it is in, or of one before that may still arrive."""
        return self.carries or order_id(self.id, self.attempt)

    @property
    def lock_id(self) -> UUID:
        """Return the id of the hold of the attempt it is in."""
        return order_id(self.id, self.attempt)

    @property
    def origin(self) -> UUID:
        """Return the settlement that its order was made for."""
        return of_order(self.order)[0]

    def money(self, minor: int) -> str:
        """Write an amount of its currency."""
        return decimal_text(minor, self.exponent)

    def become(self, state: State, *steps: Step, next_at: datetime | None = None, **changes: Any) -> None:
        """Change its state, its next hour and whatever else; it waits for nothing, and no failure counts any more."""
        if state.value != self.state and state not in TRANSITIONS[State(self.state)]:
            raise IllegalTransition(self.text, self.state, state)
        self.state, self.next_at, self.waiting_for, self.touched = state.value, next_at, None, True
        self.attempts, self.lease, self.error = 0, None, None
        self.steps.extend(steps)
        for name, value in changes.items():
            setattr(self, name, value)
        self.tell(f"interbank.{state.value.lower()}")

    def carry(self, order: UUID) -> None:
        """Keep an end-to-end id for good, since an order with it was sent and may still arrive."""
        self.carries = order

    def end_order(self) -> None:
        """Let nobody wait for its order any more: its bank has said for good what became of it."""
        if self.carries is not None:
            self.over = True
            self.carries = self.carries if self.captured else None

    def tell(self, event: str) -> None:
        """Say in the journal what happened, with the commit."""
        self.told.append(
            Line(event, self.text, Change(
                State(self.state), self.from_bank, self.to_bank, self.money(self.amount), self.currency, self.obligation_id,
                self.money(self.captured) if self.captured else None, self.waiting_for, self.reason,
            ))
        )  # fmt: skip

    def settlement(self) -> Settlement:
        """Return it as it is shown."""
        return settlement(**{name: getattr(self, name) for name in _COLUMNS})

    def lock(self, expires_at: datetime) -> Asked[PostTransaction]:
        """Return what locks its funds on both sides: the payer's vostro and our nostro at the payee's bank."""
        leg = Leg(
            debit=f"vostro:{self.from_bank}:{self.currency}", credit=f"nostro:{self.to_bank}:{self.currency}",
            amount=self.money(self.amount), currency=self.currency, pending=True, expires_at=expires_at,
        )  # fmt: skip
        return Asked(PostTransaction([leg]), self.lock_id, self.accepted_by)


_COLUMNS = (
    "id", "obligation_id", "from_bank", "to_bank", "currency", "exponent", "amount", "method", "priority", "state",
    "waiting_for", "next_at", "attempt", "captured", "returned", "reason", "remark", "review", "compensates", "accepted_at",
    "sent_at", "ended_at", "carries",
)  # fmt: skip


async def locked(tx: Tx, wanted: Iterable[UUID]) -> dict[UUID, Row]:
    """Return settlements by id, locked in order; what is not there is left out."""
    chosen = array(sorted(set(wanted)))
    return {row.id: row for row in await tx.rows(sql["lock_settlements"], Row, book=tx.book, ids=chosen)}


async def add(tx: Tx, rows: Sequence[Row], at: datetime) -> None:
    """Write settlements that were not there before, and take their obligations; what puts another right takes none."""
    if not rows:
        return
    for row in rows:
        row.at_once = row.steps == _AT_ONCE
    taking = [row for row in rows if row.compensates is None and row.carries is None]
    if taking:
        tx.later(sql["take_obligations"], book=tx.book, **_obligations(taking))
    await tx.do(
        sql["add_settlements"], book=tx.book, at=at, ids=array([row.id for row in rows]),
        obligations=texts([row.obligation_id for row in rows]), payers=array([row.from_bank for row in rows]),
        payees=array([row.to_bank for row in rows]), currencies=array([row.currency for row in rows]),
        exponents=array([row.exponent for row in rows]), amounts=array([row.amount for row in rows]),
        methods=array([row.method for row in rows]), priorities=array([row.priority for row in rows]),
        people=array([row.accepted_by for row in rows]),
        parties=[row.parties for row in rows], compensated=array([row.compensates or "NULL" for row in rows]),
        at_once=array([row.at_once for row in rows]),
        **_arrays(rows, whole=False),
    )  # fmt: skip
    _passages(tx, [row for row in rows if not row.at_once], at)


async def write(tx: Tx, rows: Iterable[Row], at: datetime) -> None:
    """Write back settlements that were changed under their locks, with their steps; those nobody touched cost nothing."""
    rows = list(rows)
    _orders(tx, rows)
    touched = [row for row in rows if row.touched]
    if not touched:
        return
    moved = await tx.do(
        sql["move_settlements"], book=tx.book, ids=array([row.id for row in touched]),
        found=array([row.found for row in touched]),
        **_arrays(touched, whole=True),
    )  # fmt: skip
    if moved != len(touched):
        message = f"{len(touched) - moved} settlements were not in the states they were locked in"
        raise IllegalTransition(message)
    freed = [row for row in touched if row.state in _NOTHING and row.found not in _NOTHING and row.carries is None]
    if freed:
        tx.later(sql["free_obligations"], book=tx.book, **_obligations(freed))
    _passages(tx, touched, at)


def _orders(tx: Tx, rows: Sequence[Row]) -> None:
    """Note whose orders may still arrive, and give obligations back about whose orders nothing is open any more."""
    changed = [row for row in rows if row.carries != row.carried]
    if changed:
        tx.later(
            sql["carry_orders"], book=tx.book, ids=array([row.id for row in changed]),
            orders=array([row.carries or "NULL" for row in changed]),
        )  # fmt: skip
    over = [row for row in rows if row.over and row.state in _NOTHING]
    if over:
        tx.later(sql["free_obligations"], book=tx.book, **_obligations(over))


async def hand_over(tx: Tx, heirs: Mapping[UUID, Row]) -> None:
    """Let new settlements have the orders and the obligations of those by whose ids they are given."""
    if not heirs:
        return
    before, after = array(heirs), [heirs[each] for each in heirs]
    tx.later(
        sql["carry_orders"], book=tx.book, ids=array([row.id for row in after]), orders=array([row.order for row in after])
    )
    tx.later(
        sql["name_heirs"], book=tx.book, ids=array([row.origin for row in after]), heirs=array([row.id for row in after])
    )
    if await tx.do(sql["hand_over_obligations"], book=tx.book, before=before, **_obligations(after)) != len(after):
        message = "an obligation was handed over to somebody else since it was looked for"
        raise Stale(message)


async def retake(tx: Tx, rows: Sequence[Row]) -> set[UUID]:
    """Take the obligations of settlements that failed once more, and return for which of them nobody else has by now."""
    found = await tx.rows(sql["retake_obligations"], _Id, book=tx.book, **_obligations(rows))
    return {each.id for each in found}


def _obligations(rows: Sequence[Row]) -> dict[str, object]:
    return {"obligations": texts([row.obligation_id for row in rows]), "settlements": array([row.id for row in rows])}


def journal(tx: Tx, rows: Iterable[Row], *, kind: str, at: datetime) -> None:
    """Write what happened to settlements by itself into the journal."""
    lines = [line for row in rows for line in row.told]
    if lines:
        writing.write(tx, lines, book=tx.book, kind=kind, by=writing.SYSTEM, at=at)


def _passages(tx: Tx, rows: Iterable[Row], at: datetime) -> None:
    passed = [row for row in rows if row.steps]
    if passed:
        tx.later(
            sql["add_passages"], book=tx.book, at=at, settlements=array([row.id for row in passed]),
            attempt=array([row.attempt for row in passed]), steps=texts([array(row.steps) for row in passed]),
        )  # fmt: skip


def _arrays(rows: Sequence[Row], *, whole: bool) -> dict[str, object]:
    """Return what changes of settlements as the database takes it; of new ones a part."""
    made: dict[str, object] = {
        "states": array([row.state for row in rows]),
        "waits": array([row.waiting_for or "NULL" for row in rows]),
        "dues": instants([row.next_at for row in rows]),
        "attempt": array([row.attempt for row in rows]),
        "holds": array([row.hold or "NULL" for row in rows]),
        "reasons": [row.reason for row in rows],
        "remarks": [row.remark for row in rows],
        "reviews": array([row.review or "NULL" for row in rows]),
        "captured": array([row.captured for row in rows]),
        "ended": instants([row.ended_at for row in rows]),
    }
    if whole:
        made |= {
            "attempts": array([row.attempts for row in rows]),
            "leases": array([row.lease or "NULL" for row in rows]),
            "errors": [row.error for row in rows],
            "returned": array([row.returned for row in rows]),
            "reviewed": array([row.reviewed for row in rows]),
            "sent": instants([row.sent_at for row in rows]),
        }
    return made

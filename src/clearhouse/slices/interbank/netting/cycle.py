"""A cycle: what banks owe each other in a currency between two cuts, on its way from opening to its end.

    OPEN ──→ CLOSED ──→ SETTLING ──→ SETTLED          each position:  RECORDED ⇄ RESERVED ──→ COMMITTED ──→ SETTLED
               ├──────────┴────────→ ABORTED
               └──→ SETTLED  (nothing was recorded)

Promise: what is legal stands in two tables, and the database holds the same. A cycle is aborted only before its first
position is committed; from then on it is settled, whatever comes.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.ledger.transfers import Currency
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.settlement import Bic


class CycleState(Enum):
    """Where a cycle stands."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"
    SETTLING = "SETTLING"
    SETTLED = "SETTLED"
    ABORTED = "ABORTED"


class PositionState(Enum):
    """Where a position stands."""

    RECORDED = "RECORDED"
    RESERVED = "RESERVED"
    COMMITTED = "COMMITTED"
    SETTLED = "SETTLED"


# The triggers `legal` of the two tables know the same.
TRANSITIONS: Mapping[CycleState, frozenset[CycleState]] = {
    CycleState.OPEN: frozenset({CycleState.CLOSED}),
    CycleState.CLOSED: frozenset({CycleState.SETTLING, CycleState.SETTLED, CycleState.ABORTED}),
    CycleState.SETTLING: frozenset({CycleState.SETTLED, CycleState.ABORTED}),
    CycleState.SETTLED: frozenset(),
    CycleState.ABORTED: frozenset(),
}
STEPS: Mapping[PositionState, frozenset[PositionState]] = {
    PositionState.RECORDED: frozenset({PositionState.RESERVED}),
    PositionState.RESERVED: frozenset({PositionState.RECORDED, PositionState.COMMITTED}),
    PositionState.COMMITTED: frozenset({PositionState.SETTLED}),
    PositionState.SETTLED: frozenset(),
}
Method = Literal["gross", "bilateral", "multilateral"]
Why = Annotated[
    str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", examples=["A bank asked for it."])
]
BANKS_MAX = 1_000


class CycleNotFound(Refusal):
    """There is no netting cycle {id} here."""

    code = "cycle_not_found"
    kind = Kind.UNKNOWN


class WrongCycleState(Refusal):
    """Cycle {id} is {state}; only one that is {wanted} can be {verb}."""

    code = "cycle_state"
    kind = Kind.CONFLICT


class CycleCommitted(Refusal):
    """Cycle {id} is being paid out since {since}; it can no longer be aborted."""

    code = "cycle_committed"
    kind = Kind.CONFLICT


class CycleOpenAlready(Refusal):
    """A cycle in {currency} is open already; close it first, and the next one is opened with it."""

    code = "cycle_open_already"
    kind = Kind.CONFLICT


class NoOpenCycle(Refusal):
    """No netting cycle in {currency} is open; open one first."""

    code = "no_open_cycle"
    kind = Kind.CONFLICT


class CarriedAlready(Refusal):
    """The obligations of cycle {id} were carried to {to} already."""

    code = "carried_already"
    kind = Kind.CONFLICT


class OpenCycle(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Open a cycle in a currency: from now on obligations in it are gathered, to be settled by this method."""

    currency: Currency
    method: Method = "multilateral"


class CloseCycle(msgspec.Struct, frozen=True, omit_defaults=True):
    """Close a cycle and open the next, by the same method or by another; with `last` none is opened."""

    cycle: str
    settle: bool = False
    last: bool = False
    method: Method | None = None


class SettleCycle(msgspec.Struct, frozen=True):
    """Settle a closed cycle."""

    cycle: str


class AbortCycle(msgspec.Struct, frozen=True):
    """Take a cycle back of which nothing was paid yet."""

    cycle: str
    reason: Why


class CarryCycle(msgspec.Struct, frozen=True, omit_defaults=True):
    """Let the obligations of an aborted cycle count for the open one, but for those of some banks."""

    cycle: str
    without: Annotated[list[Bic], msgspec.Meta(max_length=BANKS_MAX)] = []


class Cycle(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cycle as it stands. The sums are there once it is netted: what is owed in all, and what is left to be paid."""

    id: str
    currency: str
    number: int
    method: Method
    state: CycleState
    opened_at: datetime
    obligations: int | None = None
    positions: int | None = None
    gross: str | None = None
    net: str | None = None
    settling_asked: bool = False
    reason: str | None = None
    waits_because: str | None = None
    carried_to: str | None = None
    closed_at: datetime | None = None
    netted_at: datetime | None = None
    committing_at: datetime | None = None
    ended_at: datetime | None = None


class CycleRow(msgspec.Struct, frozen=True):
    """A cycle as it is stored."""

    id: UUID
    currency: str
    exponent: int
    number: int
    method: Method
    state: str
    settle: bool
    obligations: int | None
    positions: int | None
    gross: int | None
    net: int | None
    reason: str | None
    carried_to: UUID | None
    opened_at: datetime
    closed_at: datetime | None
    netted_at: datetime | None
    committing_at: datetime | None
    ended_at: datetime | None
    error: str | None

    @property
    def text(self) -> str:
        """Return its id as it goes over the wire."""
        return ids.text("cyc", self.id)

    @property
    def clearing(self) -> str:
        """Return the code of the account that the money of this cycle passes through."""
        return f"netting:{self.currency}:{self.number}"

    def money(self, minor: int) -> str:
        """Return an amount of its currency as a text."""
        return decimal_text(int(minor), self.exponent)

    def shown(self) -> Cycle:
        """Return it as it is shown."""
        return Cycle(
            id=self.text, currency=self.currency, number=self.number, method=self.method, state=CycleState(self.state),
            opened_at=self.opened_at, obligations=self.obligations, positions=self.positions,
            gross=None if self.gross is None else self.money(self.gross),
            net=None if self.net is None else self.money(self.net), settling_asked=self.settle, reason=self.reason,
            waits_because=self.error, carried_to=None if self.carried_to is None else ids.text("cyc", self.carried_to),
            closed_at=self.closed_at, netted_at=self.netted_at, committing_at=self.committing_at, ended_at=self.ended_at,
        )  # fmt: skip


def cut_of(currency: str) -> str:
    """Return the name of the cut that divides the obligations of a currency into cycles."""
    return f"netting:{currency}"


def cycle_row(**row: Any) -> CycleRow:
    """Read a cycle from its row."""
    return CycleRow(**row)

"""Every command of netting: its name, its scope, what runs it, and what the journal says of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.slices.interbank.netting import cycles, obligations, withdrawing
from clearhouse.slices.interbank.netting.cycle import AbortCycle, CarryCycle, CloseCycle, Cycle, CycleState
from clearhouse.slices.interbank.netting.obligations import Obligation, RecordObligation
from clearhouse.slices.interbank.netting.settling import PositionMoved
from clearhouse.slices.interbank.netting.withdrawing import WithdrawObligation

READ, RECORD_SCOPE, SETTLE_SCOPE = "interbank:read", "interbank:execute", "interbank:net"


class Recorded(msgspec.Struct, frozen=True):
    """What a reader of the events is told of an obligation."""

    from_bank: str
    to_bank: str
    amount: str
    currency: str
    cycle: str


class Withdrawn(msgspec.Struct, frozen=True):
    """What a reader of the events is told of an obligation that was withdrawn: what it was, and why."""

    from_bank: str
    to_bank: str
    amount: str
    currency: str
    cycle: str
    reason: str


class Aborting(msgspec.Struct, frozen=True):
    """What a reader of the events is told of a cycle that somebody takes back: why, and how it stands."""

    reason: str
    cycle: Cycle


class Carried(msgspec.Struct, frozen=True):
    """What a reader of the events is told of an aborted cycle: which one its obligations count for now, and whose do not."""

    to: str
    without: list[str]


def _recorded(_: Asked[RecordObligation], answer: Obligation) -> Line:
    event = "interbank.obligation_repeated" if answer.exists else "interbank.obligation_recorded"
    return Line(event, answer.obligation_id, _told(answer))


def _told(answer: Obligation) -> Recorded:
    return Recorded(answer.from_bank, answer.to_bank, answer.amount, answer.currency, answer.cycle)


def _withdrawn(asked: Asked[WithdrawObligation], answer: Obligation) -> Line:
    reason = answer.withdrawn_because or asked.command.reason
    if answer.exists:
        return Line("interbank.obligation_repeated", answer.obligation_id, _told(answer))
    told = Withdrawn(answer.from_bank, answer.to_bank, answer.amount, answer.currency, answer.cycle, reason)
    return Line("interbank.obligation_withdrawn", answer.obligation_id, told)


def _cycle(event: str) -> Any:
    def line(_: Asked[Any], answer: Cycle) -> Line:
        return Line(event, answer.id, answer)

    return line


def _closed(_: Asked[CloseCycle], answer: Cycle) -> Line:
    """Say what a reader waits for: of one that was empty, that it is settled."""
    empty = answer.state is CycleState.SETTLED
    return Line("interbank.cycle_settled" if empty else "interbank.cycle_closed", answer.id, answer)


def _aborted(asked: Asked[AbortCycle], answer: Cycle) -> Line:
    if answer.state is CycleState.ABORTED:
        return Line("interbank.cycle_aborted", answer.id, answer)
    return Line("interbank.cycle_aborting", answer.id, Aborting(asked.command.reason, answer))


def _carried(asked: Asked[CarryCycle], answer: Cycle) -> Line:
    return Line("interbank.cycle_carried", asked.command.cycle, Carried(answer.id, asked.command.without))


RECORD = Kind(
    "interbank.record_obligation", RECORD_SCOPE, obligations.record, Obligation, _recorded,
    events={"interbank.obligation_recorded": Recorded, "interbank.obligation_repeated": Recorded},
)  # fmt: skip
WITHDRAW = Kind(
    "interbank.withdraw_obligation", RECORD_SCOPE, withdrawing.withdraw, Obligation, _withdrawn, natural=False,
    events={"interbank.obligation_withdrawn": Withdrawn, "interbank.obligation_repeated": Recorded},
)  # fmt: skip
OPEN = Kind(
    "interbank.open_cycle", SETTLE_SCOPE, cycles.open_cycles, Cycle, _cycle("interbank.cycle_opened"), natural=False,
    events={"interbank.cycle_opened": Cycle},
)  # fmt: skip
CLOSE = Kind(
    "interbank.close_cycle", SETTLE_SCOPE, cycles.close_cycles, Cycle, _closed, natural=False,
    events={"interbank.cycle_closed": Cycle},
)  # fmt: skip
SETTLE = Kind(
    "interbank.settle", SETTLE_SCOPE, cycles.settle_cycles, Cycle, _cycle("interbank.cycle_settling"), natural=False,
    events={"interbank.cycle_settling": Cycle},
)  # fmt: skip
ABORT = Kind(
    "interbank.abort_cycle", SETTLE_SCOPE, cycles.abort_cycles, Cycle, _aborted, natural=False,
    events={"interbank.cycle_aborting": Aborting},
)  # fmt: skip
CARRY = Kind(
    "interbank.carry_cycle", SETTLE_SCOPE, cycles.carry_cycles, Cycle, _carried, natural=False,
    events={"interbank.cycle_carried": Carried},
)  # fmt: skip
ALL: tuple[Kind[Any, Any], ...] = (RECORD, WITHDRAW, OPEN, CLOSE, SETTLE, ABORT, CARRY)
# What becomes of a cycle by itself.
EVENTS: Mapping[str, Any] = {
    **dict.fromkeys(["interbank.cycle_netted", "interbank.cycle_settled", "interbank.cycle_aborted"], Cycle),
    **dict.fromkeys(
        [
            "interbank.position_reserved", "interbank.position_committed", "interbank.position_settled",
            "interbank.position_released",
        ],
        PositionMoved,
    ),
}  # fmt: skip
SCOPES: Mapping[Role, tuple[Scope, ...]] = {"operator": (SETTLE_SCOPE,)}

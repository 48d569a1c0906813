"""Settling: a closed cycle is netted, money is reserved, and then it moves: first from those who pay, then to the others.

Promises: nothing is paid before everything is reserved; if something cannot be reserved, all that was is given back and the
cycle is aborted, with the reason. From the first commit on the cycle only goes forward. Each step is one transaction of a
bounded number of positions, so whoever dies anywhere leaves what another goes on from.

A hold stands between the very accounts that the money will move between, so funds, ceilings and states of both are looked at
before the first commit. It is pinned: no timer and no hand frees it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import accounts, holds, posting
from clearhouse.kernel.ledger.accounts import ChangeAccount, OpenAccount
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.kernel.pipelines.stages import BackOff, Failed, Later, Moves, NotYet, Stage
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting import cycles
from clearhouse.slices.interbank.netting.cycle import Cycle, CycleRow, CycleState, PositionState
from clearhouse.slices.interbank.netting.positions import PositionRow, ref, sql

POSITIONS_AT_ONCE = 1_000
REASON_LETTERS_MAX = 1_000
_BY_METHOD = {"gross": "add_gross", "bilateral": "add_bilateral", "multilateral": "add_multilateral"}
_Legs = Callable[[CycleRow, PositionRow], Leg]


class PositionMoved(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a reader of the events is told of a position: who gets (`net` above zero) or pays, and where it stands."""

    cycle: str
    bank: str
    net: str
    currency: str
    state: PositionState
    counterparty: str | None = None
    obligation_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Totals:
    obligations: int
    gross: int
    positions: int
    net: int


class StateLost(Exception):
    """Rows were not in the states that they were locked in."""


# Netting -------------------------------------------------------------------------------------------------------------


async def _net(tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Work out what each bank is to pay or to get in cycles that were closed; nobody waits for this."""
    await tx.tuples(sql["roomy"])
    for cycle in (await cycles.rows(tx, batch)).values():
        await _netted(tx, cycle, at)
    tx.wake(cycles.SETTLE)
    return {}


async def _netted(tx: Tx, cycle: CycleRow, at: datetime) -> None:
    await tx.do(sql["add_flows"], book=tx.book, cycle=cycle.id)
    await tx.do(sql[_BY_METHOD[cycle.method]], book=tx.book, cycle=cycle.id)
    totals = await tx.row(sql["totals"], _Totals, book=tx.book, cycle=cycle.id) or _Totals(0, 0, 0, 0)
    if cycle.method == "multilateral":
        opening = OpenAccount(cycle.clearing, cycle.currency)
        own = ids.derived("netting.clearing", str(tx.book), str(cycle.id))
        for answer in await accounts.open_accounts(tx, [Asked(opening, own, writing.SYSTEM)], at):
            if isinstance(answer, Refusal):
                raise answer
    await tx.do(
        cycles.sql["netted"], book=tx.book, id=cycle.id, at=at, obligations=totals.obligations, gross=totals.gross,
        positions=totals.positions, net=totals.net,
    )  # fmt: skip
    await _tell(tx, cycle.id, "netted", at)


# Settling ------------------------------------------------------------------------------------------------------------


async def _settle(tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Take cycles one step further."""
    found = await cycles.rows(tx, batch)
    said = {own: await _step(tx, found[own], at) for own in batch}
    return {own: word for own, word in said.items() if word is not None}


async def _step(tx: Tx, cycle: CycleRow, at: datetime) -> NotYet | None:
    if cycle.reason is not None:
        return await _give_back(tx, cycle, at)
    if cycle.committing_at is None:
        return await _reserve(tx, cycle, at)
    return await _commit(tx, cycle, at)


async def _reserve(tx: Tx, cycle: CycleRow, at: datetime) -> NotYet:
    """Hold the money of those who pay; where one cannot, the cycle is taken back."""
    found = await _standing(tx, cycle, PositionState.RECORDED)
    if not found:
        if not await tx.do(cycles.sql["commit_cycle"], book=tx.book, id=cycle.id, at=at):
            raise StateLost(cycle.text)
        return Later(at)
    refused = await _post(tx, cycle, found, step="hold", leg=_hold, at=at)
    held = [row for row in found if row.place not in refused]
    await holds.pin(tx, [_id(tx, "hold", row) for row in held if row.net], at)
    await _move(tx, cycle, held, to=PositionState.RESERVED, at=at)
    if refused:
        reason = "; ".join(f"{code}: {refusal}" for code, refusal in _told(refused))
        await tx.do(cycles.sql["take_back"], book=tx.book, id=cycle.id, reason=reason[:REASON_LETTERS_MAX])
    return Later(at)


async def _commit(tx: Tx, cycle: CycleRow, at: datetime) -> NotYet | None:
    """Pay what is reserved, those first who pay into the clearing account; what the ledger refuses now is tried again."""
    found = await _standing(tx, cycle, PositionState.RESERVED)
    if not found:
        return await _finish(tx, cycle, at)
    await holds.answered(tx, [_id(tx, "hold", row) for row in found if row.net])
    refused = await _post(tx, cycle, found, step="commit", leg=lambda _, row: Leg(capture=_transfer(tx, row)), at=at)
    await _move(tx, cycle, [row for row in found if row.place not in refused], to=PositionState.COMMITTED, at=at)
    if not refused:
        return Later(at)
    left = [row for row in found if row.place in refused]
    await holds.pin(tx, [_id(tx, "hold", row) for row in left], at)
    await tx.do(
        sql["refused"], book=tx.book, cycle=cycle.id, places=array([row.place for row in left]),
        reasons=[f"{refused[row.place].code}: {refused[row.place]}"[:REASON_LETTERS_MAX] for row in left],
    )  # fmt: skip
    if len(left) < len(found):
        return Later(at)
    code, refusal = _told(refused)[0]
    return Failed(f"{code}: {refusal}")


async def _finish(tx: Tx, cycle: CycleRow, at: datetime) -> NotYet | None:
    """End what is paid; the clearing account is empty then, and is closed."""
    found = await _standing(tx, cycle, PositionState.COMMITTED)
    if found:
        await _move(tx, cycle, found, to=PositionState.SETTLED, at=at)
        return Later(at)
    if cycle.method == "multilateral":
        account = await accounts.find(tx, cycle.clearing, cycle.currency)
        own = ids.derived("netting.closing", str(tx.book), str(cycle.id))
        change = Asked(ChangeAccount(account.id, "closed"), own, writing.SYSTEM)
        answer = (await accounts.change_accounts(tx, [change], at))[0]
        if isinstance(answer, Refusal):
            return Failed(f"{answer.code}: {answer}")
    await _end(tx, cycle, CycleState.SETTLED, at)
    return None


async def _give_back(tx: Tx, cycle: CycleRow, at: datetime) -> NotYet | None:
    """Free what was reserved, and abort the cycle when nothing is any more."""
    found = await _standing(tx, cycle, PositionState.RESERVED)
    if not found:
        await _end(tx, cycle, CycleState.ABORTED, at)
        return None
    await holds.answered(tx, [_id(tx, "hold", row) for row in found if row.net])
    refused = await _post(tx, cycle, found, step="release", leg=lambda _, row: Leg(release=_transfer(tx, row)), at=at)
    if refused:
        raise StateLost(str(refused))
    await _move(tx, cycle, found, to=PositionState.RECORDED, at=at)
    return Later(at)


# The ledger and the rows ---------------------------------------------------------------------------------------------


def _id(tx: Tx, step: str, row: PositionRow) -> UUID:
    """Return the id of what is posted for a position: the same, however often a step is begun."""
    return ids.derived(f"netting.{step}", str(tx.book), str(row.cycle), str(row.place))


def _transfer(tx: Tx, row: PositionRow) -> str:
    return ids.text("trf", _id(tx, "hold", row))


def _hold(cycle: CycleRow, row: PositionRow) -> Leg:
    return Leg(
        debit=_account(cycle, row.payer), credit=_account(cycle, row.payee), amount=cycle.money(abs(row.net)),
        currency=cycle.currency, pending=True,
    )  # fmt: skip


def _account(cycle: CycleRow, bank: str | None) -> str:
    return cycle.clearing if bank is None else f"vostro:{bank}:{cycle.currency}"


async def _post(
    tx: Tx, cycle: CycleRow, found: Sequence[PositionRow], *, step: str, leg: _Legs, at: datetime
) -> dict[int, Refusal]:
    """Post a leg for each position that moves money, and return which of them were refused."""
    moving = [row for row in found if row.net]
    asked = [
        Asked(
            PostTransaction([leg(cycle, row)], reference=row.obligation_id or ref(row.cycle, row.place)),
            _id(tx, step, row), writing.SYSTEM,
        )
        for row in moving
    ]  # fmt: skip
    answers = await posting.post(tx, asked, at) if asked else []
    return {
        row.place: answer for row, answer in zip(moving, answers, strict=True) if isinstance(answer, Refusal)
    }  # fmt: skip


def _told(refused: Mapping[int, Refusal]) -> list[tuple[str, Refusal]]:
    return [(refusal.code, refusal) for _, refusal in sorted(refused.items())]


async def _standing(tx: Tx, cycle: CycleRow, state: PositionState) -> list[PositionRow]:
    """Return the next positions in a state, of one turn."""
    return await tx.rows(
        sql["standing"], PositionRow, book=tx.book, cycle=cycle.id, state=state.value, most=POSITIONS_AT_ONCE
    )


async def _move(
    tx: Tx, cycle: CycleRow, found: Sequence[PositionRow], *, to: PositionState, at: datetime
) -> None:  # fmt: skip
    if not found:
        return
    moved = await tx.do(
        sql["move_positions"], book=tx.book, cycle=cycle.id, places=array([row.place for row in found]),
        to=to.value, found=found[0].state,
    )  # fmt: skip
    if moved != len(found):
        raise StateLost(f"{len(found) - moved} positions of {cycle.text}")
    event = "interbank.position_released" if to is PositionState.RECORDED else f"interbank.position_{to.value.lower()}"
    lines = [
        Line(
            event, ref(row.cycle, row.place),
            PositionMoved(
                cycle.text, row.bank, cycle.money(row.net), cycle.currency, to, row.counterparty, row.obligation_id
            ),
        )
        for row in found
    ]  # fmt: skip
    writing.write(tx, lines, book=tx.book, kind="interbank.settle_cycle", by=writing.SYSTEM, at=at)


async def _end(tx: Tx, cycle: CycleRow, state: CycleState, at: datetime) -> None:
    if not await tx.do(cycles.sql["end_cycle"], book=tx.book, id=cycle.id, state=state.value, at=at):
        raise StateLost(cycle.text)
    await _tell(tx, cycle.id, state.value.lower(), at)


async def _tell(tx: Tx, own: UUID, what: str, at: datetime) -> None:
    shown: Cycle = (await cycles.rows(tx, [own]))[own].shown()
    lines = [Line(f"interbank.cycle_{what}", shown.id, shown)]
    if what == "netted" and shown.state is CycleState.SETTLED:
        lines.append(Line("interbank.cycle_settled", shown.id, shown))
    writing.write(tx, lines, book=tx.book, kind="interbank.net", by=writing.SYSTEM, at=at)


NET = Stage(
    cycles.NET, "interbank", "netting_cycle", CycleState.CLOSED.value, Moves(_net), batch=1, prefix="cyc",
    about="what each bank is to pay or to get in a closed netting cycle is worked out",
)  # fmt: skip
SETTLE = Stage(
    cycles.SETTLE, "interbank", "netting_cycle", CycleState.SETTLING.value, Moves(_settle), batch=1, prefix="cyc",
    back_off=BackOff(longest_seconds=300.0, tries=2**30),  # it is never given up: money has moved
    about="the positions of a netting cycle are reserved, and then paid",
)  # fmt: skip
STAGES = (NET, SETTLE)

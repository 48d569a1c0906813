"""Cycles: opened, closed, settled, aborted, and what was in an aborted one carried over to the next.

Promise: closing moves a cut and computes nothing: whoever records waits a moment at most. An aborted cycle's obligations are
not lost: they stay where they can be seen, and count for another cycle once, when somebody carries them there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.db.statements import Statements
from clearhouse.money import iso
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting.cycle import (
    AbortCycle,
    CarriedAlready,
    CarryCycle,
    CloseCycle,
    Cycle,
    CycleCommitted,
    CycleNotFound,
    CycleOpenAlready,
    CycleRow,
    CycleState,
    Method,
    NoOpenCycle,
    OpenCycle,
    SettleCycle,
    WrongCycleState,
    cut_of,
)
from clearhouse.slices.interbank.validation import CurrencyUnknown

sql = Statements.of("clearhouse.slices.interbank.netting", "cycles.sql")
NET, SETTLE = "interbank.net", "interbank.settle_cycle"
_END = datetime(9999, 12, 31, tzinfo=UTC)
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, slots=True)
class _Open:
    id: UUID
    currency: str
    number: int


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


@dataclass(frozen=True, slots=True)
class New:
    """A cycle to be opened where the cut of its currency stands."""

    id: UUID
    currency: str
    method: Method
    by: UUID


# Reading -------------------------------------------------------------------------------------------------------------


async def rows(tx: Tx, wanted: Iterable[UUID]) -> dict[UUID, CycleRow]:
    """Return cycles by their ids."""
    found = await tx.rows(sql["cycles"], CycleRow, book=tx.book, ids=array(sorted(set(wanted))))
    return {row.id: row for row in found}


async def row(tx: Tx, text: str) -> CycleRow:
    """Return one cycle as it is stored."""
    own = readable("cyc", text)
    found = (await rows(tx, [own])).get(own)
    if found is None:
        raise CycleNotFound(id=text[:64])
    return found


async def listed(
    tx: Tx, *, currency: str | None = None, state: CycleState | None = None, before: CycleRow | None = None, most: int = 100
) -> list[CycleRow]:
    """Return cycles, newest first."""
    return await tx.rows(
        sql["cycles_page"], CycleRow, book=tx.book, currency=currency, state=None if state is None else state.value,
        opened_at=_END if before is None else before.opened_at, before=_LAST if before is None else before.id, most=most,
    )  # fmt: skip


async def opened(tx: Tx, currencies: Iterable[str]) -> dict[str, UUID]:
    """Return the cycles that are open now, by currency; one may be closed a moment later."""
    found = await tx.rows(sql["open_cycles"], _Open, book=tx.book, currencies=texts(sorted(set(currencies))))
    return {each.currency: each.id for each in found}


async def _shown(tx: Tx, own: UUID) -> Cycle:
    return (await rows(tx, [own]))[own].shown()


# Opening and closing -------------------------------------------------------------------------------------------------


async def open_cycles(tx: Tx, asked: Sequence[Asked[OpenCycle]], at: datetime) -> list[Cycle | Refusal]:
    """Open cycles, one a currency."""
    valid = [each for each in asked if iso(each.command.currency) is not None]
    cuts.open_cuts(tx, [cut_of(each.command.currency) for each in valid], at)
    places = await cuts.enter(tx, sorted({cut_of(each.command.currency) for each in valid}))
    first = {each.command.currency: each for each in reversed(valid)}
    new = [New(each.id, currency, each.command.method, each.by) for currency, each in first.items()]
    await add(tx, new, places, at)
    there = await rows(tx, [each.id for each in new])
    answers: list[Cycle | Refusal] = []
    for each in asked:
        if iso(each.command.currency) is None:
            answers.append(CurrencyUnknown(currency=each.command.currency))
        elif each.id in there and first[each.command.currency] is each:
            answers.append(there[each.id].shown())
        else:
            answers.append(CycleOpenAlready(currency=each.command.currency))
    return answers


async def add(tx: Tx, new: Sequence[New], places: Mapping[str, int], at: datetime) -> None:
    """Open cycles where the cuts of their currencies stand, unless others are open there."""
    if new:
        exponents = [found.exponent for found in (iso(each.currency) for each in new) if found is not None]
        await tx.do(
            sql["add_cycles"], book=tx.book, at=at, ids=array([each.id for each in new]), exponents=array(exponents),
            currencies=texts([each.currency for each in new]), methods=array([each.method for each in new]),
            numbers=array([places[cut_of(each.currency)] for each in new]), people=array([each.by for each in new]),
        )  # fmt: skip


async def close_cycles(tx: Tx, asked: Sequence[Asked[CloseCycle]], at: datetime) -> list[Cycle | Refusal]:
    """Close cycles and open those that follow, in one moment."""
    there = await rows(tx, [readable("cyc", each.command.cycle) for each in asked])
    first: dict[UUID, Asked[CloseCycle]] = {}
    for each in asked:
        own = readable("cyc", each.command.cycle)
        if own in there:
            first.setdefault(own, each)
    wanted = sorted(first)
    closed = await tx.rows(
        sql["close_cycles"], _Id, book=tx.book, at=at, ids=array(wanted),
        settle=array([first[own].command.settle for own in wanted]),
    )  # fmt: skip
    done = sorted(each.id for each in closed)
    if done:
        await _cut(tx, [(there[own], first[own]) for own in done], at)
        tx.wake(NET)
    now = await rows(tx, first)
    answers: list[Cycle | Refusal] = []
    for each in asked:
        own = readable("cyc", each.command.cycle)
        if own not in now:
            answers.append(CycleNotFound(id=each.command.cycle[:64]))
        elif own in done and first[own] is each:
            answers.append(now[own].shown())
        else:
            answers.append(_wrong(now[own], CycleState.OPEN, "closed"))
    return answers


async def _cut(tx: Tx, closing: Sequence[tuple[CycleRow, Asked[CloseCycle]]], at: datetime) -> None:
    """Move the cuts of cycles that were just closed; from here to the commit others wait."""
    moved = await cuts.move(tx, [cut_of(row.currency) for row, _ in closing], at)
    for row, _ in closing:
        if moved.get(cut_of(row.currency)) != row.number + 1:
            message = "a cut does not stand where its open cycle says"
            raise Stale(message)
    following = [
        New(
            ids.derived("netting.cycle", str(tx.book), str(row.id)), row.currency, each.command.method or row.method, each.by
        )
        for row, each in closing
        if not each.command.last
    ]
    await add(tx, following, moved, at)
    await tx.do(sql["end_empty"], book=tx.book, at=at, ids=array([row.id for row, _ in closing]))


# What becomes of a closed one ----------------------------------------------------------------------------------------


async def settle_cycles(tx: Tx, asked: Sequence[Asked[SettleCycle]], at: datetime) -> list[Cycle | Refusal]:
    """Let closed cycles be settled; one that is being settled, or was, is left as it is."""
    answers: list[Cycle | Refusal] = []
    for each in asked:
        own = readable("cyc", each.command.cycle)
        await tx.do(sql["settle_cycle"], book=tx.book, id=own, at=at)
        found = (await rows(tx, [own])).get(own)
        if found is None:
            answers.append(CycleNotFound(id=each.command.cycle[:64]))
        elif found.state in {CycleState.OPEN.value, CycleState.ABORTED.value} or found.reason is not None:
            answers.append(_wrong(found, CycleState.CLOSED, "settled"))
        else:
            answers.append(found.shown())
    tx.wake(NET, SETTLE)
    return answers


async def abort_cycles(tx: Tx, asked: Sequence[Asked[AbortCycle]], at: datetime) -> list[Cycle | Refusal]:
    """Take cycles back, unless some of them was paid already."""
    answers: list[Cycle | Refusal] = []
    for each in asked:
        own = readable("cyc", each.command.cycle)
        done = await tx.do(sql["abort_cycle"], book=tx.book, id=own, at=at, reason=each.command.reason)
        found = (await rows(tx, [own])).get(own)
        if found is None:
            answers.append(CycleNotFound(id=each.command.cycle[:64]))
        elif done:
            answers.append(found.shown())
        elif found.committing_at is not None:
            answers.append(CycleCommitted(id=found.text, since=found.committing_at.isoformat()))
        else:
            answers.append(_wrong(found, CycleState.CLOSED, "aborted"))
    tx.wake(SETTLE)
    return answers


def _wrong(row: CycleRow, wanted: CycleState, verb: str) -> WrongCycleState:
    return WrongCycleState(id=row.text, state=row.state, wanted=wanted.value, verb=verb)


async def carry_cycles(tx: Tx, asked: Sequence[Asked[CarryCycle]], at: datetime) -> list[Cycle | Refusal]:  # noqa: ARG001 - a command's shape
    """Let what is in aborted cycles count for the open ones of their currencies; return those."""
    answers: list[Cycle | Refusal] = []
    for each in asked:
        try:
            answers.append(await _carry(tx, each.command))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _carry(tx: Tx, command: CarryCycle) -> Cycle:
    """Write first and enter the cut last, as whoever records: what was meant must still be open then."""
    found = await row(tx, command.cycle)
    if found.carried_to is not None:
        raise CarriedAlready(id=found.text, to=ids.text("cyc", found.carried_to))
    if found.state != CycleState.ABORTED.value:
        raise _wrong(found, CycleState.ABORTED, "carried over")
    target = (await opened(tx, [found.currency])).get(found.currency)
    if target is None:
        raise NoOpenCycle(currency=found.currency)
    if not await tx.do(sql["carried"], book=tx.book, cycle=found.id, to=target):
        message = "a cycle was carried since it was looked at"
        raise Stale(message)
    await tx.do(sql["carry_batches"], book=tx.book, cycle=found.id, to=target, without=texts(sorted(set(command.without))))
    places = await cuts.enter(tx, [cut_of(found.currency)])
    if places[cut_of(found.currency)] != (await rows(tx, [target]))[target].number:
        message = "a cycle was closed since it was looked for"
        raise Stale(message)
    return await _shown(tx, target)

"""Deciding a batch of transactions: pure, in order, without a word to the database.

Promise: what this module accepts keeps every rule of the ledger, and what it refuses leaves no trace. Each transaction is
decided on what the ones before it left; a refused one is undone to the letter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.ledger import refusals as no
from clearhouse.kernel.ledger.existing import Existing, compare, own_id
from clearhouse.kernel.ledger.standing import DIGITS_MAX, Standing
from clearhouse.kernel.ledger.targets import Target
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction, TransferKind
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Refusal


class Move(NamedTuple):
    """A transfer decided on, with the counters of both accounts right after it."""

    id: UUID
    transaction: UUID
    position: int
    kind: TransferKind
    debit: Standing
    credit: Standing
    amount: int
    target: UUID | None
    released: int | None
    expires_at: datetime | None
    after: tuple[int, ...]
    command: PostTransaction


# What a leg does, before it has an id: kind, debit, credit, amount, target, released, expires_at.
Effect = tuple[TransferKind, Standing, Standing, int, UUID | None, int | None, datetime | None]
Mark = tuple[str | None, int, int, int]
_POSTED, _HOLD = TransferKind.POSTED, TransferKind.HOLD


@dataclass(slots=True)
class Batch:
    """What a batch is decided on, and what has been decided so far."""

    names: Mapping[str, Mapping[str, Standing]]
    by_id: Mapping[str, Standing]
    sealed_to: date
    at: datetime
    targets: dict[UUID, Target] = field(default_factory=dict[UUID, Target])
    stored: Mapping[UUID, Sequence[Existing]] = field(default_factory=dict[UUID, Sequence[Existing]])
    taken: frozenset[int] = frozenset()
    aimed: bool = False
    moves: list[Move] = field(default_factory=list[Move])
    touched: dict[str, Standing] = field(default_factory=dict[str, Standing])
    made: set[int] = field(default_factory=set[int])
    accepted: dict[int, int] = field(default_factory=dict[int, int])
    changed: dict[UUID, Target] = field(default_factory=dict[UUID, Target])
    marks: list[tuple[Target, Mark]] = field(default_factory=list[tuple[Target, Mark]])


_NOBODY: Mapping[str, Standing] = {}


class Repeat:
    """A transaction that an earlier one of the same batch has posted already."""


def decide(batch: Batch, asked: Sequence[Asked[PostTransaction]]) -> list[Posted | Refusal | Repeat | None]:
    """Decide each transaction in turn: None where it is accepted, with its moves in `batch.moves`."""
    verdicts: list[Posted | Refusal | Repeat | None] = []
    for each in asked:
        if batch.stored and each.id in batch.stored:
            verdicts.append(compare(each, batch.stored[each.id], batch.names))
        elif each.id.int in batch.accepted:
            verdicts.append(_repeated(batch, each))
        else:
            verdicts.append(_transaction(batch, each))
    return verdicts


def _repeated(batch: Batch, asked: Asked[PostTransaction]) -> Refusal | Repeat:
    """Compare with what this batch is about to store, as it would be compared once it is stored."""
    start = batch.accepted[asked.id.int]
    first = batch.moves[start].command
    today = max(batch.at.date(), batch.sealed_to + timedelta(days=1))
    metadata = msgspec.json.encode(first.metadata).decode() if first.metadata else None
    stored = [
        Existing(
            move.id, move.transaction, move.position, int(move.kind), move.debit.id, move.credit.id, move.amount,
            move.target, move.released, move.expires_at, batch.at, first.effective or today, first.reference,
            first.external_reference, metadata,
        )
        for move in batch.moves[start : start + len(first.transfers)]
    ]  # fmt: skip
    answer = compare(asked, stored, batch.names)
    return answer if isinstance(answer, Refusal) else Repeat()


def _transaction(batch: Batch, asked: Asked[PostTransaction]) -> Refusal | None:
    start = len(batch.moves)
    command = asked.command
    try:
        if command.effective is not None and command.effective <= batch.sealed_to:
            raise no.DayClosed(day=str(command.effective), sealed_to=str(batch.sealed_to))
        for position, leg in enumerate(command.transfers):
            _leg(batch, asked, leg, position)
    except Refusal as refusal:
        _undo(batch, start)
        return refusal
    if batch.marks:
        batch.marks.clear()
    batch.accepted[asked.id.int] = start
    return None


def _undo(batch: Batch, start: int) -> None:
    """Take back what a refused transaction did: a leg that was refused has done nothing yet."""
    for move in reversed(batch.moves[start:]):
        posted, pending = _effect_on_counters(move)
        _add(move.debit, move.credit, -posted, -pending)
        batch.targets.pop(move.id, None)
        batch.changed.pop(move.id, None)
        batch.made.discard(move.id.int)
    for target, mark in reversed(batch.marks):
        target.restore(mark)
    batch.marks.clear()
    del batch.moves[start:]


def _effect_on_counters(move: Move) -> tuple[int, int]:
    """Return what a transfer adds to the posted and to the pending counters of its accounts."""
    if move.kind is TransferKind.HOLD:
        return 0, move.amount
    if move.kind is TransferKind.CAPTURE:
        return move.amount, -(move.released or move.amount)
    if move.kind in {TransferKind.RELEASE, TransferKind.EXPIRY}:
        return 0, -move.amount
    return move.amount, 0


def _leg(batch: Batch, asked: Asked[PostTransaction], leg: Leg, position: int) -> None:
    own = own_id(asked, leg, position) if position or leg.id is not None else asked.id
    if position == 0 and own != asked.id:
        raise no.MalformedLeg(position="0", problem="the first transfer has the id of its transaction")
    number = own.int
    if number in batch.made or number in batch.taken:
        raise no.TransferIdTaken(id=ids.text("trf", own))
    if leg.debit is not None and leg.capture is leg.release is leg.reverse is None:
        kind, debit, credit, amount, target, released, expires_at = _movement(batch, leg, position)
    else:
        kind, debit, credit, amount, target, released, expires_at = _aimed(batch, leg, position)
    after = (
        debit.debits_posted, debit.credits_posted, debit.debits_pending, debit.credits_pending,
        credit.debits_posted, credit.credits_posted, credit.debits_pending, credit.credits_pending,
    )  # fmt: skip
    batch.made.add(number)
    batch.moves.append(
        Move(own, asked.id, position, kind, debit, credit, amount, target, released, expires_at, after, asked.command)
    )
    if kind is TransferKind.HOLD:
        hold = Target(own, int(kind), debit.id, credit.id, amount, "pending", amount, expires_at=expires_at)
        batch.targets[own] = batch.changed[own] = hold
    elif batch.aimed:
        batch.targets[own] = Target(own, int(kind), debit.id, credit.id, amount)


def _movement(batch: Batch, leg: Leg, position: int) -> Effect:
    if leg.credit is None or leg.amount is None or leg.currency is None or leg.final:
        raise no.MalformedLeg(position=str(position), problem="a credit account, an amount and a currency are needed")
    if leg.expires_at is not None and not leg.pending:
        raise no.MalformedLeg(position=str(position), problem="only a pending transfer expires")
    called = batch.names.get(leg.currency, _NOBODY)
    debit, credit = called.get(leg.debit or ""), called.get(leg.credit)
    if debit is None or credit is None:
        account = (leg.credit if debit is not None else leg.debit) or ""
        raise no.AccountUnknown(account=account, currency=leg.currency)
    if debit is credit:
        raise no.SameAccount(account=debit.code)
    amount = minor_units(leg.amount, debit.exponent)
    if amount <= 0:
        raise no.AmountNotPositive(amount=leg.amount)
    expires_at = None if leg.expires_at is None else clock.utc(leg.expires_at)
    if expires_at is not None and expires_at <= batch.at:
        raise no.ExpiryInThePast(expires_at=clock.text(expires_at))
    if leg.pending:
        _move(batch, debit, credit, posted=0, pending=amount)
        return _HOLD, debit, credit, amount, None, None, expires_at
    _move(batch, debit, credit, posted=amount, pending=0)
    return _POSTED, debit, credit, amount, None, None, None


def _aimed(batch: Batch, leg: Leg, position: int) -> Effect:
    aims = [each for each in (leg.capture, leg.release, leg.reverse) if each is not None]
    if len(aims) != 1 or leg.debit is not None or leg.credit is not None or leg.pending or leg.expires_at is not None:
        raise no.MalformedLeg(position=str(position), problem="exactly one of these is needed, with its own fields")
    if leg.capture is None and (leg.final or (leg.release is not None and leg.amount is not None)):
        raise no.MalformedLeg(
            position=str(position), problem="only a capture is final, and a release frees all that is left"
        )
    target = batch.targets.get(ids.parse("trf", aims[0]))
    if target is None:
        raise no.TransferUnknown(id=aims[0])
    if leg.currency is not None and leg.currency != batch.by_id[target.debit].asset:
        raise no.AssetMismatch(id=aims[0], asset=batch.by_id[target.debit].asset, currency=leg.currency)
    batch.marks.append((target, target.mark()))
    batch.changed[target.id] = target
    if leg.reverse is not None:
        return _reversal(batch, leg, target)
    _require_pending(target, aims[0], at=batch.at)
    if leg.release is not None:
        return _release(batch, target)
    return _capture(batch, leg, target)


def _require_pending(target: Target, text: str, *, at: datetime) -> None:
    if not target.is_hold:
        raise no.NotAHold(id=text)
    if target.state != "pending":
        raise no.HoldEnded(id=text, state=str(target.state))
    if target.pinned_at is not None:
        raise no.HoldPinned(id=text)
    if target.expires_at is not None and target.expires_at <= at:
        raise no.HoldExpired(id=text, expires_at=clock.text(target.expires_at))


def _capture(batch: Batch, leg: Leg, hold: Target) -> Effect:
    debit, credit = batch.by_id[hold.debit], batch.by_id[hold.credit]
    amount = hold.remaining if leg.amount is None else minor_units(leg.amount, debit.exponent)
    if amount <= 0:
        raise no.AmountNotPositive(amount=leg.amount or "0")
    if amount > hold.remaining:
        left = decimal_text(hold.remaining, debit.exponent)
        raise no.AboveHold(id=leg.capture or "", remaining=left, asset=debit.asset, amount=leg.amount or "")
    released = hold.remaining if leg.final else amount
    _move(batch, debit, credit, posted=amount, pending=-released)
    hold.remaining -= released
    hold.captured += amount
    if hold.remaining == 0:
        hold.state = "posted"
    return TransferKind.CAPTURE, debit, credit, amount, hold.id, released if leg.final else None, None


def _release(batch: Batch, hold: Target) -> Effect:
    debit, credit = batch.by_id[hold.debit], batch.by_id[hold.credit]
    amount = hold.remaining
    _free(batch, debit, credit, amount)
    hold.remaining = 0
    hold.state = "posted" if hold.captured else "voided"
    return TransferKind.RELEASE, debit, credit, amount, hold.id, None, None


def expire(batch: Batch, hold: Target, *, own: UUID) -> None:
    """Free what is left of a hold whose time has come."""
    debit, credit = batch.by_id[hold.debit], batch.by_id[hold.credit]
    amount = hold.remaining
    _free(batch, debit, credit, amount)
    hold.remaining, hold.state = 0, "expired"
    batch.changed[hold.id] = hold
    after = (*debit.counters, *credit.counters)
    batch.moves.append(Move(own, own, 0, TransferKind.EXPIRY, debit, credit, amount, hold.id, None, None, after, _EXPIRY))


def _reversal(batch: Batch, leg: Leg, original: Target) -> Effect:
    if original.kind not in {TransferKind.POSTED, TransferKind.CAPTURE}:
        kind = TransferKind(original.kind).name.lower()
        raise no.NotReversible(id=leg.reverse or "", kind=kind)
    debit, credit = batch.by_id[original.credit], batch.by_id[original.debit]
    remaining = original.amount - original.reversed
    amount = remaining if leg.amount is None else minor_units(leg.amount, debit.exponent)
    if leg.amount is not None and amount <= 0:
        raise no.AmountNotPositive(amount=leg.amount)
    if amount > remaining or remaining == 0:
        left, wanted = decimal_text(remaining, debit.exponent), decimal_text(amount, debit.exponent)
        raise no.AboveOriginal(id=leg.reverse or "", remaining=left, asset=debit.asset, amount=wanted)
    _move(batch, debit, credit, posted=amount, pending=0)
    original.reversed += amount
    return TransferKind.REVERSAL, debit, credit, amount, original.id, None, None


def _move(batch: Batch, debit: Standing, credit: Standing, *, posted: int, pending: int) -> None:
    """Move, or refuse and leave everything as it was."""
    batch.touched[debit.id] = debit
    batch.touched[credit.id] = credit
    if debit.state != "open" or credit.state != "open":
        raise _shut(debit if debit.state != "open" else credit)
    if debit.debits_posted + debit.debits_pending + posted + pending >= DIGITS_MAX:
        raise no.CounterOverflow(account=debit.code)
    if credit.credits_posted + credit.credits_pending + posted + pending >= DIGITS_MAX:
        raise no.CounterOverflow(account=credit.code)
    if pending >= 0:  # a capture takes what its hold has reserved: the limits were kept when it was made
        if debit.limited:
            _limits(debit, posted + pending, up=not debit.credit_normal)
        if credit.limited:
            _limits(credit, posted + pending, up=credit.credit_normal)
    _add(debit, credit, posted, pending)


def _add(debit: Standing, credit: Standing, posted: int, pending: int) -> None:
    debit.debits_posted += posted
    debit.debits_pending += pending
    credit.credits_posted += posted
    credit.credits_pending += pending


def _free(batch: Batch, debit: Standing, credit: Standing, amount: int) -> None:
    batch.touched[debit.id] = debit
    batch.touched[credit.id] = credit
    _add(debit, credit, 0, -amount)


def _shut(standing: Standing) -> Refusal:
    if standing.state == "closed":
        return no.AccountClosed(account=standing.code)
    return no.AccountFrozen(account=standing.code)


def _limits(standing: Standing, adding: int, *, up: bool) -> None:
    exponent, asset = standing.exponent, standing.asset
    if up:
        if standing.ceiling is not None and standing.expected + adding > standing.ceiling:
            room = decimal_text(standing.ceiling - standing.expected, exponent)
            raise no.AboveCeiling(account=standing.code, room=room, asset=asset, amount=decimal_text(adding, exponent))
    elif standing.floor is not None and standing.available - adding < standing.floor:
        available = decimal_text(standing.available - standing.floor, exponent)
        amount = decimal_text(adding, exponent)
        raise no.InsufficientFunds(account=standing.code, available=available, asset=asset, amount=amount)


_EXPIRY = PostTransaction(transfers=[])

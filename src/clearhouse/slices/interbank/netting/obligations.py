"""Obligations: what one bank owes another, recorded for whatever cycle of its currency is open when the recording commits.

Promise: an obligation is recorded once, however often it is sent, and lands in exactly one cycle. What is large is written
before the cut is entered; behind the cut only one small row a batch remains, so a closer and its followers wait for nobody.
Refusals in the order they are looked for: malformed_bic, bank_unknown, bank_suspended, same_bank, currency_unknown,
malformed_amount, too_many_decimals, amount_not_positive, correspondent_missing, obligation_settled,
obligation_outstanding, duplicate_netting_obligation, no_open_cycle, cycle_not_open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.refusals import AmountNotPositive
from clearhouse.kernel.ledger.transfers import Currency, MoneyText, Text
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.netting import cycles
from clearhouse.slices.interbank.netting.cycle import CycleState, NoOpenCycle, cut_of
from clearhouse.slices.interbank.settlement import Bic, ObligationId
from clearhouse.slices.interbank.validation import (
    BIC,
    BankSuspended,
    BankUnknown,
    CorrespondentMissing,
    CurrencyUnknown,
    MalformedBic,
    SameBank,
)
from clearhouse.slices.interbank.world import World, known

sql = Statements.of("clearhouse.slices.interbank.netting", "obligations.sql")


class ObligationNotFound(Refusal):
    """There is no obligation {id} here that is netted."""

    code = "obligation_not_found"
    kind = Kind.UNKNOWN


class DuplicateNettingObligation(Refusal):
    """Obligation {obligation_id} is recorded already, with another {field}."""

    code = "duplicate_netting_obligation"
    kind = Kind.CONFLICT


class ObligationSettled(Refusal):
    """Obligation {obligation_id} has a settlement of its own already; it is netted only if that one fails."""

    code = "obligation_settled"
    kind = Kind.CONFLICT


class ObligationOutstanding(Refusal):
    """Obligation {obligation_id} was sent and given up, and may be paid yet; it is netted once its bank has rejected it."""

    code = "obligation_outstanding"
    kind = Kind.CONFLICT


class CycleNotOpen(Refusal):
    """Cycle {id} is not the one that is open in {currency}; leave it out to record for that one."""

    code = "cycle_not_open"
    kind = Kind.CONFLICT


class RecordObligation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Record that one bank owes another so much; with `cycle` for that cycle only, else for the one that is open."""

    obligation_id: ObligationId
    from_bank: Bic
    to_bank: Bic
    amount: MoneyText
    currency: Currency
    reference: Text | None = None
    cycle: str | None = None


class Obligation(msgspec.Struct, frozen=True, omit_defaults=True):
    """An obligation, the last cycle that it counts for, and where that stands; `exists` when that was done before.

    One that was `withdrawn_at` some time counts for nothing any more that was closed after that.
    """

    obligation_id: str
    from_bank: str
    to_bank: str
    amount: str
    currency: str
    cycle: str
    state: CycleState
    recorded_at: datetime
    reference: str | None = None
    exists: bool = False
    withdrawn_at: datetime | None = None
    withdrawn_because: str | None = None


class ObligationRow(msgspec.Struct, frozen=True):
    """An obligation as it is stored."""

    obligation_id: str
    batch: UUID
    payer: str
    payee: str
    currency: str
    amount: int
    reference: str | None
    recorded_at: datetime
    cycle: UUID
    state: str
    reason: str | None = None
    withdrawn_at: datetime | None = None

    def shown(self, *, exists: bool = False) -> Obligation:
        """Return it as it is shown."""
        return Obligation(
            self.obligation_id, self.payer, self.payee, decimal_text(self.amount, exponent(self.currency)), self.currency,
            ids.text("cyc", self.cycle), CycleState(self.state), self.recorded_at, self.reference, exists,
            self.withdrawn_at, self.reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Landed:
    cycle: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class _New:
    """An obligation that was found good: who asks, the amount in the smallest unit, and what is recorded together."""

    asked: Asked[RecordObligation]
    minor: int
    batch: UUID


@dataclass(frozen=True, slots=True)
class _Settled:
    """An obligation that a settlement has; `outstanding` if that came to nothing and its order may still arrive."""

    obligation_id: str
    outstanding: bool

    def refusal(self) -> Refusal:
        """Return why it is not netted."""
        refusal = ObligationOutstanding if self.outstanding else ObligationSettled
        return refusal(obligation_id=self.obligation_id)


@dataclass(slots=True)
class _Sorted:
    """What was asked for, looked at one by one: what is to be written, and why the others are not."""

    new: dict[str, _New] = field(default_factory=dict[str, _New])
    refused: dict[int, Refusal] = field(default_factory=dict[int, Refusal])
    shut: dict[str, Refusal] = field(default_factory=dict[str, Refusal])
    settled: dict[str, _Settled] = field(default_factory=dict[str, _Settled])


def exponent(currency: str) -> int:
    """Return the decimals of a currency."""
    asset = money.iso(currency)
    if asset is None:
        raise CurrencyUnknown(currency=currency)
    return asset.exponent


async def record(tx: Tx, asked: Sequence[Asked[RecordObligation]], at: datetime) -> list[Obligation | Refusal]:
    """Record obligations; those that are there already are answered as they are, or refused if they are not the same."""
    world = await known(tx)
    opened = await cycles.opened(
        tx, {each.command.currency for each in asked if money.iso(each.command.currency) is not None}
    )
    looked = _looked_at(world, opened, asked)
    there = await _written(tx, looked, [each.command.obligation_id for each in asked], at)
    fresh = [each for name, each in looked.new.items() if name not in there and name not in looked.settled]
    landed = await _landed(tx, opened, fresh)
    ours = {each.asked.command.obligation_id: _row(each, landed[each.batch], at) for each in fresh}
    return [_answer(looked, place, each, ours, there) for place, each in enumerate(asked)]


def _looked_at(world: World, opened: Mapping[str, UUID], asked: Sequence[Asked[RecordObligation]]) -> _Sorted:
    batches = {currency: ids.fresh() for currency in sorted(opened)}
    looked = _Sorted()
    for place, each in enumerate(asked):
        command = each.command
        try:
            minor = _valid(world, command)
        except Refusal as refusal:
            looked.refused[place] = refusal
            continue
        current = opened.get(command.currency)
        if current is None:
            looked.shut.setdefault(command.obligation_id, NoOpenCycle(currency=command.currency))
        elif command.cycle is not None and command.cycle != ids.text("cyc", current):
            looked.shut.setdefault(command.obligation_id, CycleNotOpen(id=command.cycle[:64], currency=command.currency))
        else:
            looked.new.setdefault(command.obligation_id, _New(each, minor, batches[command.currency]))
    return looked


def _valid(world: World, command: RecordObligation) -> int:
    """Return the amount in the smallest unit, or raise why it cannot be."""
    for bic in (command.from_bank, command.to_bank):
        bank = world.banks.get(bic)
        if bank is None:
            raise MalformedBic(bic=bic) if BIC.fullmatch(bic) is None else BankUnknown(bic=bic)
        if bank.state != "open":
            raise BankSuspended(bic=bic)
    if command.from_bank == command.to_bank:
        raise SameBank(bic=command.from_bank)
    minor = minor_units(command.amount, exponent(command.currency))
    if minor <= 0:
        raise AmountNotPositive(amount=command.amount)
    for bic in (command.from_bank, command.to_bank):
        if ("vostro", bic, command.currency) not in world.accounts:
            raise CorrespondentMissing(side="vostro", bic=bic, currency=command.currency)
    return minor


async def _written(tx: Tx, looked: _Sorted, names: Sequence[str], at: datetime) -> dict[str, ObligationRow]:
    """Write obligations, and return those that were recorded before; note those that settlements have taken."""
    new, count = list(looked.new.values()), 0
    if new:
        commands = [each.asked.command for each in new]
        count = await tx.do(
            sql["add_obligations"], book=tx.book, at=at, ids=texts([each.obligation_id for each in commands]),
            batches=array([each.batch for each in new]), payers=array([each.from_bank for each in commands]),
            payees=array([each.to_bank for each in commands]), currencies=array([each.currency for each in commands]),
            amounts=array([each.minor for each in new]), references=[each.reference for each in commands],
            people=array([each.asked.by for each in new]),
        )  # fmt: skip
    if count == len(new) and not looked.shut:
        return {}
    there = {row.obligation_id: row for row in await rows(tx, set(names))}
    wanted = texts(sorted(set(names) - there.keys()))
    looked.settled = {
        each.obligation_id: each for each in await tx.rows(sql["settled_obligations"], _Settled, book=tx.book, ids=wanted)
    }
    if count != sum(name not in there and name not in looked.settled for name in looked.new):
        message = "who had taken an obligation has given it back since"
        raise Stale(message)
    return there


async def _landed(tx: Tx, opened: Mapping[str, UUID], fresh: Sequence[_New]) -> dict[UUID, UUID]:
    """Enter the cuts, and let what was written count for the cycles that are open where they stand: last of all."""
    batches = {each.asked.command.currency: each.batch for each in fresh}
    if not batches:
        return {}
    places = await cuts.enter(tx, [cut_of(each) for each in sorted(batches)])
    found = await tx.rows(
        sql["add_batches"], _Landed, book=tx.book, currencies=texts(batches), batches=array(batches.values()),
        positions=array([places.get(cut_of(each), 0) for each in batches]),
    )  # fmt: skip
    landed = {each.id: each.cycle for each in found}
    meant = {each.batch: opened[each.asked.command.currency] for each in fresh if each.asked.command.cycle is not None}
    if len(landed) < len(batches) or any(landed[batch] != cycle for batch, cycle in meant.items()):
        message = "a cycle was closed since it was looked for"
        raise Stale(message)
    return landed


def _row(new: _New, cycle: UUID, at: datetime) -> ObligationRow:
    command = new.asked.command
    return ObligationRow(
        command.obligation_id, new.batch, command.from_bank, command.to_bank, command.currency, new.minor,
        command.reference, at, cycle, CycleState.OPEN.value,
    )  # fmt: skip


def _answer(
    looked: _Sorted, place: int, asked: Asked[RecordObligation], ours: Mapping[str, ObligationRow],
    there: Mapping[str, ObligationRow],
) -> Obligation | Refusal:  # fmt: skip
    command = asked.command
    if place in looked.refused:
        return looked.refused[place]
    row = ours.get(command.obligation_id)
    if row is not None and looked.new[command.obligation_id].asked is asked:
        return row.shown()
    row = row or there.get(command.obligation_id)
    if row is None and command.obligation_id in looked.settled:
        return looked.settled[command.obligation_id].refusal()
    if row is None:
        return looked.shut[command.obligation_id]
    return _same(row, command) or row.shown(exists=True)


def _same(row: ObligationRow, command: RecordObligation) -> Refusal | None:
    """Refuse what has the id of another obligation."""
    minor = minor_units(command.amount, exponent(command.currency))
    pairs = (
        ("from_bank", row.payer, command.from_bank), ("to_bank", row.payee, command.to_bank),
        ("currency", row.currency, command.currency), ("amount", int(row.amount), minor),
        ("reference", row.reference, command.reference),
    )  # fmt: skip
    for name, stored, given in pairs:
        if stored != given:
            return DuplicateNettingObligation(obligation_id=command.obligation_id, field=name)
    return None


async def rows(tx: Tx, names: Iterable[str]) -> list[ObligationRow]:
    """Return obligations that count for a cycle, by their ids."""
    return await tx.rows(sql["obligations"], ObligationRow, book=tx.book, ids=texts(sorted(names)))


async def find(tx: Tx, name: str, *, party: str | None = None) -> Obligation:
    """Return an obligation; a bank finds those that it is a party to."""
    return (await _find(tx, name, party)).shown()


async def named(tx: Tx, name: str, *, party: str | None = None) -> list[Obligation]:
    """Return the obligation of an id, if it is there for whoever asks."""
    return [row.shown() for row in await _named(tx, name, party)]


async def _find(tx: Tx, name: str, party: str | None) -> ObligationRow:
    found = await _named(tx, name, party)
    if not found:
        raise ObligationNotFound(id=name[:100])
    return found[0]


async def _last(tx: Tx, cycle: UUID, name: str) -> ObligationRow:
    """Return where a page of a cycle ended."""
    found = await tx.rows(sql["leaf"], ObligationRow, book=tx.book, cycle=cycle, id=name.replace("\0", ""))
    if not found:
        raise ObligationNotFound(id=name[:100])
    return found[-1]


async def _named(tx: Tx, name: str, party: str | None) -> list[ObligationRow]:
    found = await rows(tx, [name.replace("\0", "")])
    return [row for row in found if party in {None, row.payer, row.payee}]


async def leaf(tx: Tx, cycle: UUID, name: str) -> list[Obligation]:
    """Return the obligation of an id as it counted for a cycle."""
    return [row.shown() for row in await tx.rows(sql["leaf"], ObligationRow, book=tx.book, cycle=cycle, id=name)]


async def listed(
    tx: Tx, cycle: UUID, *, bank: str | None = None, other: str | None = None, after: str | None = None, most: int
) -> list[Obligation]:
    """Return the obligations of a cycle as they were recorded, of one bank, of two, or of all."""
    last = None if after is None else await _last(tx, cycle, after)
    found = await tx.rows(
        sql["cycle_obligations"], ObligationRow, book=tx.book, cycle=cycle, bank=bank, other=other, most=most,
        batch=ids.NOBODY if last is None else last.batch, after="" if last is None else last.obligation_id,
    )  # fmt: skip
    return [row.shown() for row in found]

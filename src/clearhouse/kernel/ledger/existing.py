"""What is already there under an id: equal content is answered "exists", other content names the field that differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.refusals import ExistsDifferently
from clearhouse.kernel.ledger.standing import Standing
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction, TransferKind
from clearhouse.money import minor_units
from clearhouse.refusals import Refusal

_sql = Statements.of("clearhouse.kernel.ledger", "posting.sql")


@dataclass(frozen=True, slots=True)
class Existing:
    """A stored transfer, as far as a repetition of it has to agree."""

    id: UUID
    transaction: UUID
    position: int
    kind: int
    debit: str
    credit: str
    amount: int
    target: UUID | None
    released: int | None
    expires_at: datetime | None
    booked: datetime
    effective: date
    reference: str | None
    external_reference: str | None
    metadata: str | None


Names = Mapping[str, Mapping[str, Standing]]


def own_ids(asked: Asked[PostTransaction]) -> list[UUID]:
    """Return the transfer id of each leg."""
    legs = asked.command.transfers
    return [asked.id, *(own_id(asked, leg, place) for place, leg in enumerate(legs))]


def own_id(asked: Asked[PostTransaction], leg: Leg, position: int) -> UUID:
    """Return the transfer id of a leg: its own, or the transaction's and so many more."""
    return ids.after(asked.id, position) if leg.id is None else ids.parse("trf", leg.id)


async def existing(tx: Tx, asked: Sequence[Asked[PostTransaction]]) -> list[Existing]:
    """Return every stored transfer that these transactions would repeat or collide with."""
    wanted = [each for one in asked for each in _readable_ids(one)]
    return await tx.rows(_sql["existing"], Existing, book=tx.book, ids=wanted)


def _readable_ids(asked: Asked[PostTransaction]) -> list[UUID]:
    try:
        return own_ids(asked)
    except Refusal:
        return [asked.id]  # a malformed leg id is refused when its leg is decided


def compare(asked: Asked[PostTransaction], stored: Sequence[Existing], names: Names) -> Posted | Refusal:
    """Answer a transaction whose id is taken: it exists, or it exists differently."""
    try:
        field = _differing(asked, stored, names)
    except Refusal:
        field = "transfers"  # something in it cannot be read, so it is not what is there
    text = ids.text("trx", asked.id)
    if field:
        return ExistsDifferently(id=text, field=field)
    transfers = [ids.text("trf", each.id) for each in stored]
    first = stored[0]
    return Posted(id=text, transfers=transfers, booked=first.booked, effective=first.effective, exists=True)


def _differing(asked: Asked[PostTransaction], stored: Sequence[Existing], names: Names) -> str:
    command, first = asked.command, stored[0]
    metadata = None if first.metadata is None else msgspec.json.decode(first.metadata)
    whole = {
        "transfers": len(command.transfers) == len(stored),
        "effective": command.effective in {None, first.effective},
        "reference": command.reference == first.reference,
        "external_reference": command.external_reference == first.external_reference,
        "metadata": (command.metadata or None) == metadata,
    }
    differing = next((name for name, same in whole.items() if not same), "")
    if differing:
        return differing
    for place, (leg, old) in enumerate(zip(command.transfers, stored, strict=True)):
        field = "id" if own_id(asked, leg, place) != old.id else _differing_leg(leg, old, names)
        if field:
            return f"transfers[{place}].{field}"
    return ""


def _differing_leg(leg: Leg, old: Existing, names: Names) -> str:
    aims = {TransferKind.CAPTURE: leg.capture, TransferKind.RELEASE: leg.release, TransferKind.REVERSAL: leg.reverse}
    aim = aims.get(TransferKind(old.kind))
    if old.target is not None:
        same = {
            TransferKind(old.kind).name.lower(): aim is not None and ids.parse("trf", aim) == old.target,
            "amount": leg.amount is None or minor_units(leg.amount, _exponent(old.debit, names)) == old.amount,
            "final": leg.final == (old.released is not None),
        }
        return next((name for name, equal in same.items() if not equal), "")
    debit, credit = (names.get(leg.currency or "", {}).get(each or "") for each in (leg.debit, leg.credit))
    same = {
        "debit": debit is not None and debit.id == old.debit,
        "credit": credit is not None and credit.id == old.credit,
        "amount": debit is not None and leg.amount is not None and minor_units(leg.amount, debit.exponent) == old.amount,
        "pending": leg.pending == (old.kind == TransferKind.HOLD),
        "expires_at": leg.expires_at == old.expires_at,
    }
    return next((name for name, equal in same.items() if not equal), "")


def _exponent(account: str, names: Names) -> int:
    """Return the decimals of an account that a leg's aim has made known."""
    name = ids.text("acc", UUID(account))
    return next(called[name].exponent for called in names.values() if name in called)

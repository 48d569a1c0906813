"""Transfers, transactions and holds as they are read back."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.transfers import TransferKind
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.ledger", "ledger.sql")


class TransactionNotFound(Refusal):
    """There is no transaction {id} here."""

    code = "transaction_not_found"
    kind = Kind.UNKNOWN


class HoldNotFound(Refusal):
    """There is no hold {id} here."""

    code = "hold_not_found"
    kind = Kind.UNKNOWN


class Transfer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One leg of a transaction, as it was booked. `target` is what a capture, release or reversal aims at."""

    id: str
    kind: str
    debit: str
    credit: str
    amount: str
    currency: str
    target: str | None = None
    released: str | None = None
    expires_at: datetime | None = None


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transaction as it was booked: it never changes."""

    id: str
    booked: datetime
    effective: date
    transfers: list[Transfer]
    reference: str | None = None
    external_reference: str | None = None
    metadata: dict[str, str] | None = None


class Hold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hold: what it was made for, what is left of it, and whether its expiry is disarmed."""

    id: str
    transaction: str
    state: Literal["pending", "posted", "voided", "expired"]
    debit: str
    credit: str
    currency: str
    amount: str
    remaining: str
    captured: str
    booked: datetime
    expires_at: datetime | None = None
    pinned_at: datetime | None = None


def transfer(row: dict[str, Any], asset: str, exponent: int) -> Transfer:
    """Read a transfer from its row."""
    return Transfer(
        id=ids.text("trf", row["id"]), kind=TransferKind(row["kind"]).name.lower(),
        debit=ids.text("acc", row["debit"]), credit=ids.text("acc", row["credit"]),
        amount=decimal_text(row["amount"], exponent), currency=asset,
        target=None if row["target"] is None else ids.text("trf", row["target"]),
        released=None if row["released"] is None else decimal_text(row["released"], exponent),
        expires_at=row["expires_at"],
    )  # fmt: skip


def hold(**row: Any) -> Hold:
    """Read a hold from its row."""
    exponent: int = row["exponent"]
    return Hold(
        id=ids.text("trf", row["id"]), transaction=ids.text("trx", row["transaction"]), state=row["state"],
        debit=ids.text("acc", row["debit"]), credit=ids.text("acc", row["credit"]), currency=row["asset"],
        amount=decimal_text(row["amount"], exponent), remaining=decimal_text(row["remaining"], exponent),
        captured=decimal_text(row["captured"], exponent), booked=row["booked"],
        expires_at=row["expires_at"], pinned_at=row["pinned_at"],
    )  # fmt: skip


def _columns(**row: Any) -> dict[str, Any]:
    return row


async def find_transaction(tx: Tx, text: str) -> Transaction:
    """Return a transaction by its id."""
    rows = await tx.rows(_sql["transaction"], _columns, book=tx.book, id=_id("trx", text))
    if not rows:
        raise TransactionNotFound(id=text)
    return _transaction(rows)


async def find_by_reference(
    tx: Tx, reference: str, *, external: bool = False, after: UUID | None = None, most: int = 100
) -> list[Transaction]:
    """Return the transactions with a reference, in the order of their ids."""
    name = "by_external_reference" if external else "by_reference"
    rows = await tx.rows(_sql[name], _columns, book=tx.book, reference=reference, after=after or UUID(int=0), most=most)
    whole: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        whole.setdefault(row["transaction"], []).append(row)
    return [_transaction(legs) for legs in whole.values()]


async def find_hold(tx: Tx, text: str) -> Hold:
    """Return a hold by its id."""
    found = await tx.row(_sql["hold"], hold, book=tx.book, id=_id("trf", text))
    if found is None:
        raise HoldNotFound(id=text)
    return found


async def pending_holds(tx: Tx, *, after: UUID | None = None, most: int = 100) -> list[Hold]:
    """Return the holds that are open, in the order of their ids."""
    return await tx.rows(_sql["pending_holds_page"], hold, book=tx.book, after=after or UUID(int=0), most=most)


def _transaction(rows: list[dict[str, Any]]) -> Transaction:
    first = rows[0]
    return Transaction(
        id=ids.text("trx", first["transaction"]), booked=first["booked"], effective=first["effective"],
        transfers=[transfer(row, row["asset"], row["exponent"]) for row in rows],
        reference=first["reference"], external_reference=first["external_reference"],
        metadata=None if first["metadata"] is None else msgspec.json.decode(first["metadata"]),
    )  # fmt: skip


def _id(prefix: str, text: str) -> UUID:
    try:
        return ids.parse(prefix, text)
    except Refusal:
        return UUID(int=0)  # nothing has it: not found

"""Transactions and transfers: what is asked for, what is answered, and what is read back.

A transaction is an ordered list of legs, all or none. A leg is one of
    a movement    debit, credit, amount, currency            (pending: a hold, which may expire)
    a capture     of a hold: amount, or all of it; final releases the rest
    a release     of what is left of a hold
    a reversal    of a posted transfer: amount, or all that is left
The first leg's transfer has the transaction's id; the others have their own or follow it.
"""

from datetime import date, datetime
from enum import IntEnum
from typing import Annotated

import msgspec

# A `$` alone would let a line break through at the end.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
AccountName = Annotated[str, msgspec.Meta(min_length=1, max_length=520)]
MoneyText = Annotated[str, msgspec.Meta(max_length=80, description="A decimal number as text", examples=["100.00"])]
Currency = Annotated[str, msgspec.Meta(max_length=16, examples=["USD"])]
MetadataKey = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
MetadataValue = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Metadata = Annotated[dict[MetadataKey, MetadataValue], msgspec.Meta(max_length=32)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
TransferRef = Annotated[str, msgspec.Meta(max_length=30, examples=["trf_01KAHG7R9Q7XKJ8W3M5N2P4T6V"])]


TransactionRef = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^trx_(?!0{26}$|7Z{22})[0-7][0-9A-HJKMNP-TV-Z]{25}$(?!\n)", examples=["trx_01KAHG7R9Q7XKJ8W3M5N2P4T6V"]
    ),
]


class TransferKind(IntEnum):
    """What a transfer does to the counters of its two accounts."""

    POSTED = 0
    HOLD = 1
    CAPTURE = 2
    RELEASE = 3
    EXPIRY = 4
    REVERSAL = 5


class Leg(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One transfer as it is asked for."""

    debit: AccountName | None = None
    credit: AccountName | None = None
    amount: MoneyText | None = None
    currency: Currency | None = None
    id: TransferRef | None = None
    pending: bool = False
    expires_at: Instant | None = None
    capture: TransferRef | None = None
    final: bool = False
    release: TransferRef | None = None
    reverse: TransferRef | None = None


Legs = Annotated[list[Leg], msgspec.Meta(min_length=1, max_length=1_000)]


class PostTransaction(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Post a transaction: all of its legs, or none."""

    transfers: Legs
    id: TransactionRef | None = None
    reference: Text | None = None
    external_reference: Text | None = None
    effective: date | None = None
    metadata: Metadata | None = None


class Posted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transaction that is in the ledger; `exists` when it was already there."""

    id: str
    transfers: list[str]
    booked: datetime
    effective: date
    exists: bool = False

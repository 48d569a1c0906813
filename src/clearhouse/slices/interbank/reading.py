"""Reading settlements: one, with its steps and what was put right of it; many, by what they have in common.

Promise: a bank sees the settlements that it is a party to, and of every other nothing, not even that it is there.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from clearhouse import ids
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.db.database import Tx
from clearhouse.money import decimal_text
from clearhouse.slices.interbank.rows import sql
from clearhouse.slices.interbank.settlement import Checkpoint, Settlement, SettlementNotFound, settlement

_END = datetime(9999, 12, 31, tzinfo=UTC)
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Compensation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What had to be put right after the fact; `settlement` is the one that did it, if there is one."""

    cause: Literal["return", "late_confirmation", "late_settled"]
    amount: str
    reason: str
    at: datetime
    settlement: str | None = None


class Detail(msgspec.Struct, frozen=True):
    """A settlement with its steps and what was put right of it."""

    settlement: Settlement
    checkpoints: list[Checkpoint]
    compensations: list[Compensation]


async def find(tx: Tx, text: str, *, party: str | None = None) -> Settlement:
    """Return a settlement, to a bank only if it is a party to it."""
    found = await tx.row(sql["settlements"], settlement_row, book=tx.book, ids=[readable("stl", text)])
    if found is None or (party is not None and party not in {found.from_bank, found.to_bank}):
        raise SettlementNotFound(id=text[:64])
    return found


def settlement_row(**row: object) -> Settlement:
    """Read a settlement from all that its row has."""
    return settlement(**row)


async def detail(tx: Tx, text: str, *, party: str | None = None) -> Detail:
    """Return a settlement with everything that was done on it."""
    found = await find(tx, text, party=party)
    own = ids.parse("stl", found.id)
    exponent = len(found.amount.partition(".")[2])

    def compensation(**row: Any) -> Compensation:
        back = row["compensation"]
        amount = decimal_text(row["amount"], exponent)
        return Compensation(row["cause"], amount, row["reason"], row["at"], None if back is None else ids.text("stl", back))

    steps = await tx.rows(sql["checkpoints"], Checkpoint, book=tx.book, id=own)
    return Detail(found, steps, await tx.rows(sql["compensations"], compensation, book=tx.book, id=own))


class Wanted(msgspec.Struct, frozen=True):
    """What settlements of a list have in common."""

    state: str | None = None
    bank: str | None = None
    currency: str | None = None
    obligation_id: str | None = None


async def listed(
    tx: Tx, wanted: Wanted, *, party: str | None = None, after: Settlement | None = None, most: int = 100
) -> list[Settlement]:
    """Return settlements, newest first."""
    before, last = (_END, _LAST) if after is None else (after.accepted_at, str(ids.parse("stl", after.id)))
    return await tx.rows(
        sql["settlements_page"], settlement_row, book=tx.book, before=before, last=last, state=wanted.state,
        bank=wanted.bank, party=party, currency=wanted.currency, obligation=wanted.obligation_id, most=most,
    )  # fmt: skip

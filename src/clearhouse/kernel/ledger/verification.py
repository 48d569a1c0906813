"""Verification: recompute everything from the transfers and name the first account that differs.

Promise: it trusts nothing but the transfers; it sees one state of the book while posting goes on; it says what it looked at.
"""

from typing import Any

import msgspec

from clearhouse import ids
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements

_sql = Statements.of("clearhouse.kernel.ledger", "verification.sql")

_SENTENCES = {
    "recomputed": "the counters of account {code} in {asset} are not what its transfers add up to",
    "running": "transfer {id} does not follow from the one before it on account {code} in {asset}",
    "hold_differences": "hold {id} is not what its captures and releases leave, or there is no such hold",
    "reversal_differences": "transfer {id} is reversed by another amount than is remembered, or by more than it was",
    "shift_differences": "the effective-day sums of account {code} in {asset} are not what its transfers add up to",
    "unbalanced": "the accounts in {asset} do not add up to zero",
}


class Verified(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a verification of the ledger found."""

    intact: bool
    accounts: int
    transfers: int
    account: str | None = None
    fault: str | None = None


def _columns(**row: Any) -> dict[str, Any]:
    return row


async def verify(tx: Tx) -> Verified:
    """Recompute the book that a reading transaction is for."""
    await tx.tuples(_sql["plan"])
    size = await tx.row(_sql["size"], _columns, book=tx.book) or {"accounts": 0, "transfers": 0}
    for name, sentence in _SENTENCES.items():
        found = await tx.row(_sql[name], _columns, book=tx.book)
        if found is not None:
            if "id" in found:
                found["id"] = ids.text("trf", found["id"])
            return Verified(intact=False, **size, account=found.get("code"), fault=sentence.format(**found))
    return Verified(intact=True, **size)

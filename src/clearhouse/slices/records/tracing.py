"""Tracing: from a line of a round down to the records that it was made of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.records.structures import Structure

_sql = Statements.of("clearhouse.slices.records", "states.sql")


class Source(msgspec.Struct, frozen=True):
    """A record as it came: in which upload and place, who submitted it, and which change counted it."""

    change: int
    upload: str
    place: int
    organisation: str
    at: datetime
    record: msgspec.Raw


@dataclass(frozen=True, slots=True)
class _Row:
    change: int
    upload: UUID
    place: int
    organisation: str
    body: str
    at: datetime


async def sources(
    tx: Tx, structure: Structure, *, round_: int, key: str, after: tuple[int, int] = (0, 0), most: int
) -> list[Source]:
    """Return the records of a key in a round, in the order in which they were counted."""
    rows = await tx.rows(
        _sql["trace"], _Row, book=tx.book, structure=structure.number, round=round_, key=key, change=after[0],
        place=after[1], most=most,
    )  # fmt: skip
    return [
        Source(row.change, ids.text("upl", row.upload), row.place, row.organisation, row.at, msgspec.Raw(row.body.encode()))
        for row in rows
    ]

"""Progress: how far an upload is, for its sender and for whoever waits for it.

Promise: what is told of an upload on its way is what is kept of it, part by part; none of it is in any sum before all of it
is, unless its sender asked for that.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.records import uploads
from clearhouse.slices.records.structures import Structure
from clearhouse.slices.records.uploads import Kept

PARTS_AT_ONCE = 100
FIRST = UUID(int=0)
_sql = Statements.of("clearhouse.slices.records", "uploads.sql")


class Progress(msgspec.Struct, frozen=True):
    """How many records of an upload are kept, without those counted before; `change` is the one that counted it."""

    upload: str
    state: Literal["arriving", "counted"]
    organisation: str
    records: int
    repeated: int
    change: int | None = None
    round: int | None = None


async def arriving(tx: Tx, structure: Structure, *, after: str | None = None, most: int) -> list[Progress]:
    """Return the uploads of a structure that are on their way, in the order of their ids."""
    last = FIRST if after is None else ids.parse("upl", after)
    kept = await tx.rows(
        _sql["arriving"], Kept, book=tx.book, structure=structure.number, after=last, most=most,
    )  # fmt: skip
    return [_told([each]) for each in kept]


async def named(tx: Tx, structure: Structure, name: str, *, organisation: str) -> list[Progress]:
    """Return the upload that its sender calls so, with every part of it that is counted already; none if there is none."""
    kept: list[Kept] = []
    while len(kept) % PARTS_AT_ONCE == 0:
        parts = range(len(kept), len(kept) + PARTS_AT_ONCE)
        found = await uploads.find(tx, [uploads.id_of(structure, name, part, organisation=organisation) for part in parts])
        if not found:
            break
        kept += found
    return [_told(kept)] if kept else []


def _told(kept: Sequence[Kept]) -> Progress:
    """Return what is told of an upload, of its parts: while the whole is on its way, its count has the repeated ones too."""
    last = max(kept, key=lambda each: each.change or 0)
    repeated = sum(each.repeated for each in kept)
    records = sum(each.records for each in kept)
    first = next((each for each in kept if each.state == "staged"), None)
    own = ids.text("upl", last.id)
    if first is not None:
        return Progress(own, "arriving", last.organisation, records - repeated, repeated)
    return Progress(own, "counted", last.organisation, records, repeated, last.change, last.round)

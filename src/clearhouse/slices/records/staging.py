"""Staging: an upload in parts is kept part by part, and counted whole in one short transaction, or not at all.

Promises: what is staged is in no sum; an upload that breaks off counts nothing, and begins anew when it comes again under
its id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import books
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.loops import one_by_one
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal
from clearhouse.slices.records import identities, merging, uploads
from clearhouse.slices.records.identities import Brought
from clearhouse.slices.records.merging import Aside, Waiting
from clearhouse.slices.records.parsing import Parsed
from clearhouse.slices.records.refusals import RecordReused, UploadOvertaken, UploadReused, UploadUnknown
from clearhouse.slices.records.uploads import Counted, Kept

HOURS_KEPT = 24
SECONDS_BETWEEN = 600.0
_log = structlog.get_logger(__name__)
_sql = Statements.of("clearhouse.slices.records", "staging.sql")


class Stage(msgspec.Struct, frozen=True):
    """A part of an upload, after so many records of it; `so_far` and `digest` tell what came before it, and with it."""

    upload: UUID
    settleid: str
    structure: int
    apart: bool
    organisation: str
    before: int
    so_far: bytes
    digest: bytes
    parsed: Parsed


class Staged(msgspec.Struct, frozen=True):
    """A part that is kept; `counted` says that all of the upload had been counted before."""

    upload: str
    records: int
    counted: bool = False


class Finish(msgspec.Struct, frozen=True):
    """Count an upload of which every part is there."""

    upload: UUID
    settleid: str
    structure: int
    apart: bool
    by: str
    organisation: str
    records: int
    digest: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    state: str
    records: int
    organisation: str


@dataclass(frozen=True, slots=True)
class _Whole:
    repeated: int
    sums: int


async def stage(tx: Tx, asked: Sequence[Asked[Stage]], at: datetime) -> list[Staged | Refusal]:
    """Keep parts, one after another."""
    return [await _stage(tx, each.command, at) for each in asked]


async def _stage(tx: Tx, part: Stage, at: datetime) -> Staged | Refusal:
    own, count = ids.text("upl", part.upload), part.before + part.parsed.records
    if part.before == 0:
        held = await tx.row(_sql["hold"], _Held, book=tx.book, id=part.upload)
        if held is not None and held.organisation != part.organisation:
            return UploadReused(upload=own)
        counted = await _dropped(tx, part.upload)
        if counted is not None:
            return Staged(own, counted, counted=True)
        await tx.do(
            _sql["begin"], book=tx.book, id=part.upload, structure=part.structure, organisation=part.organisation, at=at
        )
    if not await tx.do(
        _sql["grow"], book=tx.book, id=part.upload, count=part.parsed.records, before=part.before, so_far=part.so_far,
        digest=part.digest, sums=len(part.parsed.sums),
    ):  # fmt: skip
        kept = await uploads.find(tx, [part.upload])
        there = bool(kept) and (kept[0].state, kept[0].records, kept[0].digest) == ("staged", count, part.digest)
        return Staged(own, count) if there else UploadOvertaken(upload=own)
    return await _sifted(tx, part) or Staged(own, count)


async def _sifted(tx: Tx, part: Stage) -> Refusal | None:
    """Keep what is new of a part; refuse all of its upload where a record's id was another record's."""
    repeated: set[int] | RecordReused = set()
    apart = part.organisation if part.apart else ""
    if part.parsed.known:
        repeated = (await identities.sift(tx, [Brought(part.upload, part.structure, apart, part.parsed)]))[0]
    if isinstance(repeated, RecordReused):
        await _dropped(tx, part.upload)
        return repeated
    left = await uploads.left(tx, part.settleid, part.parsed, repeated)
    uploads.keep(tx, [(part.upload, part.before + before, keys, bodies) for before, keys, bodies in left.runs])
    merging.set_aside(tx, [Aside(part.upload, apart, left.parsed.sums)], more=part.before > 0)
    if left.repeated:
        tx.later(_sql["skip"], book=tx.book, id=part.upload, repeated=left.repeated)
    return None


async def finish(tx: Tx, asked: Sequence[Asked[Finish]], at: datetime) -> list[Counted | Refusal]:
    """Count uploads of which every part is there; all of their cuts and structures are taken at once, and in order."""
    first = {each.command.upload: each.command for each in reversed(asked)}
    fresh: dict[int, Counted] = {}
    ready: list[tuple[Finish, _Whole]] = []
    for own in sorted(first):
        values = {"id": own, "digest": first[own].digest, "records": first[own].records}
        mine = await tx.row(_sql["finish"], _Whole, book=tx.book, **values)
        if mine is not None:
            ready.append((first[own], mine))
    if ready:
        fresh = await _counted(tx, ready, at)
    others = [each.command.upload for each in asked if id(each.command) not in fresh]
    kept = {row.id: row for row in await uploads.find(tx, others)} if others else {}
    return [fresh.get(id(each.command)) or _before(each.command, kept.get(each.command.upload)) for each in asked]


async def _counted(tx: Tx, ready: Sequence[tuple[Finish, _Whole]], at: datetime) -> dict[int, Counted]:
    places, heads = await uploads.numbered(tx, [each for each, _ in ready], at, sums=[whole.sums for _, whole in ready])
    noted: list[uploads.Noted] = []
    waiting: list[Waiting] = []
    for (each, whole), (change, round_, added) in zip(ready, places, strict=True):
        records = each.records - whole.repeated
        noted.append(uploads.Noted(each.upload, change, round_, added, records, whole.repeated, each.by))
        waiting.append(Waiting(each.structure, round_, change, each.upload, heads[each.structure].at, whole.sums))
    uploads.note(tx, noted, [heads[each.structure] for each, _ in ready])
    merging.wait(tx, waiting)
    return {
        id(each): Counted(ids.text("upl", one.id), one.change, one.round, one.records, one.repeated)
        for (each, _), one in zip(ready, noted, strict=True)
    }


def _before(whole: Finish, kept: Kept | None) -> Counted | Refusal:
    if kept is None:
        return UploadUnknown(upload=whole.name or ids.text("upl", whole.upload))
    same = (kept.digest, kept.organisation) == (whole.digest, whole.organisation)
    own = ids.text("upl", kept.id)
    if kept.change is None or kept.round is None:
        return UploadOvertaken(upload=whole.name or own)
    if not same:
        return UploadReused(upload=whole.name or own)
    return Counted(own, kept.change, kept.round, kept.records, kept.repeated, exists=True)


async def _dropped(tx: Tx, upload: UUID) -> int | None:
    """Drop what is staged of an upload; if it is counted, by somebody who finished it just now too, return its records."""
    held = await tx.row(_sql["hold"], _Held, book=tx.book, id=upload)
    if held is None or held.state == "counted":
        return None if held is None else held.records
    await identities.release(tx, [upload])
    for name in ("drop_staged", "drop_records", "forget"):
        await tx.do(_sql[name], book=tx.book, upload=upload)
    return None


async def forget(tx: Tx, before: datetime, *, most: int = 100) -> int:
    """Drop uploads that began before an instant and were never counted; return how many."""
    found = await tx.rows(_sql["abandoned"], uploads.Own, book=tx.book, before=before, most=most)
    for each in found:
        await _dropped(tx, each.id)
    return len(found)


async def sweep(database: Database) -> None:
    """Drop what broke off a day ago and never came again, now and then, until cancelled."""
    await database.loops.forever(
        "forget_uploads", lambda: forget_all(database, clock.now() - timedelta(hours=HOURS_KEPT)), SECONDS_BETWEEN
    )


async def forget_all(database: Database, before: datetime) -> int:
    """Drop such uploads of every book; return how many."""
    async with database.writing() as tx:
        numbers = await books.numbers(tx)

    async def here(number: int) -> int:
        async with database.writing(book=number) as tx:
            return await forget(tx, before)

    return await one_by_one(numbers, here)

"""Staging: an upload in parts is kept part by part, and counted whole in one short transaction, or not at all.

Promises: what is staged is in no sum; an upload that breaks off counts nothing, and begins anew when it comes again under
its id.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import books
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal
from clearhouse.slices.records import structures, uploads
from clearhouse.slices.records.parsing import Parsed
from clearhouse.slices.records.refusals import Unparsable, UploadReused, UploadUnknown
from clearhouse.slices.records.structures import cut_of
from clearhouse.slices.records.uploads import Counted, Kept

HOURS_KEPT = 24
SECONDS_BETWEEN = 600.0
_log = structlog.get_logger(__name__)
_sql = Statements.of("clearhouse.slices.records", "staging.sql")


class Stage(msgspec.Struct, frozen=True):
    """A part of an upload, after so many records of it."""

    upload: UUID
    structure: int
    organisation: str
    before: int
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


async def stage(tx: Tx, asked: Sequence[Asked[Stage]], at: datetime) -> list[Staged | Refusal]:
    """Keep parts, one after another."""
    return [await _stage(tx, each.command, at) for each in asked]


async def _stage(tx: Tx, part: Stage, at: datetime) -> Staged | Refusal:
    if part.parsed.known:
        place = part.before + min(part.parsed.known) + 1
        return Unparsable(place=f"record {place}", problem="records with a recordId are uploaded in chunks: mode=chunk")
    if part.before == 0:
        kept = await uploads.find(tx, [part.upload])
        if kept and kept[0].state == "counted":
            return Staged(ids.text("upl", part.upload), kept[0].records, counted=True)
        await _dropped(tx, part.upload)
        await tx.do(
            _sql["begin"], book=tx.book, id=part.upload, structure=part.structure, organisation=part.organisation, at=at
        )
    count = part.parsed.records
    if not await tx.do(_sql["grow"], book=tx.book, id=part.upload, count=count, before=part.before):
        kept = await uploads.find(tx, [part.upload])
        there = bool(kept) and (kept[0].state, kept[0].records) == (
            "staged",
            part.before + count,
        )
        own = ids.text("upl", part.upload)
        return Staged(own, part.before + count) if there else UploadUnknown(upload=own)
    uploads.keep(tx, [(part.upload, part.before, part.parsed)])
    _sum(tx, part)
    return Staged(ids.text("upl", part.upload), part.before + count)


def _sum(tx: Tx, part: Stage) -> None:
    sums = list(part.parsed.sums.items())
    if not sums:
        return
    values = [sum_ for _, sum_ in sums]
    numbers = {
        name: [getattr(each, attribute) for each in values]
        for name, attribute in (("totals", "total"), ("least", "least"), ("most", "most"), ("latest", "latest"))
    }
    tx.later(
        _sql["sum"], book=tx.book, upload=part.upload, keys="\n".join([key for (key, _), _ in sums]),
        metrics=array([metric for (_, metric), _ in sums]), counts=array([each.count for each in values]),
        **{name: its if any(each is not None for each in its) else "{}" for name, its in numbers.items()},
    )  # fmt: skip


async def finish(tx: Tx, asked: Sequence[Asked[Finish]], at: datetime) -> list[Counted | Refusal]:
    """Count uploads of which every part is there, one after another."""
    return [await _finish(tx, each.command, at) for each in asked]


async def _finish(tx: Tx, whole: Finish, at: datetime) -> Counted | Refusal:
    own = ids.text("upl", whole.upload)
    mine = await tx.do(_sql["finish"], book=tx.book, id=whole.upload, digest=whole.digest, records=whole.records)
    if not mine:
        kept = await uploads.find(tx, [whole.upload])
        return _before(whole, kept[0]) if kept else UploadUnknown(upload=whole.name or own)
    places = await cuts.enter(tx, [cut_of(whole.settleid)])
    heads = await structures.advance(tx, [whole.structure], "Update", [whole.by], counts=[1], at=at)
    head, round_ = heads[whole.structure], places[cut_of(whole.settleid)]
    tx.later(
        _sql["count_staged"], book=tx.book, upload=whole.upload, structure=whole.structure, round=round_,
        change=head.changes,
        organisation=whole.organisation if whole.apart else "", at=head.at,
    )  # fmt: skip
    uploads.note(tx, [uploads.Noted(whole.upload, head.changes, round_, whole.records, 0, whole.by)], [head])
    tx.later(_sql["drop_staged"], book=tx.book, upload=whole.upload)
    return Counted(own, head.changes, round_, whole.records)


def _before(whole: Finish, kept: Kept) -> Counted | Refusal:
    same = (kept.digest, kept.organisation) == (whole.digest, whole.organisation)
    own = ids.text("upl", kept.id)
    if not same or kept.change is None or kept.round is None:
        return UploadReused(upload=whole.name or own)
    return Counted(own, kept.change, kept.round, kept.records, kept.repeated, exists=True)


async def _dropped(tx: Tx, upload: UUID) -> None:
    for name in ("drop_staged", "drop_records", "forget"):
        await tx.do(_sql[name], book=tx.book, upload=upload)


async def forget(tx: Tx, before: datetime, *, most: int = 100) -> int:
    """Drop uploads that began before an instant and were never counted; return how many."""
    found = await tx.rows(_sql["abandoned"], uploads.Own, book=tx.book, before=before, most=most)
    for each in found:
        await _dropped(tx, each.id)
    return len(found)


async def sweep(database: Database) -> None:
    """Drop what broke off a day ago and never came again, now and then, until cancelled."""
    while True:
        try:
            await forget_all(database, clock.now() - timedelta(hours=HOURS_KEPT))
        except DatabaseFault as fault:
            _log.warning("broken uploads not dropped, tried again later", reason=str(fault))
        await asyncio.sleep(SECONDS_BETWEEN)


async def forget_all(database: Database, before: datetime) -> int:
    """Drop such uploads of every book; return how many."""
    async with database.writing() as tx:
        numbers = await books.numbers(tx)
    count = 0
    for number in numbers:
        async with database.writing(book=number) as tx:
            count += await forget(tx, before)
    return count

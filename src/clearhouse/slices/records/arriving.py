"""Arriving: a stream's parts on their way in, read while the ones before are written, and never many at once."""

import asyncio
import hashlib
from collections.abc import AsyncIterable

import msgspec

from clearhouse import ids
from clearhouse.slices.records import commands, uploads
from clearhouse.slices.records.parsing import reader
from clearhouse.slices.records.refusals import PartUnparsable, Unparsable
from clearhouse.slices.records.staging import Finish, Stage
from clearhouse.slices.records.structures import Structure
from clearhouse.slices.records.uploads import Counted
from clearhouse.transport.http.visits import Visit

FLYING_MAX = 4
Parts = AsyncIterable[tuple[int, list[bytes]]]


class Received(msgspec.Struct, frozen=True):
    """What came of a stream: in how many parts, how many records, and how many of them had been counted before."""

    upload: str
    change: int
    parts: int
    records: int
    repeated: int


async def receive_whole(visit: Visit, structure: Structure, parts: Parts, *, name: str, book: str | None) -> Received:
    """Stage every part, then count all of them or none."""
    organisation = visit.caller.organisation
    upload = uploads.id_of(structure, name, organisation=organisation) if name else ids.fresh()
    digest, records, count, there = hashlib.sha256(), 0, 0, False
    so_far = b""
    async for first, lines in parts:
        digest.update(b"\n".join(lines) + b"\n")
        if not there:
            parsed = reader(structure).read(lines, first=first)
            part = Stage(
                upload, structure.settleid, structure.number, structure.aggregating.apart, organisation, records, so_far,
                digest.digest(), parsed,
            )  # fmt: skip
            so_far = part.digest
            there = (await visit.submit(commands.STAGE, part, book=book)).counted
        records, count = records + len(lines), count + 1
    if not records:
        return Received("", 0, 0, 0, 0)
    by = f"{visit.caller.name}:{organisation}"
    whole = Finish(
        upload, structure.settleid, structure.number, structure.aggregating.apart, by, organisation, records,
        digest.digest(), name,
    )  # fmt: skip
    counted = await visit.submit(commands.FINISH, whole, book=book)
    repeated = counted.records if counted.exists else counted.repeated
    return Received(counted.upload, counted.change, count, counted.records, repeated)


async def receive_parts(visit: Visit, structure: Structure, parts: Parts, *, name: str, book: str | None) -> Received:
    """Count each part when it is there; of what cannot be read, the parts before it stay counted."""
    by, organisation = f"{visit.caller.name}:{visit.caller.organisation}", visit.caller.organisation
    flying: set[asyncio.Task[Counted]] = set()
    done: list[Counted] = []
    count = 0
    try:
        async for first, lines in parts:
            parsed = reader(structure).read(lines, first=first)
            command = uploads.uploaded(structure, parsed, by=by, organisation=organisation, name=name, part=count)
            flying.add(asyncio.create_task(visit.submit(commands.UPLOAD, command, book=book)))
            count += 1
            if len(flying) >= (1 if name and count == 1 else FLYING_MAX):  # the first part takes the name, before any other
                landed, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                done += [each.result() for each in landed]
    except Unparsable as wrong:
        done += await asyncio.gather(*flying)
        if not done:
            raise
        counted = str(sum(each.records for each in done))
        raise PartUnparsable(place=wrong.values["place"], problem=wrong.values["problem"], counted=counted) from wrong
    finally:
        landed = await asyncio.gather(*flying, return_exceptions=True)
    failed = [each for each in landed if isinstance(each, BaseException)]
    if failed:
        raise failed[0]
    done += [each for each in landed if isinstance(each, Counted)]
    repeated = sum(each.records if each.exists else each.repeated for each in done)
    last = max(done, key=lambda each: each.change) if done else Counted("", 0, 0, 0)
    return Received(last.upload, last.change, count, sum(each.records for each in done), repeated)

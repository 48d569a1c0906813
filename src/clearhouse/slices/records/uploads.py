"""Uploads: records that were sent at once, kept as they came, and counted whole or not at all.

Promises: an upload that comes again under its id is answered and not counted again; a record that brought an id of its own
is counted once in its structure; every record lands in exactly one round. What is large (records, and what they add) is
written before the round is entered; what remains under it is a row or two, however many keys there are.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.arrays import array, hexes, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal
from clearhouse.slices.records import identities, merging, structures
from clearhouse.slices.records.identities import Brought, Left, Run
from clearhouse.slices.records.merging import Aside, Waiting
from clearhouse.slices.records.parsing import Parsed, lines_of, reader
from clearhouse.slices.records.refusals import UploadReused
from clearhouse.slices.records.structures import Head, Step, Structure

BETWEEN = "\x1e"
_sql = Statements.of("clearhouse.slices.records", "uploads.sql")


class Upload(msgspec.Struct, frozen=True):
    """Records of one structure, read; `name` is what their sender calls them, if anything, and `id` what comes of it."""

    settleid: str
    structure: int
    apart: bool
    by: str
    organisation: str
    digest: bytes
    parsed: Parsed
    name: str = ""
    id: UUID | None = None


class Counted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an upload: `repeated` records had been counted before; `exists` if all of it had been."""

    upload: str
    change: int
    round: int
    records: int
    repeated: int = 0
    exists: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """An upload as it is stored."""

    id: UUID
    structure: int
    state: str
    digest: bytes
    organisation: str
    records: int
    repeated: int
    change: int | None
    round: int | None


@dataclass(frozen=True, slots=True)
class Own:
    """An upload's id."""

    id: UUID


@dataclass(frozen=True, slots=True)
class Noted:
    """An upload that is counted: in which change and round, after how many sums, how many records, and by whom."""

    id: UUID
    change: int
    round: int
    added: int
    records: int
    repeated: int
    by: str


@dataclass(slots=True, eq=False)
class _Going:
    """An upload on its way: who asked, what is left of it, and its change."""

    asked: Asked[Upload]
    parsed: Parsed
    runs: list[Run]
    repeated: int = 0
    change: int = 0
    round: int = 0
    added: int = 0

    @property
    def sums(self) -> int:
        """Return to how many sums it adds."""
        return len(self.parsed.sums)


def uploaded(
    structure: Structure, parsed: Parsed, *, by: str, organisation: str, name: str = "", part: int | None = None
) -> Upload:
    """Return an upload of what was read; a part of a named one is an upload with an id of its own."""
    own = id_of(structure, name, part, organisation=organisation) if name else None
    apart = structure.aggregating.apart
    digest = hashlib.sha256(parsed.bodies.encode() + b"\n").digest()
    return Upload(structure.settleid, structure.number, apart, by, organisation, digest, parsed, name, own)


def id_of(structure: Structure, name: str, part: int | None = None, *, organisation: str) -> UUID:
    """Return the id of an upload that its sender calls so; its first part has the same: no two modes share a name.

    Where organisations are kept apart, each has names of its own.
    """
    whose = (organisation,) if structure.aggregating.apart else ()
    return ids.derived("records.upload", str(structure.number), name, str(part) if part else "", *whose)


async def upload(tx: Tx, asked: Sequence[Asked[Upload]], at: datetime) -> list[Counted | Refusal]:
    """Keep and count uploads; those that were there before are answered as they were then."""
    new = await _opened(tx, asked, at)
    going, refused = await _sifted(tx, new)
    if going:
        keep(tx, [(each.asked.id, *run) for each in going for run in each.runs])
        merging.set_aside(tx, [Aside(each.asked.id, _apart(each.asked.command), each.parsed.sums) for each in going])
        places, heads = await numbered(tx, [each.asked.command for each in going], at, sums=[each.sums for each in going])
        for each, place in zip(going, places, strict=True):
            each.change, each.round, each.added = place
        merging.wait(tx, [_waiting(each, heads) for each in going])
        noted = [
            Noted(
                each.asked.id, each.change, each.round, each.added, each.parsed.records, each.repeated, each.asked.command.by
            )
            for each in going
        ]  # fmt: skip
        note(tx, noted, [heads[each.asked.command.structure] for each in going])
    return await _answers(tx, asked, going, refused)


async def _opened(tx: Tx, asked: Sequence[Asked[Upload]], at: datetime) -> list[Asked[Upload]]:
    commands = [each.command for each in asked]
    rows = await tx.rows(
        _sql["open_uploads"], Own, book=tx.book, at=at, ids=array([each.id for each in asked]),
        structures=array([each.structure for each in commands]), digests=hexes([each.digest for each in commands]),
        organisations=texts([each.organisation for each in commands]),
        records=array([each.parsed.records for each in commands]), sums=array([len(each.parsed.sums) for each in commands]),
    )  # fmt: skip
    new = {row.id for row in rows}
    first = {each.id: each for each in reversed(asked)}
    return [first[each] for each in sorted(new)]


async def _sifted(tx: Tx, new: Sequence[Asked[Upload]]) -> tuple[list[_Going], dict[UUID, Refusal]]:
    """Leave out records that were there before under their ids, and whole uploads of which one was another."""
    having = [each for each in new if each.command.parsed.known]
    brought = [Brought(each.id, each.command.structure, _apart(each.command), each.command.parsed) for each in having]
    sifted = await identities.sift(tx, brought) if brought else []
    repeated = {each.id: answer for each, answer in zip(having, sifted, strict=True)}
    going: list[_Going] = []
    refused: dict[UUID, Refusal] = {}
    for each in new:
        its = repeated.get(each.id, set())
        if isinstance(its, Refusal):
            refused[each.id] = its
            continue
        part = await left(tx, each.command.settleid, each.command.parsed, its)
        going.append(_Going(each, part.parsed, part.runs, part.repeated))
    if refused:
        await tx.do(_sql["forget"], book=tx.book, ids=array(refused))
    return going, refused


async def left(tx: Tx, settleid: str, parsed: Parsed, repeated: set[int]) -> Left:
    """Return what is left of records without these lines."""
    if not repeated:
        return identities.whole(parsed)
    return identities.left_of(reader(await structures.find(tx, settleid)), parsed, repeated)


def keep(tx: Tx, runs: Sequence[tuple[UUID, int, str, str]]) -> None:
    """Keep records as they came: keys and bodies of those that follow each other, after so many of their upload."""
    if runs:
        tx.later(
            _sql["keep"], book=tx.book, uploads=array([upload_ for upload_, *_ in runs]),
            before=array([before for _, before, *_ in runs]), keys=BETWEEN.join([keys for *_, keys, _ in runs]),
            bodies=BETWEEN.join([bodies for *_, bodies in runs]),
        )  # fmt: skip


def _waiting(going: _Going, heads: dict[int, Head]) -> Waiting:
    number = going.asked.command.structure
    return Waiting(number, going.round, going.change, going.asked.id, heads[number].at, going.sums)


def _apart(command: Upload) -> str:
    return command.organisation if command.apart else ""


class Counting(Protocol):
    """What is to be counted: into which structure, and by whom."""

    @property
    def settleid(self) -> str:
        """The structure's id."""
        ...

    @property
    def structure(self) -> int:
        """Its number."""
        ...

    @property
    def by(self) -> str:
        """A name and its organisation."""
        ...


async def numbered(
    tx: Tx, counting: Sequence[Counting], at: datetime, *, sums: Sequence[int]
) -> tuple[list[tuple[int, int, int]], dict[int, Head]]:
    """Enter their cuts, lock their structures, and give each its change, its round, and how many sums there were by then."""
    count, added = Counter[int](), Counter[int]()
    last: dict[int, Counting] = {}
    for each, its in zip(counting, sums, strict=True):
        count[each.structure] += 1
        added[each.structure] += its
        last[each.structure] = each
    steps = [Step(each.settleid, number, each.by, count[number], added[number]) for number, each in last.items()]
    heads = await structures.count_on(tx, steps, at)
    changes = {number: head.changes - count[number] for number, head in heads.items()}
    before = {number: head.added - added[number] for number, head in heads.items()}
    found: list[tuple[int, int, int]] = []
    for each, its in zip(counting, sums, strict=True):
        changes[each.structure] += 1
        before[each.structure] += its
        found.append((changes[each.structure], heads[each.structure].round, before[each.structure]))
    return found, heads


def note(tx: Tx, noted: Sequence[Noted], heads: Sequence[Head]) -> None:
    """Note uploads as changes of their structures, with the commit."""
    numbers, own = [head.number for head in heads], [each.id for each in noted]
    changes, rounds = [each.change for each in noted], [each.round for each in noted]
    tx.later(
        _sql["note"], book=tx.book, structures=array(numbers), changes=array(changes), rounds=array(rounds),
        uploads=array(own), by=texts([each.by for each in noted]), at=[head.at for head in heads],
        settled=[head.settled_at for head in heads], added=array([each.added for each in noted]),
    )  # fmt: skip
    tx.later(
        _sql["mark_counted"], book=tx.book, ids=array(own), changes=array(changes), rounds=array(rounds),
        records=array([each.records for each in noted]), repeated=array([each.repeated for each in noted]),
    )  # fmt: skip


async def _answers(
    tx: Tx, asked: Sequence[Asked[Upload]], going: Sequence[_Going], refused: dict[UUID, Refusal]
) -> list[Counted | Refusal]:
    fresh = {id(each.asked): each for each in going}
    old = [each.id for each in asked if id(each) not in fresh and each.id not in refused]
    kept = {row.id: row for row in await find(tx, old)} if old else {}
    return [
        refused[each.id] if each.id in refused
        else _fresh(fresh[id(each)]) if id(each) in fresh
        else answer(each.command, kept[each.id])
        for each in asked
    ]  # fmt: skip


async def find(tx: Tx, wanted: Sequence[UUID]) -> list[Kept]:
    """Return uploads as they are stored."""
    return await tx.rows(_sql["uploads"], Kept, book=tx.book, ids=array(wanted))


def _fresh(going: _Going) -> Counted:
    own = ids.text("upl", going.asked.id)
    return Counted(own, going.change, going.round, going.parsed.records, going.repeated)


def answer(command: Upload, kept: Kept) -> Counted | Refusal:
    """Return what is said of an upload that was there before: the same again, or another one under its id."""
    same = kept.digest == command.digest and kept.organisation == command.organisation
    if not same or kept.change is None or kept.round is None:
        return UploadReused(upload=command.name or ids.text("upl", kept.id))
    return Counted(ids.text("upl", kept.id), kept.change, kept.round, kept.records, kept.repeated, exists=True)


def read(structure: Structure, body: bytes) -> Parsed:
    """Read a text of lines."""
    return reader(structure).read(lines_of(body))

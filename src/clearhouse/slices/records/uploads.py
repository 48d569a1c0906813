"""Uploads: records that were sent at once, kept as they came, and counted whole or not at all.

Promises: an upload that comes again under its id is answered and not counted again; a record that brought an id of its own
is counted once in its structure; every record lands in exactly one round. What is large (keeping records) is written before
the round is entered; what remains is one statement that costs by the keys it touches.
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
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.arrays import array, hexes, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal
from clearhouse.slices.records import identities, merging, structures
from clearhouse.slices.records.identities import Brought, Left, Run
from clearhouse.slices.records.merging import Waiting
from clearhouse.slices.records.parsing import Parsed, Sum, lines_of, reader
from clearhouse.slices.records.refusals import UploadReused
from clearhouse.slices.records.structures import Head, Structure, cut_of

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
    """An upload that is counted: in which change and round, how many records, and by whom."""

    id: UUID
    change: int
    round: int
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
        few = _set_aside(tx, going)
        places, heads = await numbered(tx, [each.asked.command for each in going], at)
        for each, place in zip(going, places, strict=True):
            each.change, each.round = place
        count(tx, [_counted(each) for each in going if each in few], max(head.at for head in heads.values()))
        merging.wait(tx, [_waiting(each, heads) for each in going if each not in few])
        noted = [
            Noted(each.asked.id, each.change, each.round, each.parsed.records, each.repeated, each.asked.command.by)
            for each in going
        ]
        note(tx, noted, [heads[each.asked.command.structure] for each in going])
    return await _answers(tx, asked, going, refused)


async def _opened(tx: Tx, asked: Sequence[Asked[Upload]], at: datetime) -> list[Asked[Upload]]:
    commands = [each.command for each in asked]
    rows = await tx.rows(
        _sql["open_uploads"], Own, book=tx.book, at=at, ids=array([each.id for each in asked]),
        structures=array([each.structure for each in commands]), digests=hexes([each.digest for each in commands]),
        organisations=texts([each.organisation for each in commands]),
        records=array([each.parsed.records for each in commands]),
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


def _set_aside(tx: Tx, going: Sequence[_Going]) -> list[_Going]:
    """Keep what large uploads add, to be merged later; return the others, which are counted under the cut."""
    few: list[_Going] = []
    rows = 0
    for each in sorted(going, key=lambda each: len(each.parsed.sums)):
        rows += len(each.parsed.sums)
        if len(each.parsed.sums) <= merging.ROWS_AT_ONCE and rows <= 2 * merging.ROWS_AT_ONCE:
            few.append(each)
        else:
            merging.set_aside(tx, each.asked.id, _apart(each.asked.command), each.parsed.sums)
    return few


def _waiting(going: _Going, heads: dict[int, Head]) -> Waiting:
    number = going.asked.command.structure
    return Waiting(number, going.round, going.change, going.asked.id, heads[number].at)


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


async def numbered(tx: Tx, counting: Sequence[Counting], at: datetime) -> tuple[list[tuple[int, int]], dict[int, Head]]:
    """Enter all of their cuts at once, lock all of their structures at once, and give each its change and round."""
    places = await cuts.enter(tx, sorted({cut_of(each.settleid) for each in counting}))
    counts = Counter(each.structure for each in counting)
    last = {each.structure: each.by for each in counting}
    heads = await structures.advance(
        tx, list(counts), "Update", [last[number] for number in counts], counts=list(counts.values()), at=at
    )
    following = {number: head.changes - counts[number] for number, head in heads.items()}
    found: list[tuple[int, int]] = []
    for each in counting:
        following[each.structure] += 1
        found.append((following[each.structure], places[cut_of(each.settleid)]))
    return found, heads


@dataclass(frozen=True, slots=True)
class Addition:
    """What one change adds to the sums of a round."""

    structure: int
    round: int
    change: int
    organisation: str
    sums: dict[tuple[str, int], Sum]


def _counted(going: _Going) -> Addition:
    command = going.asked.command
    return Addition(command.structure, going.round, going.change, _apart(command), going.parsed.sums)


def count(tx: Tx, additions: Sequence[Addition], at: datetime) -> None:
    """Add to the sums, with the commit; the structures are locked."""
    rows = [(each, key, metric, sum_) for each in additions for (key, metric), sum_ in each.sums.items()]
    if not rows:
        return
    numbers = any(sum_.total is not None for *_, sum_ in rows)
    latest = [sum_.latest for *_, sum_ in rows] if any(sum_.latest is not None for *_, sum_ in rows) else []
    tx.later(
        _sql["count"], book=tx.book, at=at,
        structures=array([each.structure for each, *_ in rows]), rounds=array([each.round for each, *_ in rows]),
        keys="\n".join([key for _, key, *_ in rows]), organisations=texts([each.organisation for each, *_ in rows]),
        metrics=array([metric for *_, metric, _ in rows]), changes=array([each.change for each, *_ in rows]),
        counts=array([sum_.count for *_, sum_ in rows]), totals=_numbers(rows, "total", numbers=numbers),
        least=_numbers(rows, "least", numbers=numbers), most=_numbers(rows, "most", numbers=numbers), latest=latest,
    )  # fmt: skip


def _numbers(rows: Sequence[tuple[Addition, str, int, Sum]], name: str, *, numbers: bool) -> str:
    return array(
        [getattr(sum_, name) if getattr(sum_, name) is not None else "NULL" for *_, sum_ in rows] if numbers else ()
    )


def note(tx: Tx, noted: Sequence[Noted], heads: Sequence[Head]) -> None:
    """Note uploads as changes of their structures, with the commit."""
    numbers, own = [head.number for head in heads], [each.id for each in noted]
    changes, rounds = [each.change for each in noted], [each.round for each in noted]
    tx.later(
        _sql["note"], book=tx.book, structures=array(numbers), changes=array(changes), rounds=array(rounds),
        uploads=array(own), by=texts([each.by for each in noted]), at=[head.at for head in heads],
        settled=[head.settled_at for head in heads],
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

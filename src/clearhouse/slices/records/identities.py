"""Identities: a record that brings an id of its own (`recordId`) is counted once, in whatever upload, form and mode.

Promises: the same record again under its id has no second effect; another record under it refuses its whole upload and
says where; an upload that is never counted keeps nobody's id: whoever brings the record meanwhile takes it over. Where
organisations are kept apart, each has ids of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from clearhouse.kernel.db.arrays import array, hexes, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Passing
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.records.parsing import Parsed, Reader
from clearhouse.slices.records.refusals import RecordReused

TRIES_MAX = 5
Mark = tuple[int, str, str]  # a structure, an organisation where they are kept apart, and an id
Run = tuple[int, str, str]  # so many records before, and keys and bodies of those that follow each other
_sql = Statements.of("clearhouse.slices.records", "identities.sql")


@dataclass(frozen=True, slots=True)
class Brought:
    """An upload, or a part of it, with records that brought ids."""

    upload: UUID
    structure: int
    organisation: str
    parsed: Parsed

    def marks(self) -> dict[int, tuple[Mark, bytes]]:
        """Return which ids its records have, by line, and what tells a record from another."""
        its = self.parsed.known.items()
        return {place: ((self.structure, self.organisation, known.id), known.digest) for place, known in its}


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of an upload without the records that were counted before."""

    parsed: Parsed
    repeated: int
    runs: list[Run]


@dataclass(frozen=True, slots=True)
class _Mark:
    structure: int
    organisation: str
    id: str

    @property
    def mark(self) -> Mark:
        return self.structure, self.organisation, self.id


@dataclass(frozen=True, slots=True)
class _Known(_Mark):
    upload: UUID
    digest: bytes
    state: str


@dataclass(frozen=True, slots=True)
class _Own:
    id: UUID


_Wanted = Mapping[Mark, tuple[UUID, bytes]]


async def sift(tx: Tx, brought: Sequence[Brought]) -> list[set[int] | RecordReused]:
    """Return of each which of its lines were there before, or why it is refused; in their order, all in one go."""
    wanted: dict[Mark, tuple[UUID, bytes]] = {}
    for each in brought:
        for mark, digest in each.marks().values():
            wanted.setdefault(mark, (each.upload, digest))
    before = await _claimed(tx, wanted)
    seen, holders = dict(before), dict[Mark, UUID]()
    answers = [_decided(each, seen, holders) for each in brought]
    refused = [each.upload for each, answer in zip(brought, answers, strict=True) if isinstance(answer, RecordReused)]
    if refused:
        mine = {mark: was for mark, was in wanted.items() if mark not in before and mark in holders}
        handed = {mark: was for mark, (was, _) in mine.items() if holders[mark] != was}
        await _take(tx, {mark: (holders[mark], seen[mark]) for mark in handed}, handed)
        await release(tx, refused)
    return answers


def _decided(brought: Brought, seen: dict[Mark, bytes], holders: dict[Mark, UUID]) -> set[int] | RecordReused:
    repeated: set[int] = set()
    new: dict[Mark, bytes] = {}
    for place, (mark, digest) in brought.marks().items():
        there = seen.get(mark, new.get(mark))
        if there is None:
            new[mark] = digest
        elif there in {b"", digest}:
            repeated.add(place)
        else:
            return RecordReused(place=f"record {brought.parsed.first + place}, recordId", id=mark[2][:200])
    seen |= new
    holders |= dict.fromkeys(new, brought.upload)
    return repeated


async def _claimed(tx: Tx, wanted: _Wanted) -> dict[Mark, bytes]:
    """Take ids for those who bring them; return what was there before: counted, or in an earlier part of the same upload."""
    left, before = dict(wanted), dict[Mark, bytes]()
    for _ in range(TRIES_MAX):
        uploads = {"uploads": array([upload for upload, _ in left.values()]), "digests": _digests(left)}
        for row in await tx.rows(_sql["know"], _Mark, book=tx.book, **_marks(left), **uploads):
            left.pop(row.mark)
        found = await tx.rows(_sql["known"], _Known, book=tx.book, **_marks(left)) if left else []
        owners: dict[Mark, UUID] = {}
        for row in found:
            if row.state == "counted" or row.upload == left[row.mark][0]:
                before[row.mark] = row.digest
                left.pop(row.mark)
            else:
                owners[row.mark] = row.upload
        robbed = await _robbed(tx, set(owners.values()))
        former = {mark: owner for mark, owner in owners.items() if owner in robbed}
        for mark in await _take(tx, {mark: left[mark] for mark in former}, former):
            left.pop(mark)
        if not left:
            return before
    message = "several uploads bring the same records at once"
    raise Passing(message)


async def _robbed(tx: Tx, owners: set[UUID]) -> set[UUID]:
    if not owners:
        return set()
    return {row.id for row in await tx.rows(_sql["rob"], _Own, book=tx.book, ids=array(owners))}


async def _take(tx: Tx, taken: _Wanted, former: Mapping[Mark, UUID]) -> list[Mark]:
    if not taken:
        return []
    rows = await tx.rows(
        _sql["take"], _Mark, book=tx.book, **_marks(taken), former=array([former[mark] for mark in taken]),
        uploads=array([upload for upload, _ in taken.values()]), digests=_digests(taken),
    )  # fmt: skip
    return [row.mark for row in rows]


def _marks(wanted: _Wanted) -> dict[str, str]:
    return {
        "structures": array([structure for structure, _, _ in wanted]),
        "organisations": texts([organisation for _, organisation, _ in wanted]),
        "ids": texts([own for _, _, own in wanted]),
    }


def _digests(wanted: _Wanted) -> str:
    return hexes([digest for _, digest in wanted.values()])


async def release(tx: Tx, uploads: Sequence[UUID]) -> None:
    """Give back the ids of uploads that are not counted after all."""
    await tx.do(_sql["release"], book=tx.book, uploads=array(uploads))


def whole(parsed: Parsed) -> Left:
    """Return all of it."""
    return Left(parsed, 0, [(0, parsed.keys, parsed.bodies)] if parsed.records else [])


def left_of(reader: Reader, parsed: Parsed, repeated: set[int]) -> Left:
    """Return what is left without these lines: read again, and in the places in which it came."""
    lines, keys = parsed.bodies.split("\n"), parsed.keys.split("\n")
    left = [place for place in range(len(lines)) if place not in repeated]
    if not left:
        return Left(Parsed(0, "", "", {}, {}), len(repeated), [])
    runs: list[Run] = []
    for _, group in groupby(enumerate(left), key=lambda each: each[1] - each[0]):
        its = [place for _, place in group]
        first, end = its[0], its[-1] + 1
        runs.append((first, "\n".join(keys[first:end]), "\n".join(lines[first:end])))
    return Left(reader.read([lines[place].encode() for place in left]), len(repeated), runs)

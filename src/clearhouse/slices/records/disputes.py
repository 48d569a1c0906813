"""Disputes: each organisation accepts or disputes the lines of a settled round within a window, and a person ends a dispute.

Promises: only who took part in a round has a word on it, one an organisation, which may change until the window closes;
silence is consent; whoever ends a dispute never had a word on that line, not even one that another took the place of; what
was decided is never changed, and the round itself stays as it is. Who counts records waits for none of it: what a round came
to is read before anything is locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.records import rounds, states, structures
from clearhouse.slices.records.cells import text
from clearhouse.slices.records.parsing import KEY_LENGTH_MAX, number_of
from clearhouse.slices.records.refusals import RoundUnknown, Unparsable
from clearhouse.slices.records.rounds import Round
from clearhouse.slices.records.settling import Cells
from clearhouse.slices.records.structures import Structure

State = Literal["open", "accepted", "disputed", "resolved"]
Word = Literal["accepted", "disputed"]
_sql = Statements.of("clearhouse.slices.records", "disputes.sql")


class LineUnknown(Refusal):
    """There is no line {key} in round {round} of {settleid}."""

    code = "line_unknown"
    kind = Kind.UNKNOWN


class NoParty(Refusal):
    """Only an organisation that took part in the round has a word on its lines."""

    code = "no_party"
    kind = Kind.REFUSED


class WindowClosed(Refusal):
    """The lines of round {round} could be disputed until {until}."""

    code = "window_closed"
    kind = Kind.REFUSED


class NotDisputed(Refusal):
    """The line {key} is {state}; only what is disputed can be resolved, and only once."""

    code = "not_disputed"
    kind = Kind.REFUSED


class OwnWord(Refusal):
    """Whoever had a word on a line does not resolve it."""

    code = "own_word"
    kind = Kind.REFUSED


class Say(msgspec.Struct, frozen=True):
    """Accept or dispute a line, for an organisation."""

    settleid: str
    round: int
    key: str
    word: Word
    remark: str
    organisation: str
    by: str


class Resolve(msgspec.Struct, frozen=True):
    """End a dispute: these values stand, by metric, for this reason."""

    settleid: str
    round: int
    key: str
    stands: dict[str, str]
    remark: str
    by: str


class Said(msgspec.Struct, frozen=True):
    """What an organisation said of a line."""

    word: str
    remark: str
    at: datetime
    by: str


class Resolution(msgspec.Struct, frozen=True):
    """What stands of a line in the end, and why."""

    stands: dict[str, str]
    remark: str
    at: datetime
    by: str


class Line(msgspec.Struct, frozen=True):
    """A line of a settled round: what it came to, side by side, what was said of it, and where that leaves it.

    `until` is when its window closes; values that differ by no more than `tolerance` match.
    """

    round: int
    key: str
    state: State
    settled: Any
    until: datetime
    tolerance: str
    words: dict[str, Said]
    resolution: Resolution | None = None


@dataclass(frozen=True, slots=True)
class _Word:
    key: str
    organisation: str
    word: str
    remark: str
    at: datetime
    by_whom: str
    speakers: list[UUID]


@dataclass(frozen=True, slots=True)
class _Settled:
    """A settled round as it stays for good, with what it came to."""

    structure: Structure
    round: Round
    parties: set[str]
    lines: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Resolution:
    key: str
    stands: str
    remark: str
    at: datetime
    by_whom: str


async def say(tx: Tx, asked: Sequence[Asked[Say]], at: datetime) -> list[Line | Refusal]:
    """Take the words of organisations, one after another."""
    return [await _said(tx, each.command, each.by, at) for each in asked]


async def _said(tx: Tx, say_: Say, speaker: UUID, at: datetime) -> Line | Refusal:
    try:
        settled = await _found(tx, say_.settleid, say_.round, say_.key)
    except Refusal as refusal:
        return refusal
    if say_.organisation not in settled.parties:
        return NoParty()
    if at > settled.round.disputable_until:
        return WindowClosed(round=str(say_.round), until=settled.round.disputable_until.isoformat())
    line, _ = await _locked(tx, settled, say_.key, at)
    if line.state == "resolved":
        return NotDisputed(key=say_.key, state=line.state)
    await tx.do(
        _sql["say"], book=tx.book, structure=settled.structure.number, round=say_.round, key=say_.key, word=say_.word,
        organisation=say_.organisation, remark=say_.remark, at=at, by=say_.by, speaker=speaker,
    )  # fmt: skip
    return (await _lines(tx, settled, at=at, keys=[say_.key]))[0]


async def resolve(tx: Tx, asked: Sequence[Asked[Resolve]], at: datetime) -> list[Line | Refusal]:
    """End disputes, one after another."""
    return [await _resolved(tx, each.command, each.by, at) for each in asked]


async def _resolved(tx: Tx, resolve_: Resolve, referee: UUID, at: datetime) -> Line | Refusal:
    try:
        settled = await _found(tx, resolve_.settleid, resolve_.round, resolve_.key)
        stands = checked(settled.structure, resolve_.stands)
    except Refusal as refusal:
        return refusal
    line, speakers = await _locked(tx, settled, resolve_.key, at)
    if referee in speakers or any(each.by == resolve_.by for each in line.words.values()):
        return OwnWord()
    if line.state != "disputed" or not await tx.do(
        _sql["resolve"], book=tx.book, structure=settled.structure.number, round=resolve_.round, key=resolve_.key,
        values=msgspec.json.encode(stands).decode(), remark=resolve_.remark, at=at, by=resolve_.by,
    ):  # fmt: skip
        return NotDisputed(key=resolve_.key, state=line.state)
    return (await _lines(tx, settled, at=at, keys=[resolve_.key]))[0]


def checked(structure: Structure, stands: dict[str, str]) -> dict[str, str]:
    """Return what stands, if it says of metrics of this structure what may stand there."""
    if not stands:
        raise Unparsable(place="stands", problem="say of at least one metric what stands")
    for metric, value in stands.items():
        if metric not in structure.metrics:
            raise Unparsable(place=f"stands, {metric[:100]}", problem=f"there are {', '.join(structure.metrics)}"[:300])
        if structure.aggregating.numeric and number_of(value) is None:
            raise Unparsable(place=f"stands, {metric}", problem="a number is wanted here, of at most 38 digits and 38 more")
        if not 0 < len(value) <= KEY_LENGTH_MAX or not value.isprintable():
            raise Unparsable(place=f"stands, {metric}", problem=f"a value has 1 to {KEY_LENGTH_MAX} characters")
    return stands


async def lines(tx: Tx, structure: Structure, round_: Round, *, at: datetime, after: str = "", most: int) -> list[Line]:
    """Return the lines of a settled round in the order of their keys."""
    cells = await states.cells(tx, structure, round_.round)
    keys = sorted(key for key in cells if key > after)[:most]
    return await _lines(tx, _settled(structure, round_, cells), at=at, keys=keys)


async def _found(tx: Tx, settleid: str, number: int, key: str) -> _Settled:
    structure = await structures.find(tx, settleid)
    found = await rounds.find(tx, structure, number)
    cells = await states.cells(tx, structure, number)
    if key not in cells:
        raise LineUnknown(settleid=settleid, round=str(number), key=key[:200])
    return _settled(structure, found, cells)


def _settled(structure: Structure, round_: Round, cells: Cells) -> _Settled:
    parties = {cell.organisation for metrics in cells.values() for its in metrics.values() for cell in its} - {""}
    return _Settled(structure, round_, parties, structure.settling.settle(cells, states.terms(structure)))


async def _locked(tx: Tx, settled: _Settled, key: str, at: datetime) -> tuple[Line, set[UUID]]:
    """Return a line as it is now and stays until we commit, and everybody who ever had a word on it."""
    await tx.do(_sql["lock"], book=tx.book, settleid=settled.structure.settleid)
    line = (await _lines(tx, settled, at=at, keys=[key]))[0]
    words = await tx.rows(_sql["words"], _Word, **_where(tx, settled, [key]))
    return line, {speaker for each in words for speaker in each.speakers}


def _where(tx: Tx, settled: _Settled, keys: Sequence[str]) -> dict[str, object]:
    number, round_ = settled.structure.number, settled.round.round
    return {"book": tx.book, "structure": number, "round": round_, "first": keys[0], "last": keys[-1]}


async def _lines(tx: Tx, settled: _Settled, *, at: datetime, keys: Sequence[str]) -> list[Line]:
    if not keys:
        return []
    where, until = _where(tx, settled, keys), settled.round.disputable_until
    words: dict[str, dict[str, Said]] = {}
    for row in await tx.rows(_sql["words"], _Word, **where):
        words.setdefault(row.key, {})[row.organisation] = Said(row.word, row.remark, row.at, row.by_whom)
    resolutions = {
        row.key: Resolution(msgspec.json.decode(row.stands, type=dict[str, str]), row.remark, row.at, row.by_whom)
        for row in await tx.rows(_sql["resolutions"], _Resolution, **where)
    }
    return [
        Line(
            settled.round.round, key, _state(words.get(key, {}), resolutions.get(key), settled.parties, over=at > until),
            settled.lines.get(key), until, text(settled.structure.tolerance), words.get(key, {}), resolutions.get(key),
        )
        for key in keys
    ]  # fmt: skip


def _state(words: dict[str, Said], resolution: Resolution | None, parties: set[str], *, over: bool) -> State:
    if resolution is not None:
        return "resolved"
    if any(said.word == "disputed" for said in words.values()):
        return "disputed"
    return "accepted" if over or (parties and parties <= words.keys()) else "open"


async def find_round(tx: Tx, structure: Structure, number: int) -> Round:
    """Return a settled round; 0 means the last one."""
    if number:
        return await rounds.find(tx, structure, number)
    found = await rounds.settled(tx, structure, most=1)
    if not found:
        raise RoundUnknown(settleid=structure.settleid, round="yet")
    return found[0]

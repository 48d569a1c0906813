"""Every command of this slice: its name, its scope, what runs it, and what the journal says of it."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.slices.records import disputes, rounds, staging, structures, uploads
from clearhouse.slices.records.bookings import Booked
from clearhouse.slices.records.disputes import Resolve, Say
from clearhouse.slices.records.rounds import End, Ended
from clearhouse.slices.records.staging import Finish, Stage, Staged
from clearhouse.slices.records.structures import Create, Structure
from clearhouse.slices.records.uploads import Counted, Upload

READ = "records:read"
WRITE = "records:write"
SETTLE_ROUND = "records:settle"
DISPUTE = "records:dispute"
RESOLVE_DISPUTE = "records:resolve"
_READING = {READ}
SCOPES: Mapping[Role, Iterable[Scope]] = {
    "viewer": _READING,
    "operator": {READ, WRITE, SETTLE_ROUND, DISPUTE},
    "approver": {READ, RESOLVE_DISPUTE},
    "auditor": _READING,
}


class StagedEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of a part of an upload: how many records of it there are now."""

    structure: int
    records: int


class SaidEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of a word on a line."""

    command: Say
    state: str


def _created(asked: Asked[Create], answer: Structure) -> Line:
    return Line("records.created", answer.settleid, asked.command)


def _uploaded(asked: Asked[Upload], answer: Counted) -> Line:
    event = "records.repeated" if answer.exists else "records.uploaded"
    return Line(event, asked.command.settleid, answer)


def _settled(asked: Asked[End], answer: Ended) -> Line:
    return Line("records.settled", asked.command.settleid, answer)


def _cleared(asked: Asked[End], answer: Ended) -> Line:
    return Line("records.cleared", asked.command.settleid, answer)


def _staged(asked: Asked[Stage], answer: Staged) -> Line:
    return Line("records.staged", answer.upload, StagedEvent(asked.command.structure, answer.records))


def _finished(asked: Asked[Finish], answer: Counted) -> Line:
    event = "records.repeated" if answer.exists else "records.uploaded"
    return Line(event, asked.command.settleid, answer)


def _part(command: Stage) -> dict[str, Any]:
    """Return what stands for a part: not its records."""
    return {"structure": command.structure, "before": command.before, "records": command.parsed.records}


def _said(asked: Asked[Say], answer: disputes.Line) -> Line:
    return Line(f"records.{asked.command.word}", asked.command.settleid, SaidEvent(asked.command, answer.state))


def _resolved(asked: Asked[Resolve], _: disputes.Line) -> Line:
    return Line("records.resolved", asked.command.settleid, asked.command)


def _told(command: Upload) -> dict[str, Any]:
    """Return what stands for an upload: not its records, but what tells them from others."""
    digest, count = command.digest.hex(), command.parsed.records
    return {"settleid": command.settleid, "upload": command.name, "records": count, "digest": digest}


_COUNTED: dict[str, Any] = {"records.uploaded": Counted, "records.repeated": Counted}
CREATE = Kind(
    "records.create", WRITE, structures.create_structures, Structure, _created, natural=False,
    events={"records.created": Create},
)  # fmt: skip
UPLOAD = Kind(
    "records.upload", WRITE, uploads.upload, Counted, _uploaded, identify=lambda command: command.id, told=_told,
    events=_COUNTED,
)  # fmt: skip
STAGE = Kind("records.stage", WRITE, staging.stage, Staged, _staged, told=_part, events={"records.staged": StagedEvent})
FINISH = Kind(
    "records.finish", WRITE, staging.finish, Counted, _finished, identify=lambda command: command.upload, events=_COUNTED
)
SETTLE = Kind(
    "records.settle", SETTLE_ROUND, rounds.settle, Ended, _settled, natural=False, events={"records.settled": Ended}
)
CLEAR = Kind("records.clear", SETTLE_ROUND, rounds.clear, Ended, _cleared, natural=False, events={"records.cleared": Ended})
SAY = Kind(
    "records.say", DISPUTE, disputes.say, disputes.Line, _said, natural=False,
    events={"records.accepted": SaidEvent, "records.disputed": SaidEvent},
)  # fmt: skip
RESOLVE = Kind(
    "records.resolve", RESOLVE_DISPUTE, disputes.resolve, disputes.Line, _resolved, natural=False,
    events={"records.resolved": Resolve},
)  # fmt: skip
EVENTS: Mapping[str, Any] = {"records.booked": Booked}
ALL: tuple[Kind[Any, Any], ...] = (CREATE, UPLOAD, STAGE, FINISH, SETTLE, CLEAR, SAY, RESOLVE)

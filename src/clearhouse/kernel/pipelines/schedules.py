"""Schedules: what happens by the clock of a time zone, as rows of a book; each tick leaves a firing, which is done once.

Promises: a tick fires once, however many workers there are; ticks that were missed, however long ago, fire once, late; a
schedule that could never fire, or names a zone or a job that there is not, is refused when it is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.calendars.zones import ZoneName, zone
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.pipelines import cron, declared
from clearhouse.kernel.pipelines.cron import CronNeverFires, CronText
from clearhouse.kernel.pipelines.declared import Firing
from clearhouse.kernel.pipelines.stages import Aside, Moves, NotYet, Stage
from clearhouse.refusals import Kind, Malformed, Refusal

sql = Statements.of("clearhouse.kernel.pipelines", "schedules.sql")
ScheduleName = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=63, pattern=r"^[a-z][a-z0-9_-]*([.][a-z0-9_-]+)*$(?!\n)", examples=["close.nightly"]
    ),
]
JobName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, examples=["ledger.close_day"])]
ARGUMENT_BYTES_MAX = 10_000
DAYS_KEPT = 90


class ScheduleNotFound(Refusal):
    """There is no schedule {schedule} here."""

    code = "schedule_not_found"
    kind = Kind.UNKNOWN


class SetSchedule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Set when a job happens by itself; a schedule of that name is replaced, and is active again."""

    name: ScheduleName
    cron: CronText
    job: JobName
    zone: ZoneName = "UTC"
    arguments: dict[str, Any] = {}


class Named(msgspec.Struct, frozen=True):
    """Pause, resume or run a schedule."""

    name: str


class Schedule(msgspec.Struct, frozen=True):
    """When a job happens by itself: next, and the last time, with what went wrong if it is not done yet."""

    name: str
    state: str
    cron: str
    zone: str
    job: str
    arguments: dict[str, Any]
    next_at: datetime | None
    set_at: datetime
    set_by: str
    last_due_at: datetime | None = None
    last_fired_at: datetime | None = None
    last_done_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class _Due:
    id: UUID
    cron: str
    zone: str
    job: str
    arguments: str
    next_at: datetime


@dataclass(frozen=True, slots=True)
class _Waiting:
    id: UUID
    schedule: str
    job: str
    arguments: str
    due_at: datetime
    by: UUID


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


def _shown(*, arguments: str, set_by: UUID, **row: Any) -> Schedule:
    return Schedule(**row, arguments=msgspec.json.decode(arguments), set_by=ids.text("prn", set_by))


# Commands ------------------------------------------------------------------------------------------------------------


async def set_schedules(tx: Tx, asked: Sequence[Asked[SetSchedule]], at: datetime) -> list[Schedule | Refusal]:
    """Set schedules, one after another."""
    return [await _set(tx, each, at) for each in asked]


async def _set(tx: Tx, asked: Asked[SetSchedule], at: datetime) -> Schedule | Refusal:
    wanted = asked.command
    try:
        text = cron.check(wanted.cron)
        arguments = _arguments(wanted)
        next_at = cron.next_instant(text, zone(wanted.zone), at)
        if next_at is None:
            return CronNeverFires(cron=text)
    except Refusal as refusal:
        return refusal
    await tx.do(
        sql["set_schedule"], book=tx.book, id=asked.id, name=wanted.name, cron=text, zone=wanted.zone, job=wanted.job,
        arguments=arguments, at=at, by=asked.by, next_at=next_at,
    )  # fmt: skip
    return await find(tx, wanted.name)


def _arguments(wanted: SetSchedule) -> str:
    takes = declared.job(wanted.job).takes
    try:
        msgspec.convert(wanted.arguments, takes, strict=False)
        text = msgspec.json.encode(wanted.arguments).decode()
    except (msgspec.MsgspecError, TypeError) as error:
        raise Malformed(field="arguments", problem=str(error)) from error
    if len(text) > ARGUMENT_BYTES_MAX:
        raise Malformed(field="arguments", problem="they are too long")
    return text


async def pause_schedules(tx: Tx, asked: Sequence[Asked[Named]], _: datetime) -> list[Schedule | Refusal]:
    """Let schedules rest, until somebody resumes them."""
    return [await _changed(tx, each.command.name, "pause") for each in asked]


async def resume_schedules(tx: Tx, asked: Sequence[Asked[Named]], at: datetime) -> list[Schedule | Refusal]:
    """Let schedules that rest go on with their next tick; those missed meanwhile stay so."""
    answers: list[Schedule | Refusal] = []
    for each in asked:
        try:
            found = await find(tx, each.command.name)
        except ScheduleNotFound as refusal:
            answers.append(refusal)
            continue
        next_at = cron.next_instant(found.cron, zone(found.zone), at)
        answers.append(await _changed(tx, found.name, "resume", next_at=next_at))
    return answers


async def _changed(tx: Tx, name: str, change: str, **values: object) -> Schedule | Refusal:
    await tx.do(sql[change], book=tx.book, name=_name(name), **values)
    try:
        return await find(tx, name)
    except ScheduleNotFound as refusal:
        return refusal


async def run_schedules(tx: Tx, asked: Sequence[Asked[Named]], at: datetime) -> list[Schedule | Refusal]:
    """Let schedules fire now, once, beside their ticks, even those that rest."""
    answers: list[Schedule | Refusal] = []
    for each in asked:
        fired = await tx.do(sql["fire_by_hand"], book=tx.book, name=_name(each.command.name), firing=each.id, at=at)
        if not fired:
            answers.append(ScheduleNotFound(schedule=each.command.name[:63]))
            continue
        tx.wake(RUN.name)
        answers.append(await find(tx, each.command.name))
    return answers


# Queries -------------------------------------------------------------------------------------------------------------


async def find(tx: Tx, name: str) -> Schedule:
    """Return one schedule."""
    found = await tx.row(sql["schedule"], _shown, book=tx.book, name=_name(name))
    if found is None:
        raise ScheduleNotFound(schedule=name[:63])
    return found


def _name(given: str) -> str:
    """Return a name that the database can be asked for, whatever was given."""
    return given[:63].replace("\0", "")


async def schedules(tx: Tx, *, after: str = "", most: int = 100) -> list[Schedule]:
    """Return schedules by name."""
    return await tx.rows(sql["schedules"], _shown, book=tx.book, after=after, most=most)


# Stages --------------------------------------------------------------------------------------------------------------


async def _tick(tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Leave a firing for each schedule that is due, and say when it comes again: after now, so once for all missed."""
    due = await tx.rows(sql["due"], _Due, book=tx.book, ids=array(batch))
    following = {each.id: cron.next_instant(each.cron, zone(each.zone), at) for each in due}
    going = [each for each in due if following[each.id] is not None]
    tx.later(
        sql["fire"], book=tx.book, ids=array([ids.derived("firing", str(each.id), str(each.next_at)) for each in going]),
        schedules=array([each.id for each in going]), at=at,
    )  # fmt: skip
    tx.later(
        sql["go_on"], book=tx.book, ids=array([each.id for each in going]), times=[following[each.id] for each in going]
    )
    tx.wake(RUN.name)
    return {each.id: Aside("its cron does not come any more") for each in due if following[each.id] is None}


async def _run(tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Do the jobs of firings, each in the transaction that says that it is done."""
    not_yet: dict[UUID, NotYet] = {}
    for each in await tx.rows(sql["waiting"], _Waiting, book=tx.book, ids=array(batch)):
        job = declared.JOBS.get(each.job)
        if job is None:
            not_yet[each.id] = Aside(f"there is no job {each.job} any more")
            continue
        given = msgspec.json.decode(each.arguments, type=job.takes, strict=False)
        await job.run(tx, Firing(each.id, each.schedule, each.due_at, at, each.by, given))
        tx.later(sql["done"], book=tx.book, id=each.id, at=at)
    return not_yet


async def forget(tx: Tx, before: datetime) -> int:
    """Drop firings that were done before an instant."""
    return await tx.do(sql["forget_firings"], before=before)


TICK = Stage(
    "schedules.tick", "schedules", "schedule", "active", Moves(_tick), about="schedules whose time has come fire",
    prefix="sch",
)  # fmt: skip
RUN = Stage(
    "schedules.run", "schedules", "firing", "waiting", Moves(_run), batch=1, about="what a schedule set going is done",
    prefix="fir",
)  # fmt: skip
STAGES = (TICK, RUN)

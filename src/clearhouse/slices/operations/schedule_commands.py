"""Every command about what happens by itself: schedules, and what was set aside."""

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.pipelines import aside, schedules
from clearhouse.kernel.pipelines.aside import Retried, Retry
from clearhouse.kernel.pipelines.schedules import Named, Schedule, SetSchedule

WRITE = "jobs:write"


class RunEvent(msgspec.Struct, frozen=True):
    """What a reader of the journal is told of a schedule that somebody runs by hand."""

    firing: str


def _scheduled(asked: Asked[SetSchedule], _: Schedule) -> Line:
    return Line("schedules.set", asked.command.name, asked.command)


def _rested(_: Asked[Named], answer: Schedule) -> Line:
    return Line(f"schedules.{answer.state}", answer.name)


def _fired(asked: Asked[Named], answer: Schedule) -> Line:
    return Line("schedules.run", answer.name, RunEvent(ids.text(schedules.RUN.prefix, asked.id)))


def _retried(_: Asked[Retry], answer: Retried) -> Line:
    return Line("jobs.retried", answer.job, answer.ids)


SET = Kind(
    "schedules.set", WRITE, schedules.set_schedules, Schedule, _scheduled, natural=False,
    events={"schedules.set": SetSchedule},
)  # fmt: skip
PAUSE = Kind(
    "schedules.pause", WRITE, schedules.pause_schedules, Schedule, _rested, natural=False,
    events={"schedules.paused": None},
)  # fmt: skip
RESUME = Kind(
    "schedules.resume", WRITE, schedules.resume_schedules, Schedule, _rested, natural=False,
    events={"schedules.active": None},
)  # fmt: skip
RUN = Kind(
    "schedules.run", WRITE, schedules.run_schedules, Schedule, _fired, natural=False,
    events={"schedules.run": RunEvent},
)  # fmt: skip
RETRY = Kind(
    "jobs.retry", WRITE, aside.retry, Retried, _retried, natural=False,
    events={"jobs.retried": list[str]},
)  # fmt: skip

ALL = (SET, PAUSE, RESUME, RUN, RETRY)

"""What the products declared: stages, and jobs that a schedule may name. The composition root says which those are."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.refusals import Kind, Refusal

NAME = re.compile(r"[a-z][a-z0-9_]*([.][a-z0-9_]+)*")
STAGES: dict[str, Stage] = {}
JOBS: dict[str, "Job"] = {}


class JobUnknown(Refusal):
    """There is no job {job} here; there is {known}."""

    code = "job_unknown"
    kind = Kind.REFUSED


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job that takes no arguments."""


@dataclass(frozen=True, slots=True)
class Firing:
    """A schedule that fires: for which tick (`due_at`), when at last, with what arguments, and who set the schedule."""

    id: UUID
    schedule: str
    due_at: datetime
    at: datetime
    by: UUID
    arguments: Any


@dataclass(frozen=True, slots=True)
class Job:
    """What a schedule can set going: done in one transaction of the schedule's book, once a firing.

    `takes` is the type of its arguments: what is not of that type is refused when a schedule is written.
    """

    name: str
    about: str
    run: Callable[[Tx, Firing], Awaitable[None]]
    takes: type[Any] = Nothing


def declare(stages: Iterable[Stage], jobs: Iterable[Job]) -> None:
    """Add what a product brings; a name stands for one thing."""
    for stage in stages:
        if STAGES.setdefault(stage.name, stage) is not stage or NAME.fullmatch(stage.name) is None:
            raise ValueError(stage.name)
    for job in jobs:
        if JOBS.setdefault(job.name, job) is not job or NAME.fullmatch(job.name) is None:
            raise ValueError(job.name)


def job(name: str) -> Job:
    """Return a job by its name."""
    if name not in JOBS:
        raise JobUnknown(job=name[:100], known=", ".join(sorted(JOBS)) or "none")
    return JOBS[name]

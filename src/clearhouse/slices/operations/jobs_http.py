"""What happens by itself, over HTTP: how much of each kind of work waits, what was set aside, and trying that again."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter

from clearhouse import clock
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.pipelines import aside, rows
from clearhouse.kernel.pipelines.aside import Item, Retried, Retry, RowIds
from clearhouse.kernel.pipelines.declared import STAGES
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.slices.operations import schedule_commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "jobs:read"
_sql = Statements.of("clearhouse.slices.operations", "jobs.sql")
_ABOUT = {
    "number": "committed rows of the audit trail get their number and their link in the chain",
    "expire": "holds whose time has come are freed",
    "expire approvals": "requests that nobody decided on in time are ended",
    "send webhooks": "events that are due are sent to where webhooks lead, the ones that failed again",
    "total": "closed days get their sums per asset",
}
Asking = Request[Any, Any, Any]
JobPath = Annotated[str, PathParameter(description="A stage's name, as the list of jobs has it.", max_length=64)]


class Job(msgspec.Struct, frozen=True):
    """A kind of work that the workers do: how much of it is due since when, how much later or again, and what was set aside.

    One that stands in a queue is a stage: its failures are tried again, and set aside when that does not help.
    """

    name: str
    waiting: int
    since: datetime | None
    about: str
    queue: str | None = None
    later: int = 0
    retrying: int = 0
    set_aside: int = 0


class Queue(msgspec.Struct, frozen=True):
    """A queue of stages that share their workers: how much is due in it, since when, and what went wrong."""

    name: str
    stages: list[str]
    waiting: int
    since: datetime | None
    later: int
    retrying: int
    set_aside: int


class Again(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which rows to try again; without any, the first thousand."""

    ids: RowIds = []


def _job(name: str, waiting: int, since: datetime | None) -> Job:
    return Job(name, waiting, since, _ABOUT[name])


async def _stage(tx: Tx, stage: Stage, at: datetime) -> Job:
    depth = await rows.depth(tx, stage, at)
    count = await rows.aside_count(tx, stage)
    return Job(stage.name, depth.due, depth.since, stage.about, stage.queue, depth.later, depth.retrying, count)


async def _stages(tx: Tx) -> list[Job]:
    at = clock.now()
    return [await _stage(tx, STAGES[name], at) for name in sorted(STAGES)]


@get("/", summary="What waits for the workers")
async def list_jobs(request: Asking, book: Book = None) -> list[Job]:
    """Return every kind of work that happens by itself, with how much of it waits."""
    async with here(request).reading(READ, book) as tx:
        return [*await tx.rows(_sql["waiting"], _job, book=tx.book), *await _stages(tx)]


@get("/queues", summary="What waits in each queue")
async def list_queues(request: Asking, book: Book = None) -> list[Queue]:
    """Return the queues that stages stand in, with how much waits in each."""
    async with here(request).reading(READ, book) as tx:
        found = await _stages(tx)
    return [
        _queue(name, [each for each in found if each.queue == name]) for name in sorted({str(each.queue) for each in found})
    ]


def _queue(name: str, its: list[Job]) -> Queue:
    return Queue(
        name, [each.name for each in its], sum(each.waiting for each in its),
        min((each.since for each in its if each.since is not None), default=None), sum(each.later for each in its),
        sum(each.retrying for each in its), sum(each.set_aside for each in its),
    )  # fmt: skip


@get("/{job:str}/aside", summary="What a stage has set aside")
async def list_aside(
    request: Asking, job: JobPath, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Item]]:
    """Return the rows that failed too often, each with its last error."""
    async with here(request).reading(READ, book) as tx:
        found = await aside.items(tx, aside.find(job), after=cursor, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@post("/{job:str}/retry", summary="Try again what was set aside", status_code=200)
async def retry(
    request: Asking, job: JobPath, data: Annotated[Again, body({}, {"ids": ["fir_01KA5V0000000000000000000A"]})],
    book: Book = None, key: IdempotencyKey = None,
) -> Retried:  # fmt: skip
    """Let a stage try again rows that it has set aside, as if they had never failed."""
    return await here(request).submit(schedule_commands.RETRY, Retry(job, data.ids), book=book, key=key)


router = Router("/jobs", route_handlers=[list_jobs, list_queues, list_aside, retry], tags=["jobs"])

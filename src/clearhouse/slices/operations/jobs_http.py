"""What happens by itself, over HTTP: how much of each kind of work waits."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Router

from clearhouse.kernel.db.statements import Statements
from clearhouse.transport.http.routes import get
from clearhouse.transport.http.visits import Book, here

_sql = Statements.of("clearhouse.slices.operations", "jobs.sql")
_ABOUT = {
    "number": "committed rows of the audit trail get their number and their link in the chain",
    "expire": "holds whose time has come are freed",
    "expire approvals": "requests that nobody decided on in time are ended",
    "send webhooks": "events that are due are sent to where webhooks lead, the ones that failed again",
    "total": "closed days get their sums per asset",
}


class Job(msgspec.Struct, frozen=True):
    """A kind of work that the workers do, and how much of it waits since when."""

    name: str
    waiting: int
    since: datetime | None
    about: str


def _job(name: str, waiting: int, since: datetime | None) -> Job:
    return Job(name, waiting, since, _ABOUT[name])


@get("/", summary="What waits for the workers")
async def list_jobs(request: Request[Any, Any, Any], book: Book = None) -> list[Job]:
    """Return every kind of work that happens by itself, with how much of it waits."""
    async with here(request).reading("jobs:read", book) as tx:
        return await tx.rows(_sql["waiting"], _job, book=tx.book)


router = Router("/jobs", route_handlers=[list_jobs], tags=["jobs"])

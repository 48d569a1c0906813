"""A house for a bench: a server for one run, an API in a process of its own, and somebody who may do the work.

Promise: nothing is measured on a database that is somebody's.
"""

import asyncio
import base64
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

from cyclopts import Parameter

from clearhouse import clock, ids
from clearhouse.app import server, worker
from clearhouse.app.bench.rounds import Contestant, Report, Tell, chosen, race, report
from clearhouse.app.config import Config
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap, keys, principals
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.principals import AddPrincipal
from clearhouse.kernel.access.roles import scopes_of
from clearhouse.kernel.access.sealing import KEY_BYTES
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.refusals import Kind, Refusal

ENDING_SECONDS = 2.0


class ApiSilent(Refusal):
    """The API did not start; `clearhouse api` says why."""

    code = "api_silent"
    kind = Kind.UNAVAILABLE


class WrongCount(Refusal):
    """{name}: {acknowledged} were acknowledged and {found} are in the ledger."""

    code = "wrong_count"
    kind = Kind.REFUSED


@dataclass(frozen=True, slots=True)
class _Number:
    id: int


@dataclass(frozen=True, slots=True)
class How:
    """How long a bench runs, what of it, and how it tells what it found."""

    seconds: Annotated[int, Parameter(help="How long the whole run takes, or one round if that is longer.")] = 90
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object instead of a table.")] = False
    only: Annotated[str, Parameter(help="Measure only what has this in its name, and what it is measured against.")] = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a bench takes place: a database, and its owner's address."""

    dsn: str
    database: Database
    tell: Tell


Prepared = Callable[[Ground], AbstractAsyncContextManager[Sequence[Contestant]]]


async def measured(bench: str, prepared: Prepared, how: How, tell: Tell) -> Report:
    """Measure on a server of our own what is prepared on it, starting and ending included in the seconds."""
    until = perf_counter() + how.seconds - ENDING_SECONDS
    async with AsyncExitStack() as stack:
        config = Config(data=stack.enter_context(folder()))
        dsn = await stack.enter_async_context(server.owner_address(config, tell))
        database = await stack.enter_async_context(server.opened(dsn, tell))
        contestants = chosen(await stack.enter_async_context(prepared(Ground(dsn, database, tell))), how.only)
        server.steady()  # as the server itself does
        await race(contestants, until=until, tell=tell)
    return report(bench, contestants)


@asynccontextmanager
async def working(door: Door, *, stages: Iterable[Stage] = ()) -> AsyncGenerator[None]:
    """Let a worker work, on these stages, for as long as the block lasts; then shut the door."""
    task = asyncio.create_task(worker.work(door.database, door.committed, stages=stages))
    try:
        yield
        await door.close()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def folder() -> Generator[Path]:
    """Give a data folder for one run, on a way that PostgreSQL's user may go."""
    with tempfile.TemporaryDirectory(prefix="clearhouse-bench-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        yield Path(made) / "data"


@asynccontextmanager
async def api(dsn: str) -> AsyncGenerator[str]:
    """Run the API in a process of its own, as it would be."""
    environment = os.environ | {"DATABASE_URL": dsn, "HTTP_PORT": "0", "GRPC_PORT": "0", "RATE_LIMIT": "10000000"}
    environment["SECRETS_KEYS"] = base64.b64encode(os.urandom(KEY_BYTES)).decode()  # else one is made where we stand
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "clearhouse.app.cli", "api", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        url = ""
        while process.stderr is not None and not url:
            line = (await process.stderr.readline()).decode()
            url = line.partition("listening on ")[2].partition(" ")[0]
            if not line:
                raise ApiSilent
        yield url
    finally:
        process.terminate()
        await process.wait()


async def caller_of(database: Database) -> tuple[Caller, int, str]:
    """Add somebody who may work and read in the main book; return it, the book's number and a key."""
    await bootstrap.ensure_admin(database, None)
    async with database.writing() as tx:
        tx.book = (await tx.rows("SELECT id FROM book WHERE name = 'main'", _Number))[0].id
        at, own = clock.now(), ids.fresh()
        added = AddPrincipal("the bench", roles=["operator", "viewer"], kind="service")
        await principals.add_principals(tx, [Asked(added, own, ids.NOBODY)], at)
        issued = await keys.issue_keys(tx, [Asked(keys.IssueKey(ids.text("prn", own)), ids.fresh(), ids.NOBODY)], at)
    if isinstance(issued[0], Refusal):
        raise issued[0]
    scopes = {tx.book: scopes_of(["operator", "viewer"])}
    return Caller(own, "the bench", books={"main": tx.book}, scopes=scopes), tx.book, issued[0].secret

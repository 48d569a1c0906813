"""A house for a bench: a data folder for one run, an API in a process of its own, and somebody who may do the work."""

import asyncio
import base64
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap, keys, principals
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.principals import AddPrincipal
from clearhouse.kernel.access.roles import scopes_of
from clearhouse.kernel.access.sealing import KEY_BYTES
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Kind, Refusal


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


@contextmanager
def folder() -> Generator[Path]:
    """Give a data folder for one run, on a way that PostgreSQL's user may go."""
    with tempfile.TemporaryDirectory(prefix="clearhouse-bench-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o711)
        yield Path(made) / "data"


@asynccontextmanager
async def api(dsn: str) -> AsyncGenerator[str]:
    """Run the API in a process of its own, as it would be."""
    environment = os.environ | {"DATABASE_URL": dsn, "HTTP_PORT": "0", "RATE_LIMIT": "10000000"}
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

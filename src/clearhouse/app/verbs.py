"""The verbs that run things here: the server, its database, backups, and a lost key."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from clearhouse.app import logs, seals, server
from clearhouse.app.config import Config
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db import backup as backups
from clearhouse.kernel.db.embedded import EmbeddedServer


def run() -> None:
    """Run everything in one process: the database, the API and the worker. Ctrl-C ends it."""
    _forever(api=True, work=True)


def api() -> None:
    """Run only the API, beside workers elsewhere; they share DATABASE_URL."""
    _forever(api=True, work=False)


def worker() -> None:
    """Run only the worker, beside APIs elsewhere; they share DATABASE_URL."""
    _forever(api=False, work=True)


def migrate() -> None:
    """Bring the schema up to date, and say what was missing."""

    async def do() -> None:
        async with _reachable(Config.read()) as dsn, server.opened(dsn, tell):
            tell("the schema is up to date")

    uvloop.run(do())


def backup(target: Path, *, logical: bool = False) -> None:
    """Back up, while the server runs or not.

    Parameters
    ----------
    target
        A folder for dated copies of the whole server; with --logical the file to write.
    logical
        Dump our schema, for any PostgreSQL that is not older, instead of copying this server's files.

    """

    async def do() -> None:
        config = Config.read()
        async with _reachable(config) as dsn:
            take = backups.logical if logical else backups.physical
            tell(f"kept in {await take(dsn, target, progress=tell)}")
        tell(seals.where_keys_are(config))

    uvloop.run(do())


def restore(source: Path) -> None:
    """Restore a backup into what is empty: a copy into the data folder, a dump into the database.

    Parameters
    ----------
    source
        What `clearhouse backup` made.

    """
    folder = source.is_dir()

    async def do() -> None:
        config = Config.read()
        if folder:
            await backups.restore(source, config.data, progress=tell)
        else:
            async with _reachable(config) as dsn:
                await backups.restore(source, dsn, progress=tell)
        tell("restored; put the keys for secrets back before the first start, or what they sealed has to be replaced")

    uvloop.run(do())


def recover() -> None:
    """Make a new administrator's key, on the machine of the database, when the last one is lost; it is audited."""

    async def do() -> None:
        async with _reachable(Config.read()) as dsn, server.opened(dsn, tell) as database:
            sys.stdout.write(await bootstrap.recover_admin(database) + "\n")

    uvloop.run(do())


def tell(line: str) -> None:
    """Say something to whoever watches."""
    sys.stderr.write(f"clearhouse: {line}\n")
    sys.stderr.flush()


def _forever(*, api: bool, work: bool) -> None:
    config = Config.read()
    logs.configure(config.log_level)
    uvloop.run(server.run(config, tell, api=api, work=work))


@asynccontextmanager
async def _reachable(config: Config) -> AsyncGenerator[str]:
    """Give the owner's address: of a server that runs already, or of one that runs for as long as the block lasts."""
    running = None if config.database_url is not None else EmbeddedServer.address(config.data)
    if running is not None:
        yield running
        return
    async with server.owner_address(config, tell) as dsn:
        yield dsn

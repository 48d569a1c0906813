"""The command line: the verbs that run things here, and the verbs that ask a server."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from cyclopts import App, Group

from clearhouse.app import logs, server
from clearhouse.app.bench import ledger as bench_ledger
from clearhouse.app.bench import printing
from clearhouse.app.config import Config
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db import backup as backups
from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import access_cli, approvals_cli, audit_cli, jobs_cli, ledger_cli
from clearhouse.transport.cli.client import Refused

REFUSED = 2
RUN = Group("Run", sort_key=0)
DATA = Group("Data", sort_key=1)
app = App(name="clearhouse", help="Clearhouse: a settlement platform that you run yourself.")
for verbs in (ledger_cli.app, audit_cli.app, access_cli.app, jobs_cli.app, approvals_cli.app):
    app.command(verbs)


@app.command(group=RUN)
def run() -> None:
    """Run everything in one process: the database, the API and the worker. Ctrl-C ends it."""
    _forever(api=True, work=True)


@app.command(group=RUN)
def api() -> None:
    """Run only the API, beside workers elsewhere; they share DATABASE_URL."""
    _forever(api=True, work=False)


@app.command(group=RUN)
def worker() -> None:
    """Run only the worker, beside APIs elsewhere; they share DATABASE_URL."""
    _forever(api=False, work=True)


@app.command(group=DATA)
def migrate() -> None:
    """Bring the schema up to date, and say what was missing."""

    async def do() -> None:
        async with _reachable(Config.read()) as dsn, server.opened(dsn, tell):
            tell("the schema is up to date")

    uvloop.run(do())


@app.command(group=DATA)
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
        async with _reachable(Config.read()) as dsn:
            take = backups.logical if logical else backups.physical
            tell(f"kept in {await take(dsn, target, progress=tell)}")

    uvloop.run(do())


@app.command(group=DATA)
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
        tell("restored")

    uvloop.run(do())


@access_cli.app.command
def recover() -> None:
    """Make a new administrator's key, on the machine of the database, when the last one is lost; it is audited."""

    async def do() -> None:
        async with _reachable(Config.read()) as dsn, server.opened(dsn, tell) as database:
            sys.stdout.write(await bootstrap.recover_admin(database) + "\n")

    uvloop.run(do())


bench_verbs = App(name="bench", help="Measure, as ratios to references in the same run.")
app.command(bench_verbs)


@bench_verbs.command
def ledger(*, seconds: int = 90, json: bool = False, tigerbeetle: str | None = None, behind: int = 0) -> None:
    """Measure posting and reading against pgbench, COPY and, if there is one, TigerBeetle.

    Parameters
    ----------
    seconds
        How long the whole run takes, about.
    json
        Print one JSON object instead of a table.
    tigerbeetle
        HOST:PORT of a TigerBeetle server, to send it the same batches.
    behind
        How many transfers to post before measuring; that takes time beyond the seconds.

    """
    found = uvloop.run(bench_ledger.run(seconds, tigerbeetle=tigerbeetle, behind=behind, tell=tell))
    printing.show(found, as_json=json)


def main(words: Sequence[str] | None = None) -> None:
    """Run a verb; a refusal is a sentence and exit code 2."""
    try:
        app(sys.argv[1:] if words is None else words)
    except (Refusal, Refused) as refusal:
        sys.stderr.write(f"clearhouse: {refusal} [{refusal.code}]\n")
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(130)


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


if __name__ == "__main__":
    main()

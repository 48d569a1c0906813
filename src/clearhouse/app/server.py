"""The server: the database opened, the doors on it, and what ends all of it cleanly."""

import asyncio
import gc
import hashlib
import hmac
import secrets
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog
import uvicorn

from clearhouse.app import buses, inbox, seals, worker
from clearhouse.app.config import Config
from clearhouse.app.ending import let_go
from clearhouse.app.products import CHECKS, EVENTS, FIGURES, ROUTERS, SERVICES, STAGES, SUBSCRIPTIONS, WORKS
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.limits import limiter
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db import migrations
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.home import write_private
from clearhouse.kernel.db.loops import went_well
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank import engines
from clearhouse.slices.interbank.bank.client import Line
from clearhouse.slices.operations import ledger_http
from clearhouse.transport.cli.client import KEY_FILE, URL_FILE
from clearhouse.transport.http.application import application, framework
from clearhouse.transport.http.catalogue import catalogue
from clearhouse.transport.http.feed import Feed
from clearhouse.transport.rpc import serving as rpc
from clearhouse.transport.rpc.serving import Tls
from clearhouse.transport.webhooks.addresses import NETWORK

SECRET_FILE = "jwt.secret"  # noqa: S105 - the name of a file
EXPRESS = (ledger_http.EXPRESS,)
BACKLOG = 2_048
GRACE_SECONDS = 10

Tell = Callable[[str], None]
_log = structlog.get_logger(__name__)


class PortTaken(Refusal):
    """Port {port} on {host} is in use by another program, or not ours to use; set HTTP_PORT to a free one."""

    code = "port_taken"
    kind = Kind.CONFLICT


class TlsIncomplete(Refusal):
    """Of GRPC_TLS_CERT and GRPC_TLS_KEY one is missing: gRPC speaks TLS, and knows its clients, only with both."""

    code = "grpc_tls_incomplete"
    kind = Kind.MALFORMED


class _Server(uvicorn.Server):
    """Uvicorn without its own ideas about signals: whoever runs it ends it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def owner_address(config: Config, tell: Tell) -> AsyncGenerator[str]:
    """Give the owner's address: DATABASE_URL, or the embedded server's for as long as the block lasts."""
    if config.database_url is not None:
        yield config.database_url
        return
    memory = None if config.memory_megabytes is None else config.memory_megabytes * 1024 * 1024
    server = EmbeddedServer(config.data, progress=tell, memory_bytes=memory)
    dsn = await server.start()
    keeper = asyncio.create_task(_keep(server))
    try:
        yield dsn
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await server.stop()
        if not keeper.cancelled():
            await keeper  # it ended by itself: PostgreSQL could not be started again


async def _keep(server: EmbeddedServer) -> None:
    """Start PostgreSQL again when it was killed; what was acknowledged is there, and the pools find their way back."""
    while True:
        reason = await server.lost()
        _log.error("PostgreSQL is gone, starting it again", reason=reason)
        try:
            await server.restart()
        except Exception:
            signal.raise_signal(signal.SIGTERM)  # ends us with this as the last word
            raise


@asynccontextmanager
async def opened(dsn: str, tell: Tell) -> AsyncGenerator[Database]:
    """Bring the schema up to date and open the database as the application."""
    await migrations.migrate(dsn, applied=lambda step: tell(f"migration {step.number}: {step.name.replace('_', ' ')}"))
    database = await Database.open(await migrations.admit(dsn, _login_password(dsn)))
    try:
        yield database
    finally:
        await database.close()


def _login_password(dsn: str) -> str:
    """Return the application's password: the same in every process that knows the owner's, and of no use to find it."""
    return hmac.new(dsn.encode(), b"clearhouse_app", hashlib.sha256).hexdigest()


def steady() -> None:
    """Keep the collector from walking, again and again, through what lives as long as the process does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def run(config: Config, tell: Tell, *, api: bool = True, work: bool = True) -> None:
    """Run until a signal comes: the API, the worker, or both."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    bank, tls = _bank(config), _tls(config)
    listening = _listen(config) if api else None
    async with owner_address(config, tell) as dsn, opened(dsn, tell) as database:
        made = await bootstrap.ensure_admin(database, config.admin_key)
        if made is not None:
            await asyncio.to_thread(_keep_key, config.data, made)
            tell(f"first admin key (shown once, kept in {config.data / KEY_FILE}): {made}")
        await seals.open_seals(config, database, tell)
        door = Door(database)
        NETWORK.allow(config.webhook_networks)
        engines.lead(bank)
        steady()
        leaving = asyncio.create_task(let_go(database, ended))
        tasks: list[asyncio.Task[None]] = []
        does = _working(config, door) if work else worker.number(database, door.committed, STAGES)
        tasks.append(asyncio.create_task(does))
        try:
            if listening is None:
                tell("working; Ctrl-C ends it")
                await _until(ended, tasks)
            else:
                await _serve(config, door, listening=listening, tls=tls, tell=tell, ended=ended, tasks=tasks)
        finally:
            ended.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await door.close()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
    tell("stopped")


async def _working(config: Config, door: Door) -> None:
    works = (*WORKS, *inbox.works(config, door, SUBSCRIPTIONS))
    await worker.work(door.database, door.committed, works, stages=STAGES, reading=buses.readers(config))


async def _serve(
    config: Config, door: Door, *, listening: socket.socket, tls: Tls | None, tell: Tell, ended: asyncio.Event,
    tasks: list[asyncio.Task[None]],
) -> None:  # fmt: skip
    secret = config.jwt_secret or (_kept_secret(config.data) if config.database_url is None else "")
    gate = Gate(door.database, secret=secret)
    limits = limiter(config.rate_limit, config.redis_url)
    feed = Feed()
    entrance = application(
        framework(ROUTERS, catalogue=catalogue(EVENTS), figures=FIGURES),
        express=EXPRESS,
        door=door,
        gate=gate,
        limiter=limits,
        feed=feed,
        checks=(*CHECKS, *buses.checks(config)),
    )
    settings = uvicorn.Config(
        entrance, log_config=None, access_log=False, lifespan="off", backlog=BACKLOG, server_header=False,
        date_header=False, timeout_graceful_shutdown=GRACE_SECONDS, ws="none", proxy_headers=False,
    )  # fmt: skip
    calls = await rpc.serve(
        SERVICES,
        door=door,
        gate=gate,
        limiter=limits,
        feed=feed,
        host=config.http_host,
        port=config.grpc_port,
        tls=tls,
    )
    server = _Server(settings)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    aside = [asyncio.create_task(gate.trace()), asyncio.create_task(feed.run(door.database))]
    host, port = listening.getsockname()[:2]
    url = f"http://{host}:{port}"
    if config.database_url is None:
        await asyncio.to_thread(write_private, config.data / URL_FILE, url)
    tell(f"gRPC on {host}:{calls.port}")
    tell(f"listening on {url} (documentation at {url}/docs); Ctrl-C ends it")
    try:
        await _until(ended, [*tasks, *aside, serving])
    finally:
        ended.set()
        feed.end()
        server.should_exit = True
        await asyncio.gather(serving, calls.stop(grace=GRACE_SECONDS))
        for each in aside:
            each.cancel()
        await asyncio.gather(*aside, return_exceptions=True)
        await went_well("traces", gate.flush)
        await limits.close()


def _bank(config: Config) -> Line | None:
    """Return the line to the bank elsewhere, its certificates read once, so that a wrong file is told now."""
    if config.bank_url is None:
        return None
    line = Line(
        config.bank_url, config.bank_key, authority=config.bank_authority, certificate=config.bank_client_certificate,
        private_key=config.bank_client_key,
    )  # fmt: skip
    line.trust()
    return line


def _tls(config: Config) -> Tls | None:
    """Return what gRPC shows; half of it would leave the port open while it looks shut."""
    if config.grpc_certificate is None or config.grpc_key is None:
        if config.grpc_certificate or config.grpc_key or config.grpc_client_authority:
            raise TlsIncomplete
        return None
    return Tls(config.grpc_certificate, config.grpc_key, config.grpc_client_authority)


async def _until(ended: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for a signal, or for a task that should not end and did."""
    waiting = asyncio.create_task(ended.wait())
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done - {waiting}:
        await task


def _listen(config: Config) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in config.http_host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.http_host, config.http_port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortTaken(host=config.http_host, port=str(config.http_port)) from error
    listening.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
    return listening


def _keep_key(folder: Path, key: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / KEY_FILE, key + "\n")


def _kept_secret(folder: Path) -> str:
    path = folder / SECRET_FILE
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()

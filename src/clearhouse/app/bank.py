"""`clearhouse bank`: the simulated bank as a server of its own, on a database of its own."""

import asyncio
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import uvicorn
import uvloop
from cyclopts import Parameter
from litestar.types import ASGIApp

from clearhouse.app import logs, server
from clearhouse.app.config import Config
from clearhouse.app.verbs import tell
from clearhouse.kernel.db.home import write_private
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.bank.methods import AS_IN_LIFE
from clearhouse.slices.interbank.bank.server import application
from clearhouse.slices.interbank.bank.simulated import SimulatedBank

KEY_FILE = "bank.key"
GRACE_SECONDS = 1
BACKLOG = 2_048


class BankPortTaken(Refusal):
    """Port {port} on {host} is in use by another program, or not ours to use; give the bank a free one (BANK_PORT)."""

    code = "bank_port_taken"
    kind = Kind.CONFLICT


class CertificateNeeded(Refusal):
    """Without a certificate of its own the bank speaks no TLS, and {given} protects nothing; give BANK_CERTIFICATE."""

    code = "bank_certificate_needed"
    kind = Kind.MALFORMED


@dataclass(frozen=True, slots=True)
class Security:
    """Files for TLS: the bank's certificate and key, and the authority that its clients' certificates must come from."""

    certificate: Path | None = None
    private_key: Path | None = None
    clients: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what would look safe and not be so."""
        if self.certificate is None and (self.clients or self.private_key):
            raise CertificateNeeded(given="BANK_CLIENTS" if self.clients else "BANK_PRIVATE_KEY")


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none: whoever runs it ends it."""
        yield


def bank(
    *,
    port: Annotated[int, Parameter(env_var="BANK_PORT")] = 8087,
    host: Annotated[str, Parameter(env_var="BANK_HOST")] = "127.0.0.1",
    database_url: Annotated[str | None, Parameter(env_var="BANK_DATABASE_URL")] = None,
    key: Annotated[str | None, Parameter(env_var="BANK_KEY")] = None,
    certificate: Annotated[Path | None, Parameter(env_var="BANK_CERTIFICATE")] = None,
    private_key: Annotated[Path | None, Parameter(env_var="BANK_PRIVATE_KEY")] = None,
    clients: Annotated[Path | None, Parameter(env_var="BANK_CLIENTS")] = None,
    as_in_life: bool = False,
) -> None:
    """Run the simulated bank as a server of its own. Ctrl-C ends it.

    Parameters
    ----------
    port
        Where it listens; 0 is any free port.
    host
        On which address.
    database_url
        A PostgreSQL of its own; if none is named, one is run in the folder `bank` of the data folder.
    key
        The API key of its one customer; if none is given, one is made, told and kept beside its database.
    certificate
        Its certificate, a file: with it, it speaks TLS.
    private_key
        The key of its certificate, a file.
    clients
        The authority of its clients, a file: with it, only they are let in (mutual TLS).
    as_in_life
        Begin with the limits, speeds and cut-offs of real payment systems, not at once and for all.

    """
    config = Config.read()
    logs.configure(config.log_level)
    own = replace(config, data=config.data / "bank", database_url=database_url, http_host=host, http_port=port)
    uvloop.run(_run(own, key or _kept_key(own.data), Security(certificate, private_key, clients), as_in_life=as_in_life))


async def _run(config: Config, key: str, security: Security, *, as_in_life: bool) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    listening = _listen(config)
    async with server.owner_address(config, tell) as dsn, server.opened(dsn, tell) as database:
        simulated = SimulatedBank(database)
        if as_in_life:
            await simulated.control.set_terms(AS_IN_LIFE)
        async with served(application(simulated, key), listening, security) as url:
            tell(f"listening on {url} (the simulated bank, for book main); Ctrl-C ends it")
            await ended.wait()
    tell("stopped")


@asynccontextmanager
async def served(entrance: ASGIApp, listening: socket.socket, security: Security) -> AsyncGenerator[str]:
    """Serve on a socket for as long as the block lasts, and give the address."""
    settings = uvicorn.Config(
        entrance,
        log_config=None, access_log=False, lifespan="off", ws="none", server_header=False, date_header=False,
        proxy_headers=False, timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=security.certificate, ssl_keyfile=security.private_key,
        ssl_ca_certs=None if security.clients is None else str(security.clients),
        ssl_cert_reqs=ssl.CERT_NONE if security.clients is None else ssl.CERT_REQUIRED,
    )  # fmt: skip
    running = _Server(settings)
    serving = asyncio.create_task(running.serve(sockets=[listening]))
    host, port = listening.getsockname()[:2]
    try:
        yield f"{'http' if security.certificate is None else 'https'}://{host}:{port}"
    finally:
        running.should_exit = True
        await serving


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.http_host else socket.AF_INET
    try:
        return socket.create_server((config.http_host, config.http_port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise BankPortTaken(host=config.http_host, port=str(config.http_port)) from error


def _kept_key(folder: Path) -> str:
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(32))
    key = path.read_text().strip()
    tell(f"the key of its customer (kept in {path}): {key}")
    return key

"""What every test may ask for: a real PostgreSQL a worker, an empty database, a migrated one, and a whole house on it."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.access.sealing import SEALING, read_keys
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.migrations import admit, migrate
from hooking import Hooks
from house import SECRETS_KEY, House
from lending import Lending
from receiving import Receiver
from serving import MEMORY_BYTES, copied
from terminal import Terminal

PASSWORD = "the application's, in tests"
KEYS = read_keys(SECRETS_KEY, "tests")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def keys_for_secrets() -> None:
    """Give this process the keys that a start would give it, whatever keys the test before used."""
    SEALING.use(KEYS)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """Give a short-named temporary folder that the server's system user can reach, as pytest's own is not for root."""
    folder = Path(tempfile.mkdtemp(prefix="clearhouse-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def made(open_folder: Path) -> Path:
    """Give the data folder of a server that has its schema and nothing else: to be copied, since making it takes seconds."""
    folder = open_folder / "made"

    async def made_here() -> None:
        async with EmbeddedServer.running(folder, memory_bytes=MEMORY_BYTES) as dsn:
            await migrate(dsn)

    asyncio.run(made_here())
    return folder


@pytest.fixture(scope="session")
def laid_out(open_folder: Path, made: Path) -> Callable[[str], Path]:
    """Give a maker of data folders, each a copy of that one in a folder of its own."""

    def lay_out(prefix: str) -> Path:
        place = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=open_folder))
        place.chmod(0o711)
        return copied(made, place / "data")

    return lay_out


@pytest.fixture(scope="session")
def database_dsn(open_folder: Path, made: Path) -> Iterator[str]:
    """Give the owner's address on a server that lives as long as the worker."""
    folder = copied(made, open_folder / "shared")
    server = EmbeddedServer(folder, memory_bytes=MEMORY_BYTES, refuge=open_folder / "refuge")
    yield asyncio.run(server.start())
    asyncio.run(server.stop())
    asyncio.run(EmbeddedServer.destroy(folder))


@pytest.fixture
def fresh_dsn(database_dsn: str) -> Iterator[str]:
    """Give the owner's address on an empty database, dropped after the test."""
    with _made(database_dsn) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def template(database_dsn: str) -> Iterator[str]:
    """Give the name of a migrated database to copy from."""
    asyncio.run(admit(database_dsn, PASSWORD))
    with _made(database_dsn, str(conninfo_to_dict(database_dsn)["dbname"])) as dsn:
        yield str(conninfo_to_dict(dsn)["dbname"])


@pytest.fixture(scope="session")
def lending(database_dsn: str, template: str) -> Iterator[Lending]:
    """Give the copies of that one, which are lent to one test after another."""
    with Lending.opened(database_dsn, template) as opened:
        yield opened


@pytest.fixture
def owner_dsn(lending: Lending) -> Iterator[str]:
    """Give the owner's address on a migrated database of one's own: for looking behind the doors, and for tampering."""
    with lending.lent() as dsn:
        yield dsn


@pytest.fixture
def app_dsn(owner_dsn: str) -> str:
    """Give the application's address on the same database."""
    return make_conninfo(owner_dsn, user="clearhouse_app", password=PASSWORD)


@pytest.fixture(scope="module")
def shared_dsn(lending: Lending) -> Iterator[str]:
    """Give the application's address on a database for the tests of a module: each takes a book of its own in it."""
    with lending.lent() as dsn:
        yield make_conninfo(dsn, user="clearhouse_app", password=PASSWORD)


@pytest.fixture(scope="module")
async def shared_database(shared_dsn: str) -> AsyncGenerator[Database]:
    """Give the same database, open."""
    opened = await Database.open(shared_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def database(app_dsn: str) -> AsyncGenerator[Database]:
    """Give an open, migrated database of one's own."""
    opened = await Database.open(app_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def house(database: Database) -> AsyncGenerator[House]:
    """Give a whole house: every door open, one administrator, nothing in the books."""
    key = await bootstrap.ensure_admin(database)
    assert key is not None
    async with House.opened(database, key) as opened:
        yield opened


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Give a terminal to type at."""
    return Terminal(monkeypatch, capsys)


@pytest.fixture
async def hooks(house: House) -> AsyncGenerator[Hooks]:
    """Give the webhooks of a house."""
    async with Hooks.opened(house) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """Give a receiver of webhooks that thanks for everything."""
    async with Receiver.opened() as opened:
        yield opened


@contextmanager
def _made(server: str, template: str = "template1") -> Generator[str]:
    name = sql.Identifier(f"test_{secrets.token_hex(8)}")
    with psycopg.connect(make_conninfo(server, dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template)))
        try:
            yield make_conninfo(server, dbname=name.as_string(connection).strip('"'))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

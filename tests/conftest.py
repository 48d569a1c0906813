"""What every test may ask for: a real PostgreSQL, one a worker, and an empty database of one's own in it."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from clearhouse.kernel.db.embedded import EmbeddedServer

MEMORY_BYTES = 1024 * 1024 * 1024


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """Give a short-named temporary folder that the server's system user can reach, as pytest's own is not for root."""
    folder = Path(tempfile.mkdtemp(prefix="clearhouse-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database_dsn(open_folder: Path) -> Iterator[str]:
    """Give the owner's address on a server that lives as long as the worker."""
    folder = open_folder / "shared"
    server = EmbeddedServer(folder, memory_bytes=MEMORY_BYTES, refuge=open_folder / "refuge")
    yield asyncio.run(server.start())
    asyncio.run(server.stop())
    asyncio.run(EmbeddedServer.destroy(folder))


@pytest.fixture
def fresh_dsn(database_dsn: str) -> Iterator[str]:
    """Give the owner's address on an empty database, dropped after the test."""
    name = sql.Identifier(f"test_{secrets.token_hex(8)}")
    with psycopg.connect(make_conninfo(database_dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield make_conninfo(database_dsn, dbname=name.as_string(connection).strip('"'))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

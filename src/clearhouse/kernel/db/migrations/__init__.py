"""The schema's history: numbered SQL files, applied once each, in order, forward only, by `migrate`.

The kernel's are here; a slice keeps its own in a folder `migrations` of its own, which goes when the slice goes.

Promise: however many processes start at once, each step is applied exactly once; a step that was altered after it had been
applied is refused, since nobody could say any more what the database holds.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import LiteralString, cast

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from clearhouse.kernel.db import jobs
from clearhouse.kernel.db.faults import translated
from clearhouse.kernel.db.reaching import address
from clearhouse.refusals import Kind, Refusal

LOCK = 7_246_001
OLDEST_SERVER = 170_000


class AlteredMigration(Refusal):
    """Migration {number} ({name}) differs from the one this database was made with; restore the file as it was."""

    code = "altered_migration"
    kind = Kind.CONFLICT


class UnknownMigration(Refusal):
    """The database is at migration {number}, which this release does not know; run a newer release of Clearhouse."""

    code = "unknown_migration"
    kind = Kind.CONFLICT


class ServerTooOld(Refusal):
    """The database is PostgreSQL {version}; Clearhouse needs 17 or newer."""

    code = "server_too_old"
    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """Return what tells this text from any other."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return every step of the kernel and of the slices that are there, in order."""
    folders = [each / "migrations" for each in resources.files("clearhouse.slices").iterdir() if each.is_dir()]
    every = [file for folder in [resources.files(__name__), *folders] if folder.is_dir() for file in folder.iterdir()]
    found: list[Migration] = []
    for file in sorted([file for file in every if file.name.endswith(".sql")], key=lambda each: each.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return found


async def migrate(
    dsn: str, *, up_to: int | None = None, applied: Callable[[Migration], None] = lambda _: None
) -> list[Migration]:
    """Bring a database up to date (or up to a step) and return the steps that were missing."""
    try:
        async with await AsyncConnection[tuple[object, ...]].connect(
            address(dsn, name="clearhouse_migrate"), autocommit=True
        ) as connection:
            if connection.info.server_version < OLDEST_SERVER:
                raise ServerTooOld(version=str(connection.info.server_version // 10_000))
            await connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            missing = _missing(await _history(connection), up_to=up_to)
            for step in missing:
                await _apply(connection, step)
                applied(step)
            if up_to is None or up_to >= migrations()[-1].number:
                await jobs.bring_up_to_date(connection)
            return missing
    except psycopg.Error as error:
        raise translated(error) from error


async def admit(dsn: str, password: str) -> str:
    """Give the application's login a password and return the DSN to use it with."""
    where = address(dsn, name="clearhouse_migrate")
    async with await AsyncConnection[tuple[object, ...]].connect(where, autocommit=True) as connection:
        quoted = sql.SQL("ALTER ROLE clearhouse_app LOGIN PASSWORD {}").format(sql.Literal(password))
        await connection.execute(
            "SELECT pg_advisory_lock(%s)", [LOCK]
        )  # two at once would break off: one row, no lock of its own
        await connection.execute(quoted)
    return make_conninfo(dsn, user="clearhouse_app", password=password)


def _missing(known: dict[int, str], *, up_to: int | None) -> list[Migration]:
    steps = migrations()
    beyond = sorted(set(known) - {step.number for step in steps})
    if beyond:
        raise UnknownMigration(number=str(beyond[-1]))
    for step in steps:
        if known.get(step.number, step.digest) != step.digest:
            raise AlteredMigration(number=str(step.number), name=step.name)
    return [step for step in steps if step.number not in known and (up_to is None or step.number <= up_to)]


async def _history(connection: AsyncConnection[tuple[object, ...]]) -> dict[int, str]:
    await connection.execute("CREATE SCHEMA IF NOT EXISTS clearhouse")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS clearhouse.migration (number int PRIMARY KEY, name text NOT NULL,"
        " digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    cursor = await connection.execute("SELECT number, digest FROM clearhouse.migration")
    return {int(str(number)): str(digest) for number, digest in await cursor.fetchall()}


async def _apply(connection: AsyncConnection[tuple[object, ...]], step: Migration) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = clearhouse")
        await connection.execute(cast("LiteralString", step.text))
        await connection.execute(
            "INSERT INTO clearhouse.migration (number, name, digest) VALUES (%s, %s, %s)",
            [step.number, step.name, step.digest],
        )

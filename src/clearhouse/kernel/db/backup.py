"""Backups while the server runs, and restoring them.

Promise: a backup carries its final name only when it is whole and verified; restoring writes only into what is empty, and
what was restored is complete or not there. A physical backup is the whole server, for the same major version of PostgreSQL;
a logical one is our schema, for any version that is not older.
"""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from clearhouse import clock
from clearhouse.kernel.db import cluster, roles
from clearhouse.kernel.db.binaries import Program, binary, client, quiet, reachable_folder
from clearhouse.kernel.db.home import REFUGE, SUPERUSER, Home, claimed
from clearhouse.refusals import Kind, Refusal

SCHEMA = "clearhouse"
TAKE_OVER = """\
DO $$BEGIN IF to_regrole('{name}') IS NULL THEN CREATE ROLE {name}; END IF; END$$;
ALTER ROLE {name} SUPERUSER LOGIN REPLICATION PASSWORD '{password}';
"""

Progress = Callable[[str], object]


class NotABackup(Refusal):
    """{source} is not a backup of Clearhouse: {reason}."""

    code = "not_a_backup"
    kind = Kind.REFUSED


class TargetNotEmpty(Refusal):
    """{target} is not empty; a backup is restored only into what is empty."""

    code = "target_not_empty"
    kind = Kind.CONFLICT


async def physical(dsn: str, target: Path, *, progress: Progress = quiet) -> Path:
    """Copy the whole running server into a dated folder below `target`, verify the copy, and return that folder."""
    final = await asyncio.to_thread(_place, target / f"clearhouse-{clock.now():%Y%m%dT%H%M%SZ}")
    half = final.with_name(final.name + ".half")
    try:
        await client(dsn, "pg_basebackup", f"--pgdata={half}", "--wal-method=stream", "--checkpoint=fast",
                  "--manifest-checksums=SHA256", "--progress").run(progress)  # fmt: skip
        await verify(half, progress=progress)
        await asyncio.to_thread(half.rename, final)
    finally:
        await asyncio.to_thread(shutil.rmtree, half, ignore_errors=True)
    return final


async def logical(dsn: str, target_file: Path, *, progress: Progress = quiet) -> Path:
    """Dump our schema into one file, with a note of our roles beside it (`.roles.json`), and return the file."""
    file = await asyncio.to_thread(_place, target_file)
    half = file.with_name(file.name + ".half")
    try:
        await client(dsn, "pg_dump", "--format=custom", f"--schema={SCHEMA}", f"--file={half}", "--verbose").run(
            _steps(progress)
        )
        await roles.write_note(dsn, file)
        await asyncio.to_thread(half.rename, file)
    finally:
        await asyncio.to_thread(half.unlink, missing_ok=True)
    return file


async def verify(backup: Path, *, progress: Progress = quiet) -> None:
    """Compare every file of a physical backup with its manifest, and see that the write-ahead log it needs is there."""
    place = await asyncio.to_thread(backup.absolute)
    await Program(binary("pg_verifybackup"), [str(place)]).run(progress)


async def restore(source: Path, target: Path | str, *, progress: Progress = quiet, refuge: Path = REFUGE) -> None:
    """Restore a physical backup (a folder) into an empty data folder, or a logical one (a file) into an empty database."""
    kind = await asyncio.to_thread(_kind, source)
    if kind == "folder" and isinstance(target, Path):
        await _Physical(source, target, refuge, progress).restore()
    elif kind == "file" and isinstance(target, str):
        await _restore_logical(source, target, progress)
    else:
        reason = "a folder with a backup_manifest goes into a data folder, a file of pg_dump into a database"
        raise NotABackup(source=str(source), reason=reason)


def _kind(source: Path) -> str:
    if (source / "backup_manifest").is_file():
        return "folder"
    return "file" if source.is_file() else "nothing"


def _place(target: Path) -> Path:
    """Return where a new backup goes, absolute, with the folder above it there and nothing there yet."""
    place = target.absolute()
    if place.exists():
        raise TargetNotEmpty(target=str(place))
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


@dataclass(frozen=True, slots=True)
class _Physical:
    """A physical backup on its way into a data folder."""

    source: Path
    folder: Path
    refuge: Path
    progress: Progress

    async def restore(self) -> None:
        if await asyncio.to_thread(_has_content, self.folder):
            raise TargetNotEmpty(target=str(self.folder))
        await verify(self.source, progress=self.progress)
        with claimed(self.folder):
            home = Home.of(self.folder, self.refuge)
            try:
                half = cluster.empty_folder(home)
                self.progress("copying the files")
                await asyncio.to_thread(_copy, self.source, half, home)
                await self._settle(home, half)
                half.rename(home.pgdata)
            except BaseException:
                home.remove()
                raise

    async def _settle(self, home: Home, data: Path) -> None:
        """Bring a copied PGDATA to a consistent state, give it a password of its own, and write all of it to the disk."""
        programs = await asyncio.to_thread(reachable_folder, home.owner, self.refuge)
        cluster.configure(home, cluster.machine_memory_bytes())
        self.progress("recovering to a consistent state")
        alone = ["--single", "-D", str(data), "-c", f"config_file={cluster.settings_file(home)}", "-c", "exit_on_error=on"]
        statements = TAKE_OVER.format(name=SUPERUSER, password=home.password())
        await Program(programs / "postgres", [*alone, "postgres"], home.owner, given=statements).run(self.progress)
        await Program(programs / "initdb", ["--sync-only", f"--pgdata={data}"], home.owner).run(self.progress)


def _has_content(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _copy(source: Path, half: Path, home: Home) -> None:
    shutil.copytree(source, half, symlinks=True, dirs_exist_ok=True)
    for path in (half, *half.rglob("*")):
        home.owner.take(path)


async def _restore_logical(source: Path, dsn: str, progress: Progress) -> None:
    place = await asyncio.to_thread(source.absolute)
    await Program(binary("pg_restore"), ["--list", str(place)]).run()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace NOT IN "
            "(SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg\\_%' OR nspname = 'information_schema')"
        )
        row = await found.fetchone()
        if row != (0,):
            raise TargetNotEmpty(target=connection.info.dbname)
        await roles.make_noted(connection, source)
    await client(dsn, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--verbose",
              str(place)).run(_steps(progress))  # fmt: skip


def _steps(progress: Progress) -> Progress:
    """Return a listener that passes on what pg_dump and pg_restore say of each table, and not the rest."""
    return lambda line: progress(line.partition(": ")[2]) if ' table "' in line else None

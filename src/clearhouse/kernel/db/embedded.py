"""The embedded server: a real PostgreSQL in a data folder, started and stopped by us, for us alone.

Promise: one server a folder; what was acknowledged survives any kill, and a folder left by one is taken over; PostgreSQL
never outlives us; nothing listens on the network, and a password stands even before the private socket.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from clearhouse.kernel.db import cluster, guard
from clearhouse.kernel.db.binaries import environment, quiet, reachable_folder
from clearhouse.kernel.db.home import DATABASE, REFUGE, Home, claim, known_path
from clearhouse.kernel.db.survivors import forget_dead, stop_survivors
from clearhouse.refusals import Kind, Refusal

RECOVERY_SECONDS_MAX = 120.0
SHUTDOWN_SECONDS_MAX = 60.0
SECONDS_BETWEEN_LOOKS = 0.01
LINES_OF_REASON = 5

Progress = Callable[[str], None]


class ServerFailed(Refusal):
    """PostgreSQL did not start on {folder}: {reason}"""  # noqa: D400 - the reason ends it

    code = "server_failed"
    kind = Kind.UNAVAILABLE


class EmbeddedServer:
    """PostgreSQL on one data folder: `start()` gives the owner's address, `stop()` ends it, `lost()` waits for its death."""

    def __init__(
        self, folder: Path, *, progress: Progress = quiet, memory_bytes: int | None = None, refuge: Path = REFUGE
    ) -> None:
        self._folder = folder.absolute()
        self._progress = progress
        self._memory_bytes = memory_bytes or cluster.machine_memory_bytes()
        self._refuge = refuge
        self._lock: int | None = None
        self._run: _Run | None = None

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, *, progress: Progress = quiet, memory_bytes: int | None = None
    ) -> AsyncGenerator[str]:
        """Run a server for as long as the block lasts; its address is what `as` gives."""
        server = cls(folder, progress=progress, memory_bytes=memory_bytes)
        dsn = await server.start()
        try:
            yield dsn
        finally:
            await server.stop()

    @classmethod
    def address(cls, folder: Path) -> str | None:
        """Return the owner's address of the server that runs on a folder, be it of another process; None if none does."""
        path = known_path(folder)
        if path is None or not (path / "data").exists():
            return None
        home = Home.of(folder, REFUGE)
        sockets = home.socket_folder()
        return home.dsn(sockets) if sockets is not None and cluster.is_ready(home) else None

    @classmethod
    async def destroy(cls, folder: Path) -> None:
        """Remove the server of a folder with all its data, wherever they are kept; refuse if it runs."""
        if not await asyncio.to_thread(folder.exists):
            return
        lock = claim(folder)
        try:
            home = Home.of(folder, REFUGE)
            await stop_survivors(home.pgdata)
            await asyncio.to_thread(home.remove)
        finally:
            os.close(lock)

    async def start(self) -> str:
        """Start, after recovery if need be, and return the owner's address."""
        self._lock = claim(self._folder)
        try:
            home = Home.of(self._folder, self._refuge)
            programs = await self._prepare(home)
            return await self._launch(home, programs, home.open_socket_folder())
        except (OSError, psycopg.Error) as error:
            await self.stop()
            raise ServerFailed(folder=str(self._folder), reason=str(error)) from error
        except BaseException:
            await self.stop()
            raise

    async def restart(self) -> None:
        """Start again after `lost`, at the same address; the folder stays ours all the while."""
        if self._run is None:
            return
        home, sockets = self._run.home, self._run.home.socket_folder()
        await self._run.end()
        try:
            programs = await self._prepare(home)
            await self._launch(home, programs, sockets or home.open_socket_folder())
        except (OSError, psycopg.Error) as error:
            raise ServerFailed(folder=str(self._folder), reason=str(error)) from error

    async def stop(self) -> None:
        """Shut down fast, then at once if that takes too long; a server that does not run is left alone."""
        run, self._run = self._run, None
        try:
            if run is not None:
                await run.end()
                run.home.drop_socket_folder()
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                os.close(lock)

    async def lost(self) -> str:
        """Wait until PostgreSQL is gone, and say why as far as it said."""
        if self._run is None:
            return "PostgreSQL does not run"
        status = await self._run.status()
        return f"PostgreSQL ended with status {status}: {self._run.reason()}"

    async def _prepare(self, home: Home) -> Path:
        if await stop_survivors(home.pgdata):
            self._progress("PostgreSQL was still running there: stopped")
        forget_dead(home.pgdata)
        home.make()
        programs = await asyncio.to_thread(reachable_folder, home.owner, self._refuge)
        if not home.pgdata.exists():
            self._progress("making a new database")
            await cluster.create(home, programs)
        cluster.check(home)
        cluster.configure(home, self._memory_bytes)
        return programs

    async def _launch(self, home: Home, programs: Path, sockets: Path) -> str:
        self._run = run = _Run.begin(home, cluster.command(home, programs, sockets))
        await self._await_ready(run)
        await _ensure_database(home.dsn(sockets))
        return home.dsn(sockets)

    async def _await_ready(self, run: "_Run") -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RECOVERY_SECONDS_MAX
        while not cluster.is_ready(run.home):
            if run.ended.done() or loop.time() > deadline:
                raise ServerFailed(folder=str(self._folder), reason=run.reason())
            for line in run.news():
                self._progress(line)
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


@dataclass(slots=True)
class _Run:
    """One run of PostgreSQL below its guard, from the start of its log to its end."""

    home: Home
    guard: "subprocess.Popen[bytes]"
    log_start: int
    log_read: int
    ended: "Future[int]" = field(default_factory=Future)

    @classmethod
    def begin(cls, home: Home, command: list[str]) -> "_Run":
        with home.log.open("ab") as log:
            start = log.tell()
            run = cls(home, _spawn_guard(home, command, log.fileno()), start, start)
        run.ended.set_running_or_notify_cancel()  # whoever waits may be cancelled; the future may not
        threading.Thread(target=run._watch, daemon=True).start()
        return run

    def _watch(self) -> None:
        self.ended.set_result(self.guard.wait())

    async def status(self) -> int:
        return await asyncio.wrap_future(self.ended)

    async def end(self) -> None:
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        await self.status()
        await stop_survivors(self.home.pgdata)  # only if somebody killed the guard

    def news(self) -> list[str]:
        """Return what PostgreSQL said about its recovery since the last time."""
        with self.home.log.open("rb") as log:
            log.seek(self.log_read)
            lines = log.read().decode(errors="replace").splitlines()
            self.log_read = log.tell()
        return [line.partition("LOG:")[2].strip() for line in lines if "recovery" in line or "redo" in line]

    def reason(self) -> str:
        """Return the last that PostgreSQL said."""
        with self.home.log.open("rb") as log:
            log.seek(self.log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LINES_OF_REASON:]) or "it said nothing"


def _spawn_guard(home: Home, command: list[str], log: int) -> "subprocess.Popen[bytes]":
    uid, gid = (-1, -1) if home.owner.uid is None else (home.owner.uid, home.owner.gid)
    return subprocess.Popen(  # noqa: S603 - our own script and the server's own program
        [sys.executable, "-I", "-S", guard.__file__, str(SHUTDOWN_SECONDS_MAX), str(uid), str(gid), *command],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd="/",
        env=environment(home.path),
        start_new_session=True,
    )


async def _ensure_database(dsn: str) -> None:
    connection = await psycopg.AsyncConnection.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True)
    async with connection:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

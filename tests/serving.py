"""Another process that runs the embedded server on a folder: as a script the process itself, as a module its handle."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.home import Home
from clearhouse.kernel.db.survivors import postmaster_pid

MEMORY_BYTES = 1024 * 1024 * 1024
SECONDS_TO_END_MAX = 30.0
SOURCES = Path(__file__).parent.parent / "src"


@dataclass(frozen=True, slots=True)
class Serving:
    """A process of ours, its guard, and the PostgreSQL below, all by number."""

    process: "subprocess.Popen[str]"
    folder: Path
    dsn: str

    @property
    def postmaster(self) -> int:
        found = postmaster_pid(Home.of(self.folder, self.folder).pgdata)
        assert found is not None
        return found

    @property
    def guard(self) -> int:
        status = Path(f"/proc/{self.postmaster}/status").read_text()
        return int(status.partition("PPid:")[2].split()[0])

    def end(self, number: signal.Signals) -> int:
        """Send a signal to our process as a terminal would, to its whole group, and wait for it."""
        os.killpg(self.process.pid, number)
        return self.process.wait(SECONDS_TO_END_MAX)


def interpreter(user: int | None) -> str:
    """Return an interpreter that a user can run: ours may be where only root gets."""
    return sys.executable if user is None else "/usr/bin/python3"


def libraries() -> str:
    """Return where the libraries of this interpreter are, so that another of the same version finds them."""
    return os.pathsep.join([str(SOURCES), *(path for path in sys.path if path.endswith("site-packages"))])


@contextmanager
def serving(folder: Path, *, user: int | None = None) -> Generator[Serving]:
    """Run the server in a process of its own, as leader of a group of its own, and leave none of it behind."""
    process = subprocess.Popen(
        [interpreter(user), "-P", __file__, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": libraries()},
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield Serving(process, folder, process.stdout.readline().strip())
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END_MAX)
            process.kill()


def gone(pid: int) -> bool:
    """Wait for a process, of whoever, to end."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], SECONDS_TO_END_MAX)[0])
    finally:
        os.close(handle)


async def serve(folder: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with EmbeddedServer.running(folder, memory_bytes=MEMORY_BYTES) as dsn:
        sys.stdout.write(f"{dsn}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(Path(sys.argv[1])))

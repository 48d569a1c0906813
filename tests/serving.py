"""Other processes, and handles of them: the embedded server alone (this file as a script), or the program as it is run."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.home import Home
from clearhouse.kernel.db.survivors import postmaster_pid, survivors

Found = TypeVar("Found")
MEMORY_BYTES = 1024 * 1024 * 1024
SECONDS_TO_END_MAX = 60.0
SECONDS_TO_COME_MAX = 60.0
SECONDS_BETWEEN_LOOKS = 0.02
SOURCES = Path(__file__).parent.parent / "src"


@dataclass(frozen=True, slots=True)
class Started:
    """A process of ours, its guard, and the PostgreSQL below, all by number."""

    process: "subprocess.Popen[str]"
    folder: Path

    @property
    def pgdata(self) -> Path:
        return Home.of(self.folder, self.folder).pgdata

    @property
    def postmaster(self) -> int:
        found = postmaster_pid(self.pgdata)
        assert found is not None
        return found

    @property
    def family(self) -> list[int]:
        """Return everybody: us, the guard, and each process of PostgreSQL."""
        return [self.process.pid, self.guard, *survivors(self.pgdata)]

    @property
    def guard(self) -> int:
        status = Path(f"/proc/{self.postmaster}/status").read_text()
        return int(status.partition("PPid:")[2].split()[0])

    def end(self, number: signal.Signals) -> int:
        """Send a signal to our process as a terminal would, to its whole group, and wait for it."""
        os.killpg(self.process.pid, number)
        return self.process.wait(SECONDS_TO_END_MAX)


@dataclass(frozen=True, slots=True)
class Serving(Started):
    """The embedded server alone, and its owner's address."""

    dsn: str


@dataclass(frozen=True, slots=True)
class Program(Started):
    """`clearhouse run`, and the file with what it has told."""

    log: Path

    @property
    def told(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        return self.after("listening on ")

    @property
    def is_well(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=20).is_success
        return False

    def after(self, words: str) -> str:
        """Wait until it has told a line with these words, and return the word that follows them."""
        until(lambda: words in self.told or self.process.poll() is not None)
        assert words in self.told, self.told
        return self.told.partition(words)[2].split()[0]

    def ready(self) -> "Program":
        """Wait until it is well."""
        until(lambda: self.is_well)
        return self


def until(look: Callable[[], Found]) -> Found:
    """Look again and again until there is something, and return it."""
    deadline = time.monotonic() + SECONDS_TO_COME_MAX
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return found


def copied(folder: Path, place: Path) -> Path:
    """Copy a data folder on which nothing runs, as whoever moves house would, and return the copy."""
    subprocess.run(["cp", "-a", folder, place], check=True)
    return place


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
    with _ended(process):
        assert process.stdout is not None
        yield Serving(process, folder, process.stdout.readline().strip())


@contextmanager
def program(folder: Path, *, user: int | None = None, verb: str = "run", **settings: str) -> Generator[Program]:
    """Run a verb of the program on a folder, on a port that is free, and leave none of it behind."""
    given = {
        "CLEARHOUSE_DATA": str(folder),
        "HTTP_PORT": "0",
        "GRPC_PORT": "0",
        "MEMORY_MB": str(MEMORY_BYTES // 1024**2),
        **settings,
    }
    unset = {
        "DATABASE_URL",
        "REDIS_URL",
        "NATS_URL",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_TOPIC",
        "INBOX",
        "HTTP_HOST",
        "ADMIN_KEY",
        "JWT_SECRET",
        "SECRETS_KEYS",
        "BANK_URL",
        "BANK_AUTHORITY",
        "BANK_CLIENT_CERTIFICATE",
        "BANK_CLIENT_KEY",
        "GRPC_TLS_CERT",
        "GRPC_TLS_KEY",
        "GRPC_TLS_CLIENT_CA",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    log = folder.parent / f"told-{time.monotonic_ns()}"
    with log.open("w") as told:
        process = subprocess.Popen(
            [interpreter(user), "-P", "-m", "clearhouse.app.cli", verb],
            stdin=subprocess.DEVNULL, stdout=told, stderr=told, text=True, cwd="/",
            env={**inherited, "PYTHONPATH": libraries(), **given},
            user=user, group=user, extra_groups=None if user is None else [], start_new_session=True,
        )  # fmt: skip
    started = Program(process, folder, log)
    with _ended(process):
        try:
            yield started
        except BaseException:
            print(started.told)  # noqa: T201 - beside the test that failed
            raise


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Generator[None]:
    """End a process with the block, the hard way if it takes too long."""
    with process:
        try:
            yield
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END_MAX)
            process.kill()


def operator_key(url: str, admin_key: str) -> str:
    """Add somebody who posts and audits, by the administrator's key, and return a key of theirs."""
    headers = {"Authorization": f"Bearer {admin_key}"}
    with httpx.Client(base_url=f"{url}/api/v1/access", headers=headers, timeout=SECONDS_TO_COME_MAX) as admin:
        body = {"name": "somebody", "roles": ["operator", "auditor"], "kind": "service"}
        added = admin.post("/principals", json=body).raise_for_status().json()
        return str(admin.post(f"/principals/{added['id']}/keys", json={}).raise_for_status().json()["secret"])


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

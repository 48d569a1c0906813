"""Processes of PostgreSQL that outlived whoever started them on a folder.

Promise: only a process that is PostgreSQL and works in that very folder is ever signalled, through a handle that a
recycled process number cannot fool.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clearhouse.refusals import Kind, Refusal

SECONDS_BETWEEN_LOOKS = 0.02
PROC_TELLS = Path("/proc/self/exe").exists()
STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


class StillRunning(Refusal):
    """PostgreSQL still runs on {data} (process {pid}) and does not stop; end it by hand."""

    code = "postgres_still_running"
    kind = Kind.CONFLICT


async def stop_survivors(data: Path) -> bool:
    """Stop what still runs on a PGDATA, gently first, and tell whether there was anything."""
    if not survivors(data):
        return False
    for number, seconds in STEPS:
        for pid in _addressed(data, number):
            _signal(pid, number, data)
        if await _gone(data, seconds):
            return True
    raise StillRunning(data=str(data), pid=str(survivors(data)[0]))


def forget_dead(data: Path) -> None:
    """Remove the lock file of a PostgreSQL that is gone: it would not start if its number is another process's by now."""
    pid = postmaster_pid(data)
    if pid is not None and not survivors(data) and (PROC_TELLS or not _alive(pid)):
        (data / "postmaster.pid").unlink(missing_ok=True)


def survivors(data: Path) -> list[int]:
    """Return the processes of PostgreSQL that work in a PGDATA; none where /proc does not tell."""
    return [pid for pid in _pids() if _works_in(pid, data)]


def postmaster_pid(data: Path) -> int | None:
    """Return the process number that PostgreSQL left in its lock file."""
    with suppress(OSError, ValueError, IndexError):
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _addressed(data: Path, number: signal.Signals) -> list[int]:
    found = survivors(data)
    first = postmaster_pid(data)
    if first in found and number is not signal.SIGKILL:
        return [pid for pid in found if pid == first]  # the postmaster stops its children itself
    return found


def _signal(pid: int, number: signal.Signals, data: Path) -> None:
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if _works_in(pid, data):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


async def _gone(data: Path, seconds: float) -> bool:
    for _ in range(round(seconds / SECONDS_BETWEEN_LOOKS)):
        if not survivors(data):
            return True
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    return False


def _works_in(pid: int, data: Path) -> bool:
    with suppress(OSError):
        program = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
        return program == "postgres" and Path(f"/proc/{pid}/cwd").samefile(data)
    return False


def _pids() -> Iterator[int]:
    with suppress(OSError):
        yield from (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())

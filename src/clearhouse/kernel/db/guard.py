"""A small process between us and PostgreSQL, so that PostgreSQL never outlives us. Run as a script, stdlib only.

Promise: PostgreSQL is shut down when the pipe on stdin closes, which it does when we ask for it and equally when we die
by kill -9; and when this process itself is killed, the kernel asks PostgreSQL to shut down (on Linux).
(A parent-death signal on PostgreSQL alone would not do: it is tied to the thread that forked, and lost by setuid.)
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

PR_SET_PDEATHSIG = 1
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_FOR_IMMEDIATE_MAX = 10.0


def main(arguments: Sequence[str], pipe: int = 0) -> int:
    """Run `grace_seconds uid gid program arguments…` and return its status; a uid below 0 is our own."""
    grace_seconds, uid, gid = float(arguments[0]), int(arguments[1]), int(arguments[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ignored)
    child = _spawn(arguments[3:], user=uid if uid >= 0 else None, group=gid if uid >= 0 else None)
    threading.Thread(target=_shut_down_when_alone, args=(child, grace_seconds, pipe), daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


def _spawn(command: Sequence[str], *, user: int | None, group: int | None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - the server's own program
        command,
        stdin=subprocess.DEVNULL,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        preexec_fn=_die_with_guard,  # noqa: PLW1509 - this process has one thread as yet; runs after setuid, as it must
    )


def _die_with_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def _shut_down_when_alone(child: "subprocess.Popen[bytes]", grace_seconds: float, pipe: int) -> None:
    parent = os.getppid()
    while not select.select([pipe], [], [], SECONDS_BETWEEN_LOOKS)[0] and os.getppid() == parent:
        pass
    for number, seconds in ((signal.SIGINT, grace_seconds), (signal.SIGQUIT, SECONDS_FOR_IMMEDIATE_MAX)):
        child.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
            return
    child.kill()


def _ignored(_number: int, _frame: object) -> None:
    """Take a signal without dying of it; unlike SIG_IGN this is not passed on to PostgreSQL."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

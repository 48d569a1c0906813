"""Memory: how much of it PostgreSQL and this process have for themselves at the worst moment of a block.

Anonymous memory only: what is mapped from files and what is shared (the buffers) is there anyway. Where the system does not
tell (/proc), nothing is found.
"""

import os
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clearhouse.kernel.db.database import Database

SECONDS_BETWEEN_LOOKS = 0.02
KIBIBYTES_A_MEBIBYTE = 1_024


@dataclass(slots=True)
class Peak:
    """The most that was seen, in MiB."""

    postgres: float = 0.0
    python: float = 0.0

    def look(self, postmaster: int) -> None:
        """Look once more."""
        with suppress(OSError):
            children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii")
            self.postgres = max(self.postgres, sum(_anonymous(int(each)) for each in [*children.split(), postmaster]))
        self.python = max(self.python, _anonymous(os.getpid()))


async def postmaster_of(database: Database) -> int:
    """Return the process that all of PostgreSQL's processes come from."""
    async with database.writing() as tx:
        own = int(str((await tx.tuples("SELECT pg_backend_pid()"))[0][0]))
    return _of(own, "PPid")


@contextmanager
def watched(postmaster: int) -> Generator[Peak]:
    """Look now and then for as long as the block lasts, and at its end."""
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            peak.look(postmaster)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peak
    finally:
        peak.look(postmaster)
        over.set()
        looking.join()


def _anonymous(process: int) -> float:
    return _of(process, "RssAnon") / KIBIBYTES_A_MEBIBYTE


def _of(process: int, name: str) -> int:
    """Return a number from the status of a process; zero if it is gone."""
    with suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="utf-8"), re.MULTILINE)
        return 0 if found is None else int(found[1])
    return 0

"""Health: whether the server can do its work, and how every part behind it is.

Promise: anybody may ask, as often as they like: it is looked at once a second, for two seconds at most, and what is told is
how each part is and since how long something waits there, never what or how much. A loop that stands still, in this
process or any other, is a part, too, by its name (`loop_…`), with the seconds since it last came round.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import msgspec

from clearhouse.kernel.db import processes
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import DatabaseFault

VERSION = version("clearhouse")
LOOK_SECONDS_MAX = 2.0
MEMORY_SECONDS = 1.0
DATABASE = "database"


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a part is; `waiting_seconds` is since when something should have been done there."""

    status: Literal["ok", "late", "down", "unknown"]
    waiting_seconds: float | None = None


class Health(msgspec.Struct, frozen=True):
    """How the server is: `late` if a part is, `down` if it cannot reach its database."""

    status: Literal["ok", "late", "down"]
    version: str
    parts: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Check:
    """A part, and how to find out about it."""

    name: str
    look: Callable[[Tx], Awaitable[Part]]


class _Seconds(msgspec.Struct, frozen=True):
    seconds: float | None


def oldest(name: str, query: str, *, late: float) -> Check:
    """Return a check of how old the oldest is that waits, by a statement of its age; nothing waits if that is null."""

    async def look(tx: Tx) -> Part:
        found = await tx.row(query, _Seconds)
        if found is None or found.seconds is None or found.seconds < 0:
            return Part("ok")
        return Part("late" if found.seconds > late else "ok", round(found.seconds, 1))

    return Check(name, look)


class Pulse:
    """Takes the health of this process, for however many ask."""

    def __init__(self, database: Database, checks: Sequence[Check]) -> None:
        self._database = database
        self._checks = checks
        self._standing: dict[str, float] = {}
        self._look: asyncio.Task[Health] | None = None
        self._taken = 0.0

    async def take(self) -> Health:
        """Return how it is, or was a moment ago."""
        now = asyncio.get_running_loop().time()
        if self._look is None or (self._look.done() and now - self._taken > MEMORY_SECONDS):
            self._look = asyncio.create_task(self._looked())
        return await asyncio.shield(self._look)

    async def _looked(self) -> Health:
        parts = dict.fromkeys((each.name for each in self._checks), Part("unknown"))
        looking = asyncio.create_task(self._reached(parts))
        await asyncio.wait([looking], timeout=LOOK_SECONDS_MAX)
        self._taken = asyncio.get_running_loop().time()
        if not looking.done() or not looking.result():
            looking.cancel()  # nobody waits until it has let go of a connection that does not answer
            return Health("down", VERSION, {DATABASE: Part("down"), **parts})
        parts |= {f"loop_{name}": Part("late", round(its, 1)) for name, its in self._standing.items()}
        late = any(each.status != "ok" for each in parts.values())
        return Health("late" if late else "ok", VERSION, {DATABASE: Part("ok"), **parts})

    async def _reached(self, parts: dict[str, Part]) -> bool:
        """Find out about every part, and tell whether the database was there for that."""
        try:
            async with self._database.writing() as tx:
                for check in self._checks:
                    parts[check.name] = await check.look(tx)
                self._standing = await processes.standing(tx, self._database.loops)
        except DatabaseFault:
            return False
        return True

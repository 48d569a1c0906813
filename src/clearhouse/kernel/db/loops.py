"""Loops: what a process does again and again as long as it lives, and for how long each of them has not come round.

Promise: a turn that fails, whatever the reason, is told and tried again, and ends nothing else; of several things that have
their turn together none waits for another that fails; whoever asks hears which loop stands still, and since when.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from clearhouse import ids
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.faults import DatabaseFault, Lost, Stale

LATE_SECONDS = 60.0
WATCH_SECONDS = 10.0
Each = TypeVar("Each")
_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Loop:
    """One of them: when it last came round as it should, or began; it is late when that is so long ago."""

    name: str
    late_seconds: float
    came_round_at: float
    is_told: bool = False

    def came_round(self) -> None:
        """Say that a turn went well."""
        self.came_round_at = asyncio.get_running_loop().time()


class Loops:
    """Those of a process, which has an id as long as it lives."""

    def __init__(self) -> None:
        self.process = ids.fresh()
        self._turning: list[Loop] = []

    def late(self) -> dict[str, float]:
        """Return which loops stand still, and for how many seconds: those too that have ended and should not."""
        now = asyncio.get_running_loop().time()
        found = {each.name: now - each.came_round_at for each in self._turning}
        return {each.name: found[each.name] for each in self._turning if found[each.name] > each.late_seconds}

    @contextmanager
    def counted(self, name: str, *, late: float = LATE_SECONDS) -> Generator[Loop]:
        """Give a loop that comes round as long as the block lasts; one that was not cancelled stays, and is late."""
        turning = Loop(name, late, asyncio.get_running_loop().time())
        self._turning.append(turning)
        try:
            yield turning
        except (asyncio.CancelledError, GeneratorExit):
            self._turning.remove(turning)
            raise

    async def forever(
        self, name: str, do: Callable[[], Awaitable[object]], seconds: float, *, bell: Bell | None = None, late: float = 0.0
    ) -> None:
        """Do something with every stroke of a bell, and so many seconds after the last time, until cancelled."""
        rings = bell or Bell()
        with self.counted(name, late=max(late, LATE_SECONDS + seconds)) as turning:
            while True:
                strokes = rings.strokes
                if await went_well(name, do):
                    turning.came_round()
                await rings.after(strokes, seconds)

    async def watch(self) -> None:
        """Tell the log of each loop that stands still, once, until cancelled: a worker by itself has no other door."""
        while True:
            late = self.late()
            for each in self._turning:
                if each.name in late and not each.is_told:
                    _log.error("a loop stands still", loop=each.name, seconds=round(late[each.name]))
                each.is_told = each.name in late
            await asyncio.sleep(WATCH_SECONDS)


def heed() -> None:
    """Raise the cancel that whatever we waited for kept to itself: until Python 3.12 `asyncio.wait_for` does so at times."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def went_well(name: str, do: Callable[[], Awaitable[object]]) -> bool:
    """Have a turn, and tell whether it went well; why it did not is told to the log."""
    heed()
    try:
        await do()
    except Stale as fault:  # somebody came between: a posting, a closing, another worker
        _log.debug("met somebody, tried again soon", loop=name, reason=str(fault))
    except DatabaseFault as fault:
        _log.warning("not done, tried again soon", loop=name, reason=str(fault))
    except Exception as error:  # noqa: BLE001 - a fault of ours, or a row that nobody thought of: the other loops go on
        _log.error("a turn failed, tried again soon", loop=name, exc_info=error)
    else:
        return True
    return False


async def one_by_one(these: Iterable[Each], do: Callable[[Each], Awaitable[int]]) -> int:
    """Do something with each of these and return the sum; what fails is raised when all the others have had their turn."""
    count, failed = 0, list[Exception]()
    for each in these:
        try:
            count += await do(each)
        except Lost:
            raise  # nobody would fare better
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this one's affair
            if failed:
                _log.warning("another one failed", which=str(each), reason=repr(error))
            failed.append(error)
    if failed:
        raise failed[0]
    return count

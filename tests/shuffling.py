"""A real event loop that lets tasks go on in an order drawn by lot, and some of them late: as a busy machine might.

Only tasks, and what is told when they are done, are drawn; transports count on the order of their own callbacks.
"""

import asyncio
from random import Random
from typing import Any, cast

ONE_IN = 4
ROUNDS_LATE_MAX = 300  # of the loop; so many take about as long as the database does for an answer


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Draws from `chance` who goes on next."""

    _ready: Any  # the loop's own queue, which its stubs do not name

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.chance = chance
        self._round = 0
        self._late: list[tuple[int, asyncio.Handle]] = []

    def _run_once(self) -> None:
        """Draw among what is ready, then go round once."""
        self._round += 1
        waiting: list[asyncio.Handle] = list(self._ready)
        drawn = [each for each in waiting if _is_of_a_task(each)]
        due = [each for until, each in self._late if until <= self._round]
        self._late = [(until, each) for until, each in self._late if until > self._round]
        for each in drawn:
            if self.chance.randrange(ONE_IN):
                due.append(each)
            else:
                self._late.append((self._round + self.chance.randrange(1, ROUNDS_LATE_MAX), each))
        self.chance.shuffle(due)
        self._ready.clear()
        self._ready.extend([*(each for each in waiting if not _is_of_a_task(each)), *due])
        if self._late:
            self.call_soon(_nothing)  # so that nobody waits for the outside while some of us are late
        cast("Any", super())._run_once()


def _nothing() -> None:
    """Do nothing."""


def _is_of_a_task(handle: Any) -> bool:
    """Tell whether a callback is a step of a task, or tells somebody that one is done."""
    owner, arguments = getattr(handle._callback, "__self__", None), handle._args or ()
    return isinstance(owner, asyncio.Task) or any(isinstance(each, asyncio.Task) for each in arguments)

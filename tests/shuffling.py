"""A real event loop that lets tasks go on in an order drawn by lot, and some of them late: as a busy machine might.

Only tasks, and what is told when they are done, are drawn; transports count on the order of their own callbacks. Nothing
is lost, whoever tells it: other threads add to the queue of the loop while it is drawn from.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import Any, cast

# How many are late, one in so many, and by how much: often a little, or now and then for as long as several answers of the
# database take. Whoever is told that a task is done is one of a few, and may be late each second time.
STEPS = ((3, 0.000_5), (10, 0.004), (30, 0.015))
TOLD = ((4, 0.001), (2, 0.015))
POLL_SECONDS = 0.001  # the least that the system waits for


class ShuffledLoop(asyncio.SelectorEventLoop):
    """Draws from `chance` who goes on next."""

    _ready: Any  # the loop's own queue, which its stubs do not name

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.draw_from(chance)
        self._is_drawing = True
        self._steps = 0
        self._late: list[tuple[float, asyncio.Handle]] = []
        self._between: list[tuple[int, Callable[[], object]]] = []

    def draw_from(self, chance: Random) -> None:
        """Draw from another one, and at another pace."""
        self._chance = chance
        self._paces = {True: chance.choice(STEPS), False: chance.choice(TOLD)}

    @contextmanager
    def in_order(self) -> Generator[None]:
        """Draw nothing while the block lasts: for what a test prepares."""
        self._is_drawing = False
        try:
            yield
        finally:
            self._is_drawing = True

    def after_steps(self, count: int, do: Callable[[], object]) -> None:
        """Do something when tasks have gone on by so many steps: between any two of them."""
        self._between.append((self._steps + count, do))

    async def nothing_late(self) -> None:
        """Wait until everything that is late has come, and let nothing else be late meanwhile."""
        with self.in_order():
            while self._late:  # noqa: ASYNC110 - it is the loop itself that is looked at
                await asyncio.sleep(0)

    def _run_once(self) -> None:
        """Draw among what is ready, then go round once."""
        if self._is_drawing or self._late:
            self._draw()
        cast("Any", super())._run_once()

    def _draw(self) -> None:
        waiting: list[asyncio.Handle] = [self._ready.popleft() for _ in range(len(self._ready))]
        now, drawn = self.time(), [each for each in waiting if _is_of_a_task(each)]
        due = [each for until, each in self._late if until <= now]
        self._late = [(until, each) for until, each in self._late if until > now]
        for each in drawn:
            one_in, seconds_max = self._paces[_is_step(each)]
            if self._chance.randrange(one_in) or not self._is_drawing:
                due.append(each)
            else:
                self._late.append((now + seconds_max * self._chance.random(), each))
        self._steps += len(due)
        due += [asyncio.Handle(do, (), self) for after, do in self._between if after <= self._steps]
        self._between = [(after, do) for after, do in self._between if after > self._steps]
        self._chance.shuffle(due)
        self._ready.extend([*(each for each in waiting if not _is_of_a_task(each)), *due])
        if self._late:
            self._wake_at(min(until for until, _ in self._late), now)

    def _wake_at(self, then: float, now: float) -> None:
        """Wait for the outside no longer than until the next one that is late."""
        if then - now < POLL_SECONDS:
            self.call_soon(_nothing)
        else:
            self.call_at(then, _nothing)


def _nothing() -> None:
    """Do nothing."""


def _is_of_a_task(handle: Any) -> bool:
    """Tell whether a callback is a step of a task, or tells somebody that one is done."""
    return _is_step(handle) or any(isinstance(each, asyncio.Task) for each in handle._args or ())


def _is_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)

"""A loop that draws its order by lot loses nothing that it is told, by whomever."""

import asyncio
from collections.abc import Callable
from random import Random
from threading import Thread
from typing import Any

from shuffling import ShuffledLoop

ROUNDS = 10


class Interrupted(Random):
    """Lets another thread do something in the middle of each drawing."""

    then: Callable[[], object] | None = None

    def shuffle(self, x: Any) -> None:
        if self.then is not None:
            other = Thread(target=self.then)
            other.start()
            other.join()
        super().shuffle(x)


def test_what_another_thread_tells_while_the_order_is_drawn_is_heard() -> None:
    told, heard, chance = list[None](), list[None](), Interrupted(0)
    loop = ShuffledLoop(chance)

    def tell() -> None:
        told.append(None)
        loop.call_soon_threadsafe(heard.append, None)

    async def listened() -> None:
        chance.then = tell
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        chance.then = None
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(listened())
    assert len(told) >= ROUNDS
    assert heard == told

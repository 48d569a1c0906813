"""Loops: a turn that fails ends nothing, nobody waits for another that is broken, and one that stands still has a name."""

import asyncio

import pytest

from clearhouse.kernel.db import loops
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.faults import Lost, Poison, Stale
from clearhouse.kernel.db.loops import Loops, one_by_one

NEVER = 3_600.0


class Turns:
    """Fails as it is told, turn by turn, and rings for the next; it is over when nothing is left to fail with."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.bell = Bell()
        self.over = asyncio.Event()

    async def __call__(self) -> None:
        if self.failures:
            self.bell.strike()
            raise self.failures.pop()
        self.over.set()


async def ended(running: "asyncio.Task[None]") -> None:
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_a_turn_that_fails_is_tried_again_whatever_it_failed_with() -> None:
    turns = Turns(KeyError("nobody thought of it"), Lost("away"), Poison("no"), Stale("met"), TimeoutError())
    running = asyncio.create_task(Loops().forever("turning", turns, NEVER, bell=turns.bell))
    async with asyncio.timeout(30):
        await turns.over.wait()
    await ended(running)


async def test_a_loop_whose_turns_fail_stands_still_and_one_that_was_cancelled_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loops, "LATE_SECONDS", -NEVER - 1.0)  # so that all are late, however lately they came round
    known = Loops()
    turns = Turns()
    running = asyncio.create_task(known.forever("turning", turns, NEVER, bell=turns.bell))
    await turns.over.wait()
    assert [*known.late()] == ["turning"]
    await ended(running)
    assert known.late() == {}


async def test_a_loop_that_ended_by_itself_is_late_for_ever() -> None:
    known = Loops()
    with pytest.raises(KeyError), known.counted("broken", late=-1.0):
        raise KeyError
    assert [*known.late()] == ["broken"]


async def test_a_loop_that_came_round_a_moment_ago_is_not_late() -> None:
    known = Loops()
    with known.counted("turning", late=30.0) as turning:
        turning.came_round_at -= 31.0
        assert round(known.late()["turning"]) == 31
        turning.came_round()
        assert known.late() == {}


async def test_of_several_each_has_its_turn_and_the_first_that_failed_is_raised() -> None:
    done: list[int] = []

    async def do(number: int) -> int:
        if number % 2:
            raise Poison(str(number))
        done.append(number)
        return number

    with pytest.raises(Poison, match="1"):
        await one_by_one(range(5), do)
    assert done == [0, 2, 4]
    assert await one_by_one([2, 4], do) == 6


async def test_where_the_database_is_away_nobody_else_is_asked_to_wait_for_it() -> None:
    asked: list[int] = []

    async def do(number: int) -> int:
        asked.append(number)
        raise Lost("away")

    with pytest.raises(Lost):
        await one_by_one(range(5), do)
    assert asked == [0]


async def test_a_cancel_that_was_kept_from_a_loop_by_what_it_waited_for_ends_it_all_the_same() -> None:
    began, bell = asyncio.Event(), Bell()

    async def keeps_it() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as asyncio.wait_for does when its answer comes with the cancel
            bell.strike()

    running = asyncio.create_task(Loops().forever("turning", keeps_it, NEVER, bell=bell))
    await began.wait()
    async with asyncio.timeout(30):
        await ended(running)


@pytest.mark.parametrize("steps", range(5))
async def test_a_stroke_that_comes_with_a_cancel_keeps_it_from_nobody(steps: int) -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.after(bell.strokes, NEVER))
    await asyncio.sleep(0)
    bell.strike()
    for _ in range(steps):  # the stroke is on its way for a few of them
        await asyncio.sleep(0)
    was_done = waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert was_done or waiting.cancelled()

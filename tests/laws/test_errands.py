"""An errand ends, with everything sent that was due, in whatever order its places, its answers and its news come."""

import asyncio
from contextlib import AsyncExitStack
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal.writing import Line
from clearhouse.transport.webhooks import errands
from clearhouse.transport.webhooks.errands import Errand
from hooking import Hooks
from house import House
from receiving import Receiver, Taken, answer
from shuffling import ShuffledLoop
from telling import tell
from trying import tried

SECONDS_MAX = 20.0  # an errand that stands still is found by this; one that ends takes a part of a second
FAILS = 500
STATUSES: tuple[int, ...] = (200, 200, 200, 204, FAILS)


async def as_told(taken: Taken) -> bytes:
    """Answer with the status that the event names."""
    return answer(int(taken.event["data"]["status"]))


async def happened(hooks: Hooks, statuses: list[int]) -> None:
    """Let something happen for each of these answers, and make the deliveries."""
    if statuses:
        given = [Line("a.x", "something", msgspec.to_builtins({"status": each})) for each in statuses]
        await tell(hooks.house.database, *given)
        await hooks.courier.spread()


async def run(hooks: Hooks, first: list[int], later: list[list[int]], broken_after: list[int]) -> None:
    """Run errands as a courier does, with more coming while they are under way, until nothing is due; break some off."""
    await happened(hooks, first)
    while due := await hooks.due():
        errand = Errand(hooks.house.database, hooks.courier.sender, due[0])
        running = asyncio.create_task(errand.run())
        while later:
            await happened(hooks, later.pop())
            errand.more()
        if broken_after:
            for _ in range(broken_after.pop()):
                await asyncio.sleep(0)
            running.cancel()
        await asyncio.wait([running], timeout=SECONDS_MAX)
        assert running.done()
        assert running.cancelled() or running.exception() is None
        assert not places_left()


def places_left() -> list[str]:
    """Return the places of an errand that still send."""
    return [str(each) for each in asyncio.all_tasks() if "Errand._place" in repr(each.get_coro())]


async def states(database: Database) -> dict[str, int]:
    """Return how many deliveries are in which state, those that were not answered by the reason, and forget them."""
    question = (
        "SELECT state || CASE WHEN status IS NULL THEN ': ' || answer ELSE '' END, count(*) FROM webhook_delivery GROUP BY 1"
    )
    async with database.writing() as tx:
        found = await tx.tuples(question)
        await tx.do("DELETE FROM webhook_delivery")
    return {str(state): int(str(count)) for state, count in found}


async def opened(stack: AsyncExitStack, dsn: str) -> tuple[Hooks, Receiver]:
    """Give a house with one webhook, and its receiver."""
    database = await Database.open(dsn)
    stack.push_async_callback(database.close)
    key = await bootstrap.ensure_admin(database)
    assert key is not None
    house = await stack.enter_async_context(House.opened(database, key))
    hooks = await stack.enter_async_context(Hooks.opened(house))
    receiver = await stack.enter_async_context(Receiver.opened(as_told))
    await hooks.add(receiver.url, "a.*")
    return hooks, receiver


def test_an_errand_ends_with_all_sent_in_whatever_order_its_places_come_and_go(
    app_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errands, "CLAIMED_FEW", 2)
    monkeypatch.setattr(errands, "CLAIMED_MANY", 8)
    loop = ShuffledLoop(Random(0))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        stack = AsyncExitStack()
        hooks, receiver = runner.run(opened(stack, app_dsn))

        async def lived(first: list[int], later: list[list[int]], broken_after: list[int]) -> None:
            await states(hooks.house.database)  # what a history before this one left, if it failed
            receiver.taken.clear()
            breaks, wanted = len(broken_after), [*first, *(each for lot in later for each in lot)]
            await run(hooks, first, later, broken_after)
            there = await states(hooks.house.database)
            failed = wanted.count(FAILS)
            unanswered = sum(count for state, count in there.items() if state.startswith("pending: "))
            assert there.get("delivered", 0) + unanswered == len(wanted) - failed
            assert there.get("pending", 0) == failed
            assert breaks or not unanswered  # one that is left in the middle may keep the next one waiting
            assert len(set(receiver.ids)) == len(wanted)
            assert len(receiver.ids) <= len(wanted) + breaks * errands.AT_ONCE  # what was on its way comes again

        @tried(25, many=5_000)
        @given(
            st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 20), st.lists(st.integers(0, 9), max_size=2),
            st.lists(st.integers(1, 60), max_size=4),
        )  # fmt: skip
        def law(seed: int, places: int, first: int, later: list[int], broken_after: list[int]) -> None:
            loop.chance = chance = Random(seed)
            monkeypatch.setattr(errands, "AT_ONCE", places)  # few, so that all of them leave often
            lots = [chance.choices(STATUSES, k=each) for each in later]
            runner.run(lived(chance.choices(STATUSES, k=first), lots, broken_after))

        law()
        runner.run(stack.aclose())

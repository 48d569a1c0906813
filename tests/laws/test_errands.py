"""An errand ends, with everything sent that was due, in whatever order its places, its answers and its news come."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_network
from random import Random
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal.writing import Line
from clearhouse.transport.webhooks import errands
from clearhouse.transport.webhooks.addresses import Network
from clearhouse.transport.webhooks.errands import Errand
from clearhouse.transport.webhooks.sending import Sender
from hooking import Hooks
from house import House
from receiving import Receiver, Taken, answer
from shuffling import ShuffledLoop
from telling import tell
from trying import tried

SECONDS_MAX = 30.0  # an errand that stands still is found by this; one that ends takes a part of a second
ANSWER_SECONDS_MAX = (
    2 * SECONDS_MAX
)  # so whatever keeps a place waiting stops its errand, and is no failure that is tried again
HERE = (ip_network("127.0.0.0/8"),)
FAILS = 500
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)  # a failure also hangs on when the database answers
STEPS = 120  # of all tasks together, while an errand lasts
STATUSES: tuple[int, ...] = (200, 200, 200, 204, FAILS)


async def as_told(taken: Taken) -> bytes:
    """Answer with the status that the event names."""
    return answer(int(taken.event["data"]["status"]))


async def at_once(host: str) -> Sequence[str]:
    """Look up an address, which is its own name, without a thread of its own: there are thousands."""
    return [host]


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
        if broken_after:
            drawing().after_steps(broken_after.pop(), running.cancel)
        try:
            while later:
                await happened(hooks, later.pop())
                errand.more()
            await asyncio.wait([running], timeout=SECONDS_MAX)
            assert running.done(), stacks()
            assert running.cancelled() or running.exception() is None
            await drawing().nothing_late()
            assert not places_left()
        finally:
            await ended(running)


async def ended(running: "asyncio.Task[bool]") -> None:
    """End an errand and its places, whatever they do: of a history that fails nothing goes on in the next."""
    left = [running, *(each for each in asyncio.all_tasks() if is_place(each))]
    for each in left:
        each.cancel()
    await asyncio.wait(left)


def drawing() -> ShuffledLoop:
    """Return the loop that all of this runs in."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShuffledLoop)
    return loop


def stacks() -> str:
    """Return where every task stands."""
    return "\n".join(f"{each.get_name()} {each.get_coro()} {each.get_stack(limit=1)}" for each in asyncio.all_tasks())


def is_place(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a task is a place of an errand."""
    return "Errand._place" in repr(task.get_coro())


def places_left() -> list[str]:
    """Return the places of an errand that still send."""
    return [str(each) for each in asyncio.all_tasks() if is_place(each)]


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
    hooks = await stack.enter_async_context(Hooks.opened(house, Sender(Network(HERE, at_once), seconds=ANSWER_SECONDS_MAX)))
    receiver = await stack.enter_async_context(Receiver.opened(as_told))
    await hooks.add(receiver.url, "a.*")
    return hooks, receiver


def unhurried(owner_dsn: str) -> None:
    """Let no commit wait for the disk: nothing is killed here, and thousands of histories are many commits."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(owner.info.dbname)))


def test_an_errand_ends_with_all_sent_in_whatever_order_its_places_come_and_go(
    app_dsn: str, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhurried(owner_dsn)
    monkeypatch.setattr(errands, "CLAIMED_FEW", 2)
    monkeypatch.setattr(errands, "CLAIMED_MANY", 8)
    loop = ShuffledLoop(Random(0))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        stack = AsyncExitStack()
        hooks, receiver = runner.run(opened(stack, app_dsn))

        async def lived(first: list[int], later: list[list[int]], broken_after: list[int]) -> None:
            with loop.in_order():
                await states(hooks.house.database)  # what a history before this one left, if it failed
            receiver.taken.clear()
            breaks, wanted = len(broken_after), [*first, *(each for lot in later for each in lot)]
            await run(hooks, first, later, broken_after)
            with loop.in_order():
                there = await states(hooks.house.database)
            failed = wanted.count(FAILS)
            told = {"delivered": len(wanted) - failed, "pending": failed}
            assert there == {state: count for state, count in told.items() if count}
            assert len(set(receiver.ids)) == len(wanted)
            assert len(receiver.ids) <= len(wanted) + breaks * errands.AT_ONCE  # what was on its way comes again

        @settings(tried(25, many=2_000), phases=UNSHRUNK)
        @given(
            st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 20), st.lists(st.integers(0, 9), max_size=2),
            st.lists(st.integers(1, STEPS), max_size=4),
        )  # fmt: skip
        def law(seed: int, places: int, first: int, later: list[int], broken_after: list[int]) -> None:
            chance = Random(seed)
            loop.draw_from(chance)
            monkeypatch.setattr(errands, "AT_ONCE", places)  # few, so that all of them leave often
            lots = [chance.choices(STATUSES, k=each) for each in later]
            runner.run(lived(chance.choices(STATUSES, k=first), lots, broken_after))

        law()
        runner.run(stack.aclose())

"""What an endpoint is sent in one run: over its places, claimed ahead of them, and given back if the run is broken off."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from clearhouse.transport.webhooks import errands
from clearhouse.transport.webhooks.errands import AT_ONCE, CLAIMED_FEW, CLAIMED_MANY
from hooking import Hooks
from receiving import Receiver, Taken, answer, fine

OPENED = "ledger.account_opened"
MANY = 2 * CLAIMED_MANY + 5


class Held:
    """Answers that wait until they are let go, but for those of the events that it lets through."""

    def __init__(self, *held: str, status: int = 200) -> None:
        self.held = held
        self.status = status
        self.over = asyncio.Event()

    async def __call__(self, taken: Taken) -> bytes:
        if not self.held or taken.event["data"]["code"] in self.held:
            await self.over.wait()
        return answer(self.status)


@asynccontextmanager
async def sending(hooks: Hooks, *, count: int) -> AsyncGenerator[asyncio.Task[None]]:
    """Make so many deliveries, and let them be sent for as long as the block lasts, or they do."""
    await hooks.happen(*(f"shop:{number}" for number in range(count)))
    await hooks.courier.spread()
    [endpoint] = await hooks.due()
    task = asyncio.create_task(hooks.courier.send_due(endpoint))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def count(hooks: Hooks, where: str) -> int:
    async with hooks.house.database.writing() as tx:
        [(found,)] = await tx.tuples(f"SELECT count(*) FROM webhook_delivery WHERE {where}")
    return int(str(found))


async def test_many_deliveries_arrive_once_each_however_many_are_claimed_at_a_time(hooks: Hooks) -> None:
    async with Receiver.opened() as receiver:
        await hooks.add(receiver.url, OPENED)
        async with sending(hooks, count=MANY) as task:
            await task
        assert len(receiver.ids) == len(set(receiver.ids)) == MANY
        assert await count(hooks, "state = 'delivered' AND attempts = 1 AND status = 200") == MANY


async def test_an_answer_that_is_late_keeps_one_place_and_the_others_go_on(hooks: Hooks) -> None:
    held = Held("shop:3")
    async with Receiver.opened(held) as receiver:
        await hooks.add(receiver.url, OPENED)
        async with sending(hooks, count=MANY) as task:
            await receiver.until(MANY)
            held.over.set()
            await task
        assert await count(hooks, "state = 'delivered'") == MANY


async def test_a_receiver_that_does_not_answer_is_sent_as_many_as_there_are_places(hooks: Hooks) -> None:
    held = Held()
    async with Receiver.opened(held) as receiver:
        await hooks.add(receiver.url, OPENED)
        async with sending(hooks, count=MANY) as task:
            await receiver.until(AT_ONCE)
            assert await count(hooks, "attempts = 1") == CLAIMED_FEW
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert len(receiver.taken) == AT_ONCE
        assert await count(hooks, "state = 'pending' AND next_at <= clock_timestamp()") == MANY
        held.over.set()
        await hooks.turn()
        assert await count(hooks, "state = 'delivered'") == MANY
        assert len(set(receiver.ids)) == MANY


async def test_a_receiver_that_is_gone_is_not_sent_what_was_claimed_ahead(hooks: Hooks) -> None:
    held = Held(status=410)
    async with Receiver.opened(held) as receiver:
        await hooks.add(receiver.url, OPENED)
        async with sending(hooks, count=MANY) as task:
            await receiver.until(AT_ONCE)
            held.over.set()
            await task
        assert len(receiver.taken) == AT_ONCE
        assert await count(hooks, "state = 'dead' AND status = 410") == AT_ONCE
        assert await count(hooks, "state = 'pending' AND next_at <= clock_timestamp()") == MANY - AT_ONCE


async def test_what_waited_until_its_lease_would_not_last_is_not_sent_but_claimed_anew(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver.opened(fine) as receiver:
        await hooks.add(receiver.url, OPENED)
        with monkeypatch.context() as short:
            short.setattr(errands, "WAIT_MAX", timedelta(seconds=-1))
            async with sending(hooks, count=CLAIMED_MANY) as task:
                while not await count(hooks, "attempts > 1"):
                    assert receiver.taken == []
                short.undo()
                await task
        assert len(receiver.ids) == len(set(receiver.ids)) == CLAIMED_MANY
        assert await count(hooks, "state = 'delivered'") == CLAIMED_MANY


async def test_what_becomes_due_while_an_answer_is_late_does_not_wait_for_it(hooks: Hooks) -> None:
    held = Held("shop:0")
    async with Receiver.opened(held) as receiver:
        await hooks.add(receiver.url, OPENED)
        working = asyncio.create_task(hooks.courier.run())
        await hooks.happen("shop:0")
        await receiver.until(1)
        await hooks.happen("till")
        await receiver.until(2)
        held.over.set()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert {each.event["data"]["code"] for each in receiver.taken} == {"shop:0", "till"}

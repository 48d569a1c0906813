"""Limits hold exactly, however many ask at once and in how many processes: what passes unseen is never more than a limit."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
import time_machine

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.declared import Firing
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.slices.interbank import commands, engine, executing, waking
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.rules import SetLimit
from clearhouse.slices.interbank.settlement import Settlement, State
from house import House
from papers import Desk
from town import Town
from trying import SOAK

ROUNDS = 100 if SOAK else 8
AT_ONCE = 6


@pytest.fixture
async def town(house: House) -> Town:
    made = await Town.built(house, funds="100000.00")
    await Desk(house).hire("anna", "approver")
    return made


@pytest.fixture
async def elsewhere(app_dsn: str) -> AsyncGenerator[Door]:
    """Give the door of another process: a database and a memory of its own."""
    database = await Database.open(app_dsn)
    door = Door(database)
    yield door
    await door.close()
    await database.close()


async def asked(town: Town, door: Door, amount: str = "100.00") -> list[str]:
    """Execute many at once through a door; return what each of them waits for."""
    each = [town.obligation(amount) for _ in range(AT_ONCE)]
    asking = [door.submit(commands.EXECUTE_SETTLEMENT, [one], caller=town.caller, book=1) for one in each]
    found = [answer for answers in await asyncio.gather(*asking) for answer in answers]
    return [one.waiting_for or "" for one in found if isinstance(one, Settlement)]


@pytest.mark.parametrize(("limit", "most"), [({"daily": "350.00"}, 3), ({"hourly": 4}, 4)], ids=["daily", "hourly"])
async def test_of_what_two_processes_ask_at_once_no_more_goes_unseen_than_a_limit_allows(
    town: Town, elsewhere: Door, limit: dict[str, str | int], most: int
) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", **limit))  # type: ignore[arg-type] - as parametrized
    for number in range(ROUNDS):
        with time_machine.travel(clock.now() + timedelta(days=number), tick=True):
            told = await asyncio.gather(asked(town, town.house.door), asked(town, elsewhere))
        assert [*told[0], *told[1]].count("") == most


async def test_whoever_counts_waits_for_whom_it_does_not_see_yet(town: Town, elsewhere: Door) -> None:
    """The first has counted and not committed: the second waits, and counts it too."""
    await town.ask(commands.SET_LIMIT, SetLimit("USD", daily="150.00"))
    async with town.house.database.writing(book=1) as tx:
        first = Asked(town.obligation("100.00"), ids.fresh(), town.caller.id)
        (unseen,) = await executing.execute(tx, [first], clock.now())
        await tx.flush()
        second = asyncio.create_task(
            elsewhere.submit(commands.EXECUTE_SETTLEMENT, [town.obligation("100.00")], caller=town.caller, book=1)
        )
        await until_waiting(town, second)
    (looked_at,) = await second
    assert isinstance(unseen, Settlement)
    assert isinstance(looked_at, Settlement)
    assert (unseen.waiting_for, looked_at.waiting_for) == (None, "review")


async def until_waiting(town: Town, task: "asyncio.Task[Any]") -> None:
    """Wait until a transaction waits for another, or its task has come to its end without."""
    while not task.done():
        async with town.house.database.writing() as tx:
            if await tx.tuples("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"):
                return
        await asyncio.sleep(0)


async def failed(town: Town) -> Settlement:
    """Return a settlement that a bank has refused for now; it is tried again."""
    made = await town.execute("100.00")
    await town.bank.control.lie(Lie(Fault.REFUSE, code="AM04"))
    await town.settle()
    await town.bank.control.honest()
    return made


async def test_what_is_tried_again_counts_anew_when_others_have_used_the_limit_since(town: Town) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", daily="150.00"))
    first = await failed(town)
    second = await town.execute("100.00")
    assert second.waiting_for is None
    with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
        await town.settle()
        assert ((await town.show(first)).waiting_for, (await town.show(second)).state) == ("review", State.COMPLETED)


async def test_what_is_tried_again_on_another_day_counts_for_that_day(town: Town) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", daily="150.00"))
    first = await failed(town)
    with time_machine.travel(clock.now() + timedelta(days=1), tick=True):
        await town.settle()
        assert (await town.show(first)).state is State.COMPLETED
        assert (await town.execute("100.00")).waiting_for == "review"


async def test_what_is_tried_again_alone_is_within_its_limit_as_before(town: Town) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", daily="100.00", hourly=1))
    first = await failed(town)
    with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
        await town.settle()
    assert (await town.show(first)).state is State.COMPLETED


async def test_a_worker_that_tries_again_and_whoever_asks_at_once_pass_no_limit_together(
    town: Town, elsewhere: Door
) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", daily="150.00"))
    advancer = Advancer(elsewhere.database, wake=Wakes(engine.STAGES), chance=Random(1))
    for number in range(ROUNDS):
        with time_machine.travel(clock.now() + timedelta(days=number + 1), tick=True):
            first = await failed(town)
            with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
                async with town.house.database.writing(book=1) as tx:
                    at = clock.now()
                    await waking.RETRY.run(tx, Firing(ids.fresh(), "interbank.retry", at, at, ids.NOBODY, None))
                made, _ = await asyncio.gather(town.execute("100.00"), advancer.run(waking.STAGE))
                seen = [(await town.show(each)).waiting_for for each in (first, made)]
                assert "review" in seen
                await town.settle()

"""A worker that stood still between what it said and what it sent: others have decided since, and it sends nothing any more.

As a script this file is that worker: it says what it will send, stops itself as a machine may stop it, and goes on later.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.stages import Calls
from clearhouse.kernel.pipelines.wakes import Wakes
from clearhouse.slices.interbank import commands, doubts, engine, turns
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.settlement import State
from clearhouse.slices.interbank.stopping import ReleaseSettlement
from clearhouse.slices.interbank.turns import Outgoing
from house import House
from papers import Desk
from serving import libraries
from town import Town

STOOD = timedelta(minutes=2)
UNTOUCHED = {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@contextmanager
def standing(dsn: str) -> Generator["subprocess.Popen[bytes]"]:
    """Run a worker that stops itself."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), libraries()])
    process = subprocess.Popen([sys.executable, __file__], env=os.environ | {"DSN": dsn, "PYTHONPATH": paths})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def stopped(process: "subprocess.Popen[bytes]") -> None:
    """Wait until the worker stands still."""
    _, status = await asyncio.to_thread(os.waitpid, process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


async def goes_on(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(process.wait) == 0


async def test_what_two_people_gave_up_meanwhile_is_not_sent_by_who_stood_still(
    town: Town, house: House, app_dsn: str
) -> None:
    desk = Desk(house)
    await desk.hire("anna", "approver")
    with time_machine.travel(clock.now() - 2 * STOOD, tick=True):
        accepted = await town.execute(obligation_id="OBL-still")
    with standing(app_dsn) as worker:
        await stopped(worker)
        assert (await town.show(accepted)).state is State.EXECUTING
        await town.advance(doubts.STAGES[0])
        asked = ReleaseSettlement(accepted.id, "the bank denies it")
        approval = (await town.ask(commands.RELEASE, asked)).approval
        assert await desk.approve("anna", approval.id) == "approved"
        await town.advance(*doubts.STAGES)
        released = (await town.ask(commands.RELEASE, asked)).settlement
        again = await town.execute(obligation_id="OBL-still")
        await goes_on(worker)
    assert (released.state, await town.paid(released)) == (State.FAILED, (0, "0"))
    await town.settle()
    assert ((await town.show(again)).state, await town.paid(again)) == (State.COMPLETED, (1, "100.00"))
    assert (await town.funds())["vostro"] == ("900.00", "0.00")
    assert (await town.compare())[0].status == "BALANCED"


async def test_what_nobody_else_took_over_is_in_doubt_and_asked_about(town: Town, app_dsn: str) -> None:
    with time_machine.travel(clock.now() - 2 * STOOD, tick=True):
        accepted = await town.execute()
    with standing(app_dsn) as worker:
        await stopped(worker)
        await goes_on(worker)
    assert ((await town.show(accepted)).state, await town.paid(accepted)) == (State.EXECUTING, (0, "0"))
    with time_machine.travel(clock.now() + STOOD, tick=True):
        await town.settle()
        assert ((await town.show(accepted)).state, await town.paid(accepted)) == (State.COMPLETED, (1, "100.00"))


async def stand_still(dsn: str) -> None:
    """Say what is sent two minutes ago, stop, and send it now."""
    then = time_machine.travel(clock.now() - STOOD, tick=True)
    then.start()

    async def still(orders: Sequence[Outgoing]) -> list[Word]:
        os.kill(os.getpid(), signal.SIGSTOP)
        then.stop()
        return await turns.send(orders)

    calls = turns.STAGE.does
    assert isinstance(calls, Calls)
    database = await Database.open(dsn)
    advancer = Advancer(database, wake=Wakes(engine.STAGES), chance=Random(1))
    await advancer.step(replace(turns.STAGE, does=replace(calls, call=still)), 1)
    await database.close()


if __name__ == "__main__":
    asyncio.run(stand_still(os.environ["DSN"]))

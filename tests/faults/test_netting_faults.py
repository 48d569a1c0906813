"""Cycles settled by workers that die and lose the database at every boundary: each ends, and the ledger has it once.

As a script this file is a worker that takes a step, and kills itself before the commit of the next.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.pipelines.stages import Moves, NotYet, Stage
from clearhouse.slices.interbank.netting import commands
from clearhouse.slices.interbank.netting.cycle import Cycle, CycleState, Method, SettleCycle
from clearhouse.slices.interbank.netting.settling import STAGES
from clearing import ANN, BANKS, BOB, CID, Clearing, Owed, advancer, apart
from serving import libraries
from stage import Wire

OWED = [(ANN, BOB, "100.00"), (BOB, ANN, "30.00"), (BOB, CID, "20.00")]
BEGAN = dict.fromkeys(BANKS, ("1000.00", "0.00"))
ENDED = {ANN: ("930.00", "0.00"), BOB: ("1050.00", "0.00"), CID: ("1020.00", "0.00")}
STEPS_MAX = 40
SECONDS_MAX = 110
METHODS: list[Method] = ["gross", "bilateral", "multilateral"]
POSTED = """
SELECT count(*)::int, sum(amount)::bigint FROM ledger_transfer AS t
WHERE t.book = %(book)s AND t.kind = 2 AND t.debit IN (
    SELECT account FROM interbank_account AS a WHERE a.book = %(book)s AND a.side = 'vostro'
)
"""


@pytest.fixture
async def clearing(app_dsn: str) -> AsyncGenerator[Clearing]:
    database = await Database.open(app_dsn)
    door = Door(database)
    yield await apart(database, door)
    await door.close()
    await database.close()


async def settling(clearing: Clearing, method: Method, *more: Owed) -> Cycle:
    """Return a cycle that is closed, to be settled as soon as it is netted."""
    cycle = await clearing.open(method)
    await clearing.owe(*OWED, *more)
    return await clearing.close(cycle, settle=True, last=True)


async def posted(clearing: Clearing) -> list[tuple[object, ...]]:
    """Return how many captures there are, and how much left the vostros with them."""
    async with clearing.database.writing(book=clearing.book) as tx:
        return await tx.tuples(POSTED, {"book": clearing.book})


# A worker that dies ----------------------------------------------------------------------------------------------------


def killing(stage: Stage, steps: list[UUID]) -> Stage:
    """Return a stage that commits its first step, and dies when its second one is done and not yet committed."""

    async def advance(tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
        assert isinstance(stage.does, Moves)
        said = await stage.does.advance(tx, batch, at)
        steps.extend(batch)
        if len(steps) > 1:
            await tx.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return said

    return replace(stage, does=Moves(advance))


async def two_steps(dsn: str) -> None:
    database, steps = await Database.open(dsn), list[UUID]()
    for stage in STAGES:
        await advancer(database).run(killing(stage, steps))
    await database.close()


def die_again_and_again(dsn: str) -> int:
    """Be one worker after another, each where the one before was killed, until there is nothing to do; return how many."""
    for died in range(STEPS_MAX):
        child = os.fork()  # nothing runs here yet: each child has a loop and a database of its own
        if child == 0:
            asyncio.run(two_steps(dsn))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return died if os.WEXITSTATUS(status) == 0 else -1
    return -1


def killed(dsn: str) -> int:
    """Let workers be killed in a process of their own, and return how many were."""
    paths = os.pathsep.join([libraries(), str(Path(__file__).parent.parent)])
    environment = os.environ | {"PYTHONPATH": paths}
    words = [sys.executable, "-P", __file__, dsn]
    ended = subprocess.run(words, env=environment, check=True, timeout=SECONDS_MAX, capture_output=True, text=True)
    return int(ended.stdout)


async def test_a_cycle_whose_workers_are_killed_before_every_commit_is_settled_once(
    clearing: Clearing, app_dsn: str
) -> None:
    cycle = await settling(clearing, "multilateral")
    died = await asyncio.to_thread(killed, app_dsn)
    assert died >= 7  # netted, reserved twice, committing, committed twice, settled twice, ended
    assert (await clearing.show(cycle)).state is CycleState.SETTLED
    assert await clearing.funds() == ENDED
    assert await posted(clearing) == [(1, 7_000)]


async def test_a_cycle_that_cannot_be_reserved_is_taken_back_however_often_its_workers_are_killed(
    clearing: Clearing, app_dsn: str
) -> None:
    cycle = await settling(clearing, "gross", (CID, ANN, "5000.00"))
    assert await asyncio.to_thread(killed, app_dsn) >= 3
    assert (await clearing.show(cycle)).state is CycleState.ABORTED
    assert await clearing.funds() == BEGAN
    assert await posted(clearing) == [(0, None)]


# A database that goes away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
async def test_a_cycle_whose_commits_are_never_acknowledged_is_settled_once(
    clearing: Clearing, app_dsn: str, method: Method
) -> None:
    cycle = await settling(clearing, method)
    async with Wire.laid(app_dsn) as wire:
        database = await Database.open(wire.dsn)
        lost = 0
        for _ in range(STEPS_MAX):
            for stage in STAGES:
                wire.commits_to_lose = 1
                lost += await lost_one(database, stage, clearing.book)
            if (await clearing.show(cycle)).state is CycleState.SETTLED:
                break
        await database.close()
    assert lost >= 8
    assert await clearing.funds() == ENDED
    assert (await posted(clearing))[0][1] == {"gross": 15_000, "bilateral": 9_000, "multilateral": 7_000}[method]


async def lost_one(database: Database, stage: Stage, book: int) -> bool:
    """Take a step, and tell whether its answer was lost."""
    try:
        await advancer(database).step(stage, book)
    except DatabaseFault:
        return True
    return False


async def test_a_cycle_whose_connections_are_cut_before_every_commit_is_settled_once(
    clearing: Clearing, owner_dsn: str
) -> None:
    cycle = await settling(clearing, "multilateral")
    cut = 0
    for stage in STAGES:
        while True:
            with pytest.raises(DatabaseFault):
                await advancer(clearing.database).run(cutting(stage, owner_dsn))
            cut += 1
            if not await advancer(clearing.database).step(stage, clearing.book):
                break
            if not await due(clearing, stage):
                break
    assert cut >= 8
    assert (await clearing.show(cycle)).state is CycleState.SETTLED
    assert await clearing.funds() == ENDED
    assert await posted(clearing) == [(1, 7_000)]


async def due(clearing: Clearing, stage: Stage) -> bool:
    async with clearing.database.writing(book=clearing.book) as tx:
        found = await tx.tuples(
            "SELECT 1 FROM netting_cycle WHERE book = %s AND state = %s AND next_at IS NOT NULL",
            [clearing.book, stage.state],
        )
    return bool(found)


def cutting(stage: Stage, owner_dsn: str) -> Stage:
    """Return a stage whose connection is cut when its work is done and not yet committed."""

    async def advance(tx: Tx, batch: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
        assert isinstance(stage.does, Moves)
        said = await stage.does.advance(tx, batch, at)
        await tx.flush()
        pid = tx.connection.info.backend_pid
        async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as owner:
            await owner.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        return said

    return replace(stage, does=Moves(advance))


async def test_an_obligation_whose_answer_is_lost_is_recorded_once_and_a_cycle_closed_so_is_closed_once(
    clearing: Clearing, app_dsn: str
) -> None:
    cycle = await clearing.open()
    async with Wire.laid(app_dsn) as wire:
        database = await Database.open(wire.dsn)
        door = Door(database)
        behind = Clearing(database, door, clearing.caller, clearing.book, clearing.name)
        wire.commits_to_lose = 1
        assert {each.cycle for each in await behind.owe(*OWED)} == {cycle.id}
        wire.commits_to_lose = 1
        closed = await behind.close(cycle)
        wire.commits_to_lose = 1
        await behind.ask(commands.SETTLE, SettleCycle(cycle.id))
        await door.close()
        await database.close()
    assert closed.state is CycleState.CLOSED
    settled = await clearing.worked(cycle)
    assert (settled.state, settled.obligations) == (CycleState.SETTLED, 3)
    assert await clearing.funds() == ENDED


if __name__ == "__main__":
    sys.stdout.write(str(die_again_and_again(sys.argv[1])))

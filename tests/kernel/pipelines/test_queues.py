"""Wake-up: who made work says so in its journal row, the sequencer queues the job, the sweep finds what nobody spoke of."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from clearhouse import clock, ids
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.pipelines import queues
from clearhouse.kernel.pipelines.queues import Queues
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.kernel.pipelines.wakes import TwoStages, Wakes
from parcels import Depot, put
from serving import until

JOBS = "SELECT args ->> 'stage', queue_name, status::text FROM clearhouse_jobs.procrastinate_jobs ORDER BY id"


@pytest.fixture
def depot(database: Database, owner_dsn: str) -> Depot:
    Depot.build(owner_dsn)
    return Depot(database, owner_dsn)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no timer come in time: what happens was woken."""
    monkeypatch.setattr(queues, "SWEEP_SECONDS", 3_600.0)


@asynccontextmanager
async def at_work(depot: Depot, *stages: Stage) -> AsyncGenerator[Queues]:
    wakes = Wakes(stages or depot.stages)
    working = Queues(depot.database, wakes, asyncio.Event())
    task = asyncio.create_task(working.run())
    try:
        yield working
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def made(depot: Depot, *wakes: str, count: int = 1) -> None:
    """Make work as a command would, and say so."""
    async with depot.database.writing(book=1) as tx:
        put(tx, [ids.fresh() for _ in range(count)])
        tx.wake(*wakes)
        writing.write(tx, [Line("parcels.new", "1")], book=1, kind="parcels.new", by=writing.SYSTEM, at=clock.now())


async def listening(depot: Depot, count: int) -> None:
    question = f"SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' HAVING count(*) = {count}"
    await asyncio.to_thread(until, lambda: depot.ask(question))


async def test_a_transaction_that_made_work_queues_nothing_and_the_sequencer_queues_one_job_a_stage(depot: Depot) -> None:
    for _ in range(3):
        await made(depot, "parcels.weigh", "nobody.knows")
    assert depot.ask(JOBS) == []
    await sweep(depot.database, Wakes(depot.stages))
    assert depot.ask(JOBS) == [("parcels.weigh", "floor", "todo")]
    await made(depot, "parcels.weigh")
    await sweep(depot.database, Wakes(depot.stages))
    assert depot.ask(JOBS) == [("parcels.weigh", "floor", "todo")]


@pytest.mark.usefixtures("late")
async def test_work_is_done_from_stage_to_stage_without_any_timer(depot: Depot) -> None:
    async with at_work(depot):
        await listening(depot, 2)
        await made(depot, "parcels.weigh", count=5)
        await sweep(depot.database, Wakes(depot.stages))
        await depot.until(lambda: depot.states() == {"taken"})
    assert len(depot.carrier.given) == 5


async def test_the_sweep_finds_what_nobody_spoke_of(depot: Depot) -> None:
    await made(depot)
    working = Queues(depot.database, Wakes(depot.stages), asyncio.Event())
    assert await working.sweep() == ["parcels.weigh"]
    assert depot.ask(JOBS) == [("parcels.weigh", "floor", "todo")]


async def test_one_sweeps_at_a_time(depot: Depot) -> None:
    await made(depot)
    working = Queues(depot.database, Wakes(depot.stages), asyncio.Event())
    async with depot.database.writing() as tx:
        await tx.tuples("SELECT pg_try_advisory_xact_lock(7246003)")
        assert await working.sweep() == []


async def test_a_stop_waits_for_the_batch_under_way_and_leaves_no_job_behind(depot: Depot) -> None:
    await depot.add(state="weighed")
    depot.carrier.open.clear()
    async with at_work(depot) as working:
        await depot.carrier.reached.wait()
        assert not working.stopping
        asyncio.get_running_loop().call_soon(depot.carrier.open.set)
    assert working.stopping
    assert depot.states() == {"taken"}
    assert [status for _, _, status in depot.ask(JOBS)] == []
    assert depot.ask("SELECT 1 FROM clearhouse_jobs.procrastinate_workers") == []


async def test_what_is_left_at_a_stop_is_queued_for_others(depot: Depot) -> None:
    await depot.add(1_500)
    working = Queues(depot.database, Wakes(depot.stages), asyncio.Event(), stopping=True)
    await working.advance("parcels.weigh")
    assert depot.ask(JOBS) == [("parcels.weigh", "floor", "todo")]


async def test_a_job_of_a_worker_that_is_gone_is_dropped_and_its_rows_are_found(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await depot.add()
    depot.ask(
        "SET search_path = clearhouse_jobs; INSERT INTO procrastinate_workers (last_heartbeat) VALUES ('2020-01-01Z');"
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id, args)"
        """ SELECT 'floor', 'advance', 'doing', id, '{"stage": "parcels.weigh"}' FROM procrastinate_workers"""
    )
    monkeypatch.setattr(queues, "SWEEP_SECONDS", 0.05)
    async with at_work(depot):
        await depot.until(lambda: depot.states() == {"taken"})
        await asyncio.to_thread(until, lambda: depot.ask(JOBS) == [])


async def test_two_stages_of_one_name_are_refused(depot: Depot) -> None:
    with pytest.raises(TwoStages):
        Wakes([depot.weigh, depot.weigh])


@pytest.mark.usefixtures("late")
async def test_a_row_of_a_prompt_stage_is_found_when_it_is_due_and_not_at_the_next_sweep(depot: Depot) -> None:
    weigh = replace(depot.weigh, prompt=True)
    async with at_work(depot, weigh) as working:
        await listening(depot, 1)
        await depot.add()  # nobody says so
        await asyncio.to_thread(depot.ask, "UPDATE parcel SET next_at = clock_timestamp() + interval '0.2 seconds'")
        working.advanced.set()
        await asyncio.to_thread(until, lambda: depot.states() == {"weighed"})


async def test_a_look_at_the_time_queues_what_is_due_and_says_when_to_look_again(depot: Depot) -> None:
    weigh = replace(depot.weigh, prompt=True)
    working = Queues(depot.database, Wakes([weigh]), asyncio.Event())
    assert await working.tick() == queues.SWEEP_SECONDS
    await depot.add()
    assert (await working.tick(), depot.ask(JOBS)) == (queues.SWEEP_SECONDS, [("parcels.weigh", "floor", "todo")])
    depot.ask("UPDATE parcel SET next_at = clock_timestamp() + interval '0.5 seconds'")
    assert 0 < await working.tick() <= 0.5
    assert await Queues(depot.database, Wakes([depot.weigh]), asyncio.Event()).tick() == queues.SWEEP_SECONDS

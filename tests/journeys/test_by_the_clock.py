"""By the clock: what the schedules of a book that settles do when their hour comes, and not before."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import time_machine

from clearhouse import clock
from clearhouse.app.worker import expire_holds
from clearhouse.kernel.pipelines import cron, schedules
from clearhouse.slices.interbank import engine, periods
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.settlement import State
from house import House, ok
from town import Town

SECOND = timedelta(seconds=1)


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    return await house.caller("operator", name="who plans")


@contextmanager
def at(hour: datetime) -> Generator[None]:
    """Let the clock stand still at an hour."""
    with time_machine.travel(hour, tick=False):
        yield


def tick(job: str, after: datetime) -> datetime:
    """Return the first hour of a schedule after an instant."""
    found = cron.next_instant(periods.PERIODS[job], UTC, after)
    assert found is not None
    return found


async def fire(town: Town, operator: httpx.AsyncClient, job: str) -> int:
    """Let the schedules do what is due and nothing else; return how often a job was done by then."""
    await town.advance(*schedules.STAGES)
    shown = ok(await operator.get(f"/api/v1/schedules/{job}"))
    assert shown.get("last_error") is None
    async with town.house.database.writing(book=1) as tx:
        done = await tx.tuples(
            "SELECT count(*) FROM firing AS f JOIN schedule AS s ON s.book = f.book AND s.id = f.schedule"
            " WHERE f.book = 1 AND s.name = %s AND f.state = 'done'", [job],
        )  # fmt: skip
    return int(str(done[0][0]))


async def test_what_failed_for_a_reason_that_may_pass_is_tried_again_at_the_next_tick(
    town: Town, operator: httpx.AsyncClient
) -> None:
    await town.bank.control.lie(Lie(Fault.REFUSE, code="AM04"))
    accepted = await town.execute()
    await town.settle()
    await town.bank.control.honest()
    failed = await town.show(accepted)
    assert failed.due_at is not None
    hour = tick(periods.RETRY, failed.due_at)
    with at(failed.due_at - timedelta(microseconds=1)):
        before = await fire(town, operator, periods.RETRY)
    with at(hour - SECOND):
        assert await fire(town, operator, periods.RETRY) == before
        await town.advance(*engine.STAGES)
        assert (await town.show(accepted)).state is State.FAILED
    with at(hour):
        assert await fire(town, operator, periods.RETRY) == before + 1
        assert (await town.show(accepted)).state is State.PENDING
        for _ in range(3):
            await town.advance(*engine.STAGES)
        assert ((await town.show(accepted)).state, await town.paid(await town.show(accepted))) == (
            State.COMPLETED, (1, "100.00")
        )  # fmt: skip
    with at(tick(periods.RETRY, hour)):
        assert await fire(town, operator, periods.RETRY) == before + 2


async def test_what_was_not_sent_before_its_lock_ran_out_is_rolled_back_at_the_next_tick(
    town: Town, operator: httpx.AsyncClient
) -> None:
    accepted = await town.execute()
    hour = tick(periods.CLEAN_UP, accepted.accepted_at + timedelta(seconds=601))
    with at(hour - SECOND):
        for _ in range(2):
            await fire(town, operator, periods.CLEAN_UP)
            await expire_holds(town.house.database)
        before = (await town.show(accepted)).state
    with at(hour):
        await fire(town, operator, periods.CLEAN_UP)
        shown = await town.show(accepted)
    assert (before, shown.state, shown.reason) == (State.FUNDS_LOCKED, State.ROLLED_BACK, "lock_expired")
    assert await town.funds() == {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}


async def test_every_nostro_is_compared_at_the_next_tick(town: Town, operator: httpx.AsyncClient) -> None:
    hour = tick(periods.RECONCILE, clock.now())
    for when, reports in ((hour - SECOND, 0), (hour, 1)):
        with at(when):
            await fire(town, operator, periods.RECONCILE)
            await town.advance(*engine.STAGES)
            assert len(ok(await operator.get("/api/v1/reconciliation/reports"))["items"]) == reports


async def test_a_schedule_that_rests_does_nothing_when_its_hour_comes(town: Town, operator: httpx.AsyncClient) -> None:
    ok(await operator.post(f"/api/v1/schedules/{periods.RECONCILE}/pause", json={}))
    with at(tick(periods.RECONCILE, clock.now())):
        assert await fire(town, operator, periods.RECONCILE) == 0
        await town.advance(*engine.STAGES)
    assert ok(await operator.get("/api/v1/reconciliation/reports"))["items"] == []

"""`/health`: anybody may ask, and is told which part is not well; what it costs does not depend on how many ask."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import time_machine

from clearhouse import clock
from clearhouse.app import worker
from clearhouse.kernel.db import processes
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.survivors import survivors
from clearhouse.kernel.journal import readers
from clearhouse.slices.operations import health as kernel
from clearhouse.transport.http import health
from clearhouse.transport.http.health import Pulse
from house import House, client, ok
from serving import program, until
from town import Town

FAILING = (
    "UPDATE event_reader SET failing_since = now() - interval '1 minute', attempts = 1, problem = 'away' WHERE book = 1"
)
PARTS = ["database", "sequencer", "workers", "engine", "bank"]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every question look anew."""
    monkeypatch.setattr(health, "MEMORY_SECONDS", -1.0)


async def taken(house: House) -> dict[str, Any]:
    """Return the health as somebody without a key is told it, looked at anew."""
    found = ok(await client(house.entrance, "").get("/health"))
    return {name: each["status"] for name, each in found["parts"].items()} | {"whole": found["status"]}


def test_when_the_database_is_killed_it_says_so_and_comes_back(laid_out: Callable[[str], Path]) -> None:
    with program(laid_out("health")) as running:
        running.ready()
        found = until(lambda: well(running.url))
        assert list(found["parts"]) == PARTS
        below = survivors(running.pgdata)
        send(signal.SIGSTOP, below)  # it accepts, and never answers: the worst way to be away
        try:
            down = until(lambda: answered(running.url, 503))
        finally:
            send(signal.SIGKILL, below)
        assert (down["status"], down["parts"]["database"]) == ("down", {"status": "down"})
        assert {each["status"] for name, each in down["parts"].items() if name != "database"} == {"unknown"}
        assert until(lambda: well(running.url))["status"] == "ok"


def send(number: signal.Signals, processes: list[int]) -> None:
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, number)


def answered(url: str, status: int) -> Any:
    answer = httpx.get(f"{url}/health", timeout=20)
    return answer.json() if answer.status_code == status else None


def well(url: str) -> Any:
    found = answered(url, 200)
    return found if found is not None and found["status"] == "ok" else None


async def test_without_a_worker_it_is_late_and_says_where(house: House) -> None:
    assert await taken(house) == dict.fromkeys(PARTS, "ok") | {"workers": "late", "whole": "late"}


async def test_what_waits_too_long_makes_its_part_late(house: House) -> None:
    town = await Town.built(house)
    await town.execute()
    await town.doubtful("2.00")
    await house.seal()
    assert {name: (await taken(house))[name] for name in ("sequencer", "engine", "bank")} == dict.fromkeys(
        ("sequencer", "engine", "bank"), "ok"
    )
    async with house.database.writing(book=1) as tx:
        await tx.do(
            "UPDATE settlement_transactions SET sent_at = sent_at - interval '1 hour' WHERE book = 1 AND state = 'IN_DOUBT'"
        )
    assert (await taken(house))["bank"] == "late"
    with time_machine.travel(clock.now() - timedelta(hours=1), tick=True):
        await town.execute("3.00", obligation_id="OBL-early")
    found = await taken(house)
    assert (found["sequencer"], found["engine"]) == ("late", "late")


async def test_a_broker_that_fails_is_named(house: House) -> None:
    check = kernel.reader("nats")
    async with house.database.writing(book=1) as tx:
        await readers.enrol(tx, "nats")
        assert (await check.look(tx)).status == "ok"
        await tx.do(FAILING)
        found = await check.look(tx)
    assert (found.status, int(found.waiting_seconds or 0) >= 60) == ("late", True)


async def test_however_many_ask_it_is_looked_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    async def look(_: Any) -> health.Part:
        looks.append(1)
        return health.Part("ok")

    monkeypatch.setattr(health, "MEMORY_SECONDS", 3_600.0)
    pulse = Pulse(house.database, [health.Check("counted", look)])
    for _ in range(20):
        assert (await pulse.take()).status == "ok"
    assert looks == [1]


async def test_a_loop_that_stands_still_is_named_until_it_comes_round(house: House) -> None:
    with house.database.loops.counted("webhooks", late=30.0) as turning:
        turning.came_round_at -= 100.0
        found = ok(await client(house.entrance, "").get("/health"))
        assert (found["status"], found["parts"]["loop_webhooks"]["status"]) == ("late", "late")
        assert int(found["parts"]["loop_webhooks"]["waiting_seconds"]) == 100
        turning.came_round()
        assert [*await taken(house)] == [*PARTS, "whole"]


async def test_a_loop_that_stands_still_elsewhere_is_named_as_long_as_that_process_is_heard_of(
    house: House, app_dsn: str
) -> None:
    elsewhere = await Database.open(app_dsn)
    with elsewhere.loops.counted("webhooks", late=30.0) as turning, house.database.loops.counted("webhooks", late=30.0):
        await processes.leave_word(elsewhere)
        assert "loop_webhooks" not in await taken(house)
        turning.came_round_at -= 100.0
        await processes.leave_word(elsewhere)
        found = ok(await client(house.entrance, "").get("/health"))
        assert (found["status"], found["parts"]["loop_webhooks"]["status"]) == ("late", "late")
        assert int(found["parts"]["loop_webhooks"]["waiting_seconds"]) >= 100
        async with house.database.writing() as tx:
            await tx.do("UPDATE process SET said_at = said_at - interval '1 minute'")
        assert "loop_webhooks" not in await taken(house)  # it may be gone: that all are gone is what `workers` tells
        await processes.leave_word(elsewhere)
        assert "loop_webhooks" in await taken(house)
        turning.came_round()
        await processes.leave_word(elsewhere)
        assert [*await taken(house)] == [*PARTS, "whole"]
    async with house.database.writing() as tx:
        assert await tx.tuples("SELECT count(*) FROM process") == [(1,)]
    await elsewhere.close()


@pytest.mark.parametrize("how", ["work", "number"])
async def test_whoever_works_leaves_word(house: House, app_dsn: str, how: str) -> None:
    elsewhere, committed = await Database.open(app_dsn), asyncio.Event()
    with elsewhere.loops.counted("webhooks", late=30.0) as turning:
        turning.came_round_at -= 100.0
        works = worker.work(elsewhere, committed) if how == "work" else worker.number(elsewhere, committed, ())
        working = asyncio.create_task(works)
        async with asyncio.timeout(60):
            while "loop_webhooks" not in await taken(house):
                assert not working.done()
        working.cancel()
        await asyncio.wait([working])
    await elsewhere.close()


async def test_it_tells_nobody_how_much_or_whose(house: House) -> None:
    town = await Town.built(house)
    await town.execute("123.45")
    text = (await client(house.entrance, "").get("/health")).text
    assert not {each for each in ("CHASUS33", "123", "main", "postgres", "host", "stl_") if each in text}

"""Schedules: a tick fires once, a missed one once and late, and what could never fire is refused when it is written."""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from clearhouse import clock, ids
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.pipelines import declared, schedules
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.declared import Firing, Job
from clearhouse.kernel.pipelines.wakes import Wakes
from house import House, ok, refused

SCHEDULES = "/api/v1/schedules"
MISSED = "UPDATE schedule SET next_at = '2020-02-01T03:00Z'"


class Bell:
    """A job that keeps its own record of when it was done."""

    def __init__(self) -> None:
        self.rung: list[Firing] = []
        self.broken = False

    async def ring(self, tx: Tx, firing: Firing) -> None:
        if self.broken:
            raise RuntimeError("the bell is broken")
        self.rung.append(firing)
        await tx.flush()


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> Bell:
    made = Bell()
    monkeypatch.setitem(declared.JOBS, "test.ring", Job("test.ring", "a bell rings", made.ring))
    return made


@pytest.fixture
def advancer(database: Database) -> Advancer:
    return Advancer(database, wake=Wakes(schedules.STAGES), chance=Random(1))


async def ask(database: Database, question: str) -> None:
    async with database.writing(book=1) as tx:
        await tx.do(question)


async def ticked(advancer: Advancer) -> None:
    for stage in schedules.STAGES:
        await advancer.run(stage)


async def is_set(house: House, **given: Any) -> Any:
    operator = await house.caller("operator", name=f"who sets {given}")
    body = {"name": "bell", "cron": "0 3 * * *", "job": "test.ring", **given}
    return ok(await operator.post(SCHEDULES, json=body))


async def test_a_tick_that_was_missed_long_ago_fires_once_and_late(house: House, bell: Bell, advancer: Advancer) -> None:
    await is_set(house)
    await ask(house.database, MISSED)
    for _ in range(3):
        await ticked(advancer)
    (firing,) = bell.rung
    assert clock.text(firing.due_at) == "2020-02-01T03:00:00.000000Z"
    assert firing.at > firing.due_at + timedelta(days=365)
    shown = ok(await (await house.caller("auditor")).get(f"{SCHEDULES}/bell"))
    assert shown["next_at"] > clock.text(clock.now())
    assert shown["last_due_at"] == "2020-02-01T03:00:00Z"
    assert shown["last_done_at"] is not None


async def test_what_is_not_due_does_not_fire(house: House, bell: Bell, advancer: Advancer) -> None:
    await is_set(house)
    await ticked(advancer)
    assert bell.rung == []


async def test_a_schedule_that_rests_fires_by_hand_only(house: House, bell: Bell, advancer: Advancer) -> None:
    await is_set(house)
    operator = await house.caller("operator")
    assert ok(await operator.post(f"{SCHEDULES}/bell/pause"))["next_at"] is None
    await ticked(advancer)
    assert bell.rung == []
    ok(await operator.post(f"{SCHEDULES}/bell/run", headers={"Idempotency-Key": "once"}))
    ok(await operator.post(f"{SCHEDULES}/bell/run", headers={"Idempotency-Key": "once"}))
    await sweep(house.database, Wakes(schedules.STAGES))
    await ticked(advancer)
    assert len(bell.rung) == 1
    assert ok(await operator.post(f"{SCHEDULES}/bell/resume"))["next_at"] is not None


async def test_a_job_that_fails_is_tried_again_and_its_error_is_shown(house: House, bell: Bell, advancer: Advancer) -> None:
    await is_set(house)
    await ask(house.database, MISSED)
    bell.broken = True
    await ticked(advancer)
    auditor = await house.caller("auditor")
    assert "the bell is broken" in ok(await auditor.get(f"{SCHEDULES}/bell"))["last_error"]
    bell.broken = False
    await ask(house.database, "UPDATE firing SET next_at = '2020-02-01Z'")
    await ticked(advancer)
    assert len(bell.rung) == 1
    assert ok(await auditor.get(f"{SCHEDULES}/bell"))["last_error"] is None


async def test_a_job_that_is_not_there_any_more_is_set_aside(house: House, bell: Bell, advancer: Advancer) -> None:
    await is_set(house)
    await ask(house.database, MISSED)
    declared.JOBS.pop("test.ring")
    await ticked(advancer)
    operator = await house.caller("operator")
    (item,) = ok(await operator.get("/api/v1/jobs/schedules.run/aside"))["items"]
    assert item["error"] == "there is no job test.ring any more"
    declared.JOBS["test.ring"] = Job("test.ring", "a bell rings", bell.ring)
    nothing = ids.text(item["id"].partition("_")[0], ids.fresh())
    for asked in ({"ids": [nothing, item["id"]]}, {}):
        expected = [item["id"]] if asked else []
        assert ok(await operator.post("/api/v1/jobs/schedules.run/retry", json=asked))["ids"] == expected
    await ticked(advancer)
    assert len(bell.rung) == 1


@pytest.mark.usefixtures("bell")
@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"cron": "0 0 30 2 *"}, "cron_never_fires"),
        ({"cron": "every day"}, "cron_malformed"),
        ({"zone": "Europe/Nowhere"}, "zone_unknown"),
        ({"job": "nobody.knows"}, "job_unknown"),
    ],
)
async def test_what_could_never_fire_is_refused_when_it_is_written(house: House, given: dict[str, str], code: str) -> None:
    operator = await house.caller("operator")
    body = {"name": "bell", "cron": "0 3 * * *", "job": "test.ring"} | given
    assert refused(await operator.post(SCHEDULES, json=body), 422) == code
    assert ok(await operator.get(SCHEDULES))["items"] == []


@pytest.mark.usefixtures("bell")
async def test_arguments_that_the_job_does_not_take_are_refused_when_they_are_written(house: House) -> None:
    operator = await house.caller("operator")
    body = {"name": "bell", "cron": "0 3 * * *", "job": "test.ring", "arguments": {"loud": True}}
    assert refused(await operator.post(SCHEDULES, json=body), 400) == "malformed"


@pytest.mark.usefixtures("bell")
async def test_arguments_are_as_long_as_a_row_may_hold_and_no_longer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Tx, __: Firing) -> None: ...

    monkeypatch.setitem(declared.JOBS, "test.note", Job("test.note", "a note", nothing, takes=dict[str, str]))
    operator = await house.caller("operator")
    body = {"name": "note", "cron": "0 3 * * *", "job": "test.note"}
    ok(await operator.post(SCHEDULES, json=body | {"arguments": {"a": "x"}}))
    long = {"a": "x" * schedules.ARGUMENT_BYTES_MAX}
    assert refused(await operator.post(SCHEDULES, json=body | {"arguments": long}), 400) == "malformed"
    assert ok(await operator.get(f"{SCHEDULES}/note"))["arguments"] == {"a": "x"}


@pytest.mark.usefixtures("bell")
async def test_setting_a_schedule_again_replaces_it(house: House) -> None:
    await is_set(house)
    changed = await is_set(house, cron="0 4 * * *")
    assert changed["cron"] == "0 4 * * *"
    assert len(ok(await (await house.caller("auditor")).get(SCHEDULES))["items"]) == 1


async def test_what_was_done_long_ago_is_forgotten(house: House, bell: Bell, advancer: Advancer) -> None:
    await is_set(house)
    await ask(house.database, MISSED)
    await ticked(advancer)
    async with house.database.writing() as tx:
        assert await schedules.forget(tx, clock.now() - timedelta(days=1)) == 0
        assert await schedules.forget(tx, clock.now()) == 1
    assert len(bell.rung) == 1


async def test_a_closing_by_the_clock_closes_the_day_before(house: House, advancer: Advancer) -> None:
    await is_set(house, job="ledger.close_day")
    await ask(house.database, MISSED)
    await ticked(advancer)
    operator = await house.caller("operator")
    assert [each["day"] for each in ok(await operator.get("/api/v1/ledger/days"))["items"]] == ["2020-01-31"]


def test_a_name_stands_for_one_job_and_one_stage(bell: Bell) -> None:
    job, (stage, *_) = declared.JOBS["test.ring"], schedules.STAGES
    declared.declare([], [job])
    with pytest.raises(ValueError, match=r"test\.ring"):
        declared.declare([], [Job("test.ring", "another", bell.ring)])
    with pytest.raises(ValueError, match="two words"):
        declared.declare([], [Job("two words", "a name that is none", bell.ring)])
    with pytest.raises(ValueError, match=stage.name):
        declared.declare([replace(stage, queue="another")], [])

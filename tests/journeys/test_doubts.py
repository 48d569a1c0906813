"""Approvals in doubt: what was true when a word was said and is not any more, and everybody at once."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest
import time_machine

from clearhouse import clock
from clearhouse.app import worker
from clearhouse.kernel.approvals.approval import State
from clearhouse.kernel.approvals.decisions import Approve, Reject, Withdraw
from clearhouse.kernel.commands.submitting import Door
from clearhouse.slices.operations import commands
from house import House, ok
from papers import APPROVALS, PRINCIPALS, STRIKE, WRITE, Desk, Strike, Write

APPROVER: dict[str, Any] = {"role": "approver"}


@pytest.fixture
async def desk(house: House) -> AsyncGenerator[Desk]:
    """Give a desk with one who writes, four who approve, and rules of two levels."""
    made = Desk(house)
    await made.hire("sender", "operator", "approver")
    for name in ("anna", "bert", "carl", "dora"):
        await made.hire(name, "approver")
    await made.rule(APPROVER, APPROVER)
    yield made
    for clerk in made.clerks.values():
        await clerk.client.aclose()


async def demote(desk: Desk, name: str, *roles: str) -> None:
    ok(await desk.house.admin.put(f"{PRINCIPALS}/{desk[name].text}/roles", json={"roles": list(roles)}))


# Words of those who may no longer say them ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["demoted", "shut out"])
async def test_a_word_of_somebody_who_may_no_longer_say_it_releases_nothing(desk: Desk, how: str) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    if how == "demoted":
        await demote(desk, "anna", "operator")
    else:
        ok(await desk.house.admin.post(f"{PRINCIPALS}/{desk['anna'].text}/disable"))
    assert await desk.approve("bert", asked.id, 2) == "word_lapsed"
    shown = await desk.show("bert", asked.id)
    assert (shown["state"], shown["level"]) == ("pending", 2)
    again = await desk.write("sender", "1")
    assert (again.replaces, again.level) == (asked.id, 1)
    assert await desk.approve("bert", again.id) == "pending"
    assert await desk.approve("carl", again.id, 2) == "approved"


async def test_a_word_of_somebody_who_may_say_it_again_counts_again(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    await demote(desk, "anna")
    assert await desk.approve("bert", asked.id, 2) == "word_lapsed"
    await demote(desk, "anna", "approver")
    assert await desk.approve("bert", asked.id, 2) == "approved"


async def test_what_all_have_approved_stays_so_when_one_of_them_leaves(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    await desk.approve("bert", asked.id, 2)
    await demote(desk, "anna")
    assert await desk.release("1") == "approved"
    assert (await desk.write("sender", "1")).id == asked.id


async def test_whoever_lost_the_role_that_a_level_asks_for_has_not_approved_by_another_they_have(desk: Desk) -> None:
    await desk.hire("erna", "auditor", "approver")
    await desk.rule({"role": "auditor"}, APPROVER)
    asked = await desk.write("sender", "1")
    await desk.approve("erna", asked.id)
    await demote(desk, "erna", "approver")
    assert await desk.approve("bert", asked.id, 2) == "word_lapsed"


# Contents and amounts ------------------------------------------------------------------------------------------------


async def test_the_same_content_with_another_amount_is_another_approval(desk: Desk) -> None:
    await desk.rule(APPROVER, APPROVER | {"at_least": [{"amount": "100.00", "currency": "USD"}]})
    asked = await desk.write("sender", "1", amounts=(("1.00", "USD"),))
    assert await desk.approve("anna", asked.id) == "approved"
    more = await desk.write("sender", "1", amounts=(("100.00", "USD"),))
    assert (more.id != asked.id, more.state, list(more.levels)) == (True, State.PENDING, ["1", "2"])
    assert await desk.release("1") == "not_approved"


@pytest.mark.parametrize(("amount", "levels"), [("1", ["1"]), ("2", ["1", "2"])])
async def test_whoever_counts_an_asset_with_other_decimals_is_not_below_the_amount(
    desk: Desk, house: House, amount: str, levels: list[str]
) -> None:
    operator = await house.caller("operator", name="who adds assets")
    ok(await operator.post("/api/v1/ledger/assets", json={"code": "WETH", "exponent": 18}))
    await desk.rule(APPROVER, APPROVER | {"at_least": [{"amount": "1.5", "currency": "WETH"}]})
    asked = await desk.write("sender", "1", amounts=((amount, "WETH"),))  # papers count it without decimals
    assert list(asked.levels) == levels


async def test_an_amount_one_unit_below_is_below_and_one_on_the_line_is_not_asset_by_asset(desk: Desk) -> None:
    lines = [("0.01", "USD"), ("1", "JPY"), ("0.001", "KWD"), ("99999999999999999999.99", "EUR")]
    above = [{"amount": amount, "currency": currency} for amount, currency in lines]
    await desk.rule(APPROVER, APPROVER | {"at_least": above})
    below = [("0.00", "USD"), ("0", "JPY"), ("0.000", "KWD"), ("99999999999999999999.98", "EUR")]
    for place, (on, under) in enumerate(zip(lines, below, strict=True)):
        assert list((await desk.write("sender", f"on {place}", amounts=(on,))).levels) == ["1", "2"]
        assert list((await desk.write("sender", f"under {place}", amounts=(under,))).levels) == ["1"]


# Everybody at once ---------------------------------------------------------------------------------------------------


async def test_a_word_a_refusal_an_edit_and_the_end_of_time_at_once_leave_one_end(desk: Desk, house: House) -> None:
    await desk.rule(APPROVER)
    doors = [Door(house.database) for _ in range(5)]
    ends: set[str] = set()
    for number in range(8):
        paper = str(number)
        asked = await desk.write("sender", paper)
        words: list[Coroutine[Any, Any, Any]] = [
            desk.submit("anna", commands.APPROVE, Approve(asked.id, 1), door=doors[0]),
            desk.submit("bert", commands.REJECT, Reject(asked.id, "no"), door=doors[1]),
            desk.submit("sender", commands.WITHDRAW, Withdraw(asked.id), door=doors[2]),
            desk.submit("sender", STRIKE, Strike(paper), door=doors[3]),
            desk.submit("sender", WRITE, Write(paper, "another"), door=doors[4]),
        ]
        turn = number % len(words)
        await asyncio.gather(*words[turn:], *words[:turn])
        acts = [step["act"] for step in (await desk.show("anna", asked.id))["steps"]]
        ended = [act for act in acts if act != "approved"]
        assert acts in ([*ended], ["approved", *ended]), acts
        assert len(ended) <= 1, acts
        ends.update(acts)
        live = [each for each in await subject(desk, paper) if each["state"] in {"pending", "approved"}]
        assert len(live) <= 1, live
        assert await desk.release(paper) == "not_approved" or acts == ["approved"]
    assert ends
    for door in doors:
        await door.close()


async def subject(desk: Desk, paper: str) -> list[Any]:
    return list(ok(await desk["anna"].client.get(APPROVALS, params={"kind": "test.paper", "subject": paper}))["items"])


async def test_a_last_word_and_the_end_of_time_at_once_are_one_or_the_other(desk: Desk, house: House) -> None:
    await desk.rule(APPROVER, hours=1)
    made = [await desk.write("sender", str(number)) for number in range(6)]
    with time_machine.travel(made[-1].expires_at, tick=True):
        saying = [desk.approve("anna", each.id) for each in made]
        answers, _ = await asyncio.gather(asyncio.gather(*saying), worker.expire_approvals(house.database))
    assert set(answers) <= {"approval_expired", "not_pending"}
    assert clock.now() < made[0].expires_at
    assert {step["act"] for each in made for step in (await desk.show("anna", each.id))["steps"]} == {"expired"}


async def test_of_the_same_word_sent_at_once_through_many_doors_one_counts(desk: Desk, house: House) -> None:
    await desk.rule(APPROVER | {"count": 3})
    asked = await desk.write("sender", "1")
    doors = [Door(house.database) for _ in range(4)]
    word = Approve(asked.id, 1)
    caller = desk["anna"].caller()
    saying = [door.submit(commands.APPROVE, [word], caller=caller, book=1, key="once") for door in doors]
    answers = [each[0] for each in await asyncio.gather(*saying)]
    assert len({str(each) for each in answers}) == 1, answers
    assert ((await desk.show("anna", asked.id))["given"]) == 1
    for door in doors:
        await door.close()


async def test_edits_and_words_at_once_leave_no_deadlock_behind_for_anybody(desk: Desk, house: House) -> None:
    made = [await desk.write("sender", str(number)) for number in range(10)]
    doors = [Door(house.database) for _ in range(4)]
    papers = [str(number) for number in range(10)]
    await asyncio.gather(
        desk.submit("anna", commands.APPROVE, *(Approve(each.id, 1) for each in made), door=doors[0]),
        desk.submit("bert", commands.APPROVE, *(Approve(each.id, 1) for each in made[::-1]), door=doors[1]),
        desk.submit("sender", WRITE, *(Write(each, "other") for each in papers), door=doors[2]),
        desk.submit("carl", STRIKE, *(Strike(each) for each in papers[::-1]), door=doors[3]),
    )
    for each in made:
        shown = await desk.show("anna", each.id)
        assert shown["state"] == "voided", shown
        assert [step["act"] for step in shown["steps"]][-1] == "voided"
    for door in doors:
        await door.close()

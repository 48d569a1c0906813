"""What an approval in reconciliation does by itself: resolutions, undos and claims, each once and whole or not at all."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from clearhouse.kernel.approvals.approval import Approval
from clearhouse.kernel.approvals.decisions import Approve
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from house import House, balance, ok, refused
from offices import HERE, LINES, Office, accounts, opened
from papers import APPROVALS


@pytest.fixture
async def office(house: House) -> AsyncGenerator[Office]:
    async with opened(house) as office:
        await house.open_accounts(office.clerk, "customer", asset="EUR")
        await office.both()
        yield office


async def proposed(office: Office, broken: str, action: str, *others: str) -> str:
    found = await office.breaks()
    body = {"action": action, "breaks": [found[each]["id"] for each in others]}
    return str(ok(await office.say(broken, "propose", body))["approval"])


async def freeze(office: Office, code: str, state: str = "frozen") -> None:
    path = f"/api/v1/ledger/accounts/{code}"
    ok(await office.clerk.patch(path, params={"asset": "EUR"}, json={"state": state}))


async def state_of(office: Office, approval: str) -> str:
    return str((await office.desk.show("anna", approval))["state"])


# Once, whole or not at all ------------------------------------------------------------------------------------------


async def test_what_cannot_be_posted_leaves_the_approval_as_it_was(office: Office) -> None:
    approval = await proposed(office, "t7", "suspend")
    await freeze(office, "suspense")
    assert await office.desk.approve("anna", approval) == "posting_refused"
    shown = await office.desk.show("anna", approval)
    assert (shown["state"], shown["given"], [each["act"] for each in shown["steps"]]) == ("pending", 0, [])
    assert "t7" in await office.breaks()
    await freeze(office, "suspense", "open")
    assert await office.desk.approve("anna", approval) == "approved"
    assert await accounts(office) == ["4.98", "0.02", "5.00"]


async def test_of_two_last_words_at_once_one_is_carried_out(office: Office) -> None:
    approval = await proposed(office, "t7", "write_off")
    said = await asyncio.gather(*(office.desk.approve(who, approval) for who in ("anna", "bert")))
    assert sorted(said) == ["approved", "not_pending"]
    assert await accounts(office) == ["4.98", "-4.98", "0.00"]


async def test_the_same_word_under_the_same_key_does_nothing_again(office: Office) -> None:
    approval = await proposed(office, "t7", "write_off")
    once = {"Idempotency-Key": "released"}
    path = f"{APPROVALS}/{approval}/approve"
    answers = [ok(await office.desk["anna"].client.post(path, json={"level": 1}, headers=once)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert await accounts(office) == ["4.98", "-4.98", "0.00"]


async def test_only_the_last_of_several_levels_carries_out(office: Office) -> None:
    await office.desk.rule({"role": "approver", "count": 2}, kind="reconciliation.break")
    approval = await proposed(office, "t7", "accept")
    assert await office.desk.approve("anna", approval) == "pending"
    assert "t7" in await office.breaks()
    assert await office.desk.approve("bert", approval) == "approved"
    assert "t7" not in await office.breaks()


async def test_in_one_batch_the_first_takes_what_the_second_was_about(office: Office) -> None:
    both = [await proposed(office, "t6", "accept"), await proposed(office, "o6", "match", "t6")]
    asked = [Approve(each, 1) for each in both]
    answers = await office.desk.submit("anna", commands.APPROVE, *asked)
    told = [each.state.value if isinstance(each, Approval) else each.code for each in answers if each]
    assert told == ["approved", "break_closed"]
    assert not isinstance(answers[0], Refusal)
    assert [await state_of(office, each) for each in both] == ["approved", "pending"]
    assert set(await office.breaks()) == {"o3", "o6", "t7"}


async def test_a_match_takes_the_other_proposals_of_its_items_with_it(office: Office) -> None:
    other = await proposed(office, "t6", "accept")
    match = await proposed(office, "o6", "match", "t6")
    answers = await office.desk.submit("anna", commands.APPROVE, Approve(match, 1), Approve(other, 1))
    told = [each.code if isinstance(each, Refusal) else each.state.value for each in answers]
    assert told == ["approved", "not_pending"]
    assert await state_of(office, other) == "voided"


# Undo ---------------------------------------------------------------------------------------------------------------


async def test_an_undo_waits_for_somebody_else_whoever_made_the_match(office: Office) -> None:
    run = ok(await office.clerk.get(f"{HERE}/rule-sets/nostro-eur/runs"))["items"][0]
    match = (await office.matches(run["id"]))[0]
    asked = ok(await office.amend(match["id"], "undo", remark="another invoice"))
    assert (asked["proposal"]["action"], asked["proposal"]["remark"]) == ("undo", "another invoice")
    assert "undone_at" not in asked
    assert await accounts(office) == ["-0.02", "0.02", "0.00"]
    assert await office.desk.approve("clerk", asked["approval"]) == "own_work"
    assert (await office.desk.inbox("anna"))[0].startswith("undo: 100.00 EUR")
    assert await office.desk.approve("anna", asked["approval"]) == "approved"
    assert await accounts(office) == ["0.00", "0.00", "0.00"]
    assert {"o1", "t1"} <= set(await office.breaks())


async def test_what_was_undone_no_run_makes_again_but_people_may(office: Office) -> None:
    run = ok(await office.clerk.get(f"{HERE}/rule-sets/nostro-eur/runs"))["items"][0]
    wrong = [each for each in await office.matches(run["id"]) if each["ours"][0]["id"] in {"o1", "o2", "o4"}]
    for match in wrong:
        await office.undo(match["id"])
    freed = {"o1", "t1", "o2", "t2", "t2b", "o4", "t4"}
    again = await office.run()
    assert (again["matches"], freed & set(await office.breaks())) == (0, freed)
    await office.load("theirs", '{"id": "t8", "amount": "-9.99", "currency": "EUR", "date": "2026-11-04"}', LINES)
    assert [each["theirs"][0]["id"] for each in await office.matches((await office.run())["id"])] == ["t8"]
    broken = [(await office.breaks())[each]["id"] for each in ("o2", "t2", "t2b")]
    match = ok(await office.clerk.post(f"{HERE}/matches", json={"breaks": broken}))
    assert (match["kind"], len(match["theirs"])) == ("hand", 2)
    verified = ok(await office.clerk.post(f"{HERE}/runs/{run['id']}/verify"))
    assert verified["same"]


async def test_another_proposal_for_a_match_voids_the_one_before(office: Office) -> None:
    await proposed(office, "t7", "suspend")
    match = (await office.approved("t7"))["id"]
    first = ok(await office.amend(match, "undo"))["approval"]
    second = ok(await office.amend(match, "claim", account="customer"))["approval"]
    assert await office.desk.approve("anna", first) == "not_pending"
    assert await office.desk.approve("anna", second) == "approved"


# Claims -------------------------------------------------------------------------------------------------------------


async def test_money_in_suspense_is_claimed_later_by_two_people(office: Office) -> None:
    await proposed(office, "t7", "suspend")
    match = (await office.approved("t7"))["id"]
    waiting = ok(await office.clerk.get(f"{HERE}/suspense"))["items"]
    assert [(each["id"], each["suspense"], each["difference"]) for each in waiting] == [(match, "suspense", "-5.00")]
    approval = ok(await office.amend(match, "claim", account="customer"))["approval"]
    assert await balance(office.clerk, "customer", "EUR") == "0.00"
    assert await office.desk.approve("anna", approval) == "approved"
    assert await accounts(office) == ["4.98", "0.02", "0.00"]
    assert await balance(office.clerk, "customer", "EUR") == "5.00"
    claimed = await office.match(match)
    booked = ok(await office.clerk.get(f"/api/v1/ledger/transactions/{claimed['claim']}"))
    assert (claimed["claimed_to"], booked["reference"]) == ("customer", match)
    assert ok(await office.clerk.get(f"{HERE}/suspense"))["items"] == []
    for word in ("undo", "claim"):
        assert refused(await office.amend(match, word, **({"account": "customer"} if word == "claim" else {})), 409) == (
            "match_claimed"
        )


async def test_money_that_is_missing_waits_in_suspense_and_is_claimed_from_whom_it_is(office: Office) -> None:
    await proposed(office, "o3", "suspend")
    match = (await office.approved("o3"))["id"]
    assert await accounts(office) == ["-70.02", "0.02", "-70.00"]
    approval = ok(await office.amend(match, "claim", account="customer"))["approval"]
    assert await office.desk.approve("anna", approval) == "approved"
    assert (await accounts(office), await balance(office.clerk, "customer", "EUR")) == (["-70.02", "0.02", "0.00"], "-70.00")


async def test_what_does_not_wait_in_suspense_is_not_claimed_and_not_for_where_it_is(office: Office) -> None:
    run = ok(await office.clerk.get(f"{HERE}/rule-sets/nostro-eur/runs"))["items"][0]
    rule_made = (await office.matches(run["id"]))[0]["id"]
    assert refused(await office.amend(rule_made, "claim", account="customer"), 422) == "nothing_to_claim"
    await proposed(office, "t7", "suspend")
    match = (await office.approved("t7"))["id"]
    for account, code in (("suspense", "no_claimant"), ("nostro", "no_claimant"), ("nobody", "account_missing")):
        assert refused(await office.amend(match, "claim", account=account), 422) == code


async def test_money_is_claimed_from_where_it_was_put_whatever_the_rules_say_now(office: Office) -> None:
    await proposed(office, "t7", "suspend")
    match = (await office.approved("t7"))["id"]
    await office.house.open_accounts(office.clerk, "suspense:new", asset="EUR")
    rules = ok(await office.clerk.get(f"{HERE}/rule-sets/nostro-eur"))
    changed = {name: rules[name] for name in ("name", "rules", "account", "write_off")} | {"suspense": "suspense:new"}
    ok(await office.clerk.post(f"{HERE}/rule-sets", json=changed))
    approval = ok(await office.amend(match, "claim", account="customer"))["approval"]
    assert await office.desk.approve("anna", approval) == "approved"
    assert (await accounts(office), await balance(office.clerk, "customer", "EUR")) == (["4.98", "0.02", "0.00"], "5.00")

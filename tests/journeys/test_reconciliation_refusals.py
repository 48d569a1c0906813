"""What reconciliation refuses: whatever cannot be done leaves breaks, matches and money as they were."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from clearhouse.kernel.reconciliation.entries import LoadEntries
from clearhouse.kernel.reconciliation.items import LoadItems
from clearhouse.kernel.reconciliation.rules import RuleSetNotFound
from clearhouse.kernel.reconciliation.runs import StartRun
from clearhouse.slices.operations.reconciliation_commands import LOAD, LOAD_ENTRIES, RUN, WRITE
from house import House, ok, refused
from offices import BREAKS, CSV, HERE, OURS, RULES, SETS, Office, accounts, opened
from papers import PRINCIPALS
from stage import caller


@pytest.fixture
async def office(house: House) -> AsyncGenerator[Office]:
    async with opened(house) as office:
        await house.open_accounts(office.clerk, "customer", asset="EUR")
        await office.both()
        yield office


async def freeze(office: Office, code: str, state: str = "frozen") -> None:
    path = f"/api/v1/ledger/accounts/{code}"
    ok(await office.clerk.patch(path, params={"asset": "EUR"}, json={"state": state}))


async def first_match(office: Office) -> str:
    """Return the match whose difference was written off."""
    run = ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"][0]["id"]
    return str((await office.matches(run))[0]["id"])


async def test_an_undo_whose_money_cannot_go_back_is_not_done(office: Office) -> None:
    match = await first_match(office)
    approval = ok(await office.amend(match, "undo"))["approval"]
    await freeze(office, "differences")
    assert await office.desk.approve("anna", approval) == "posting_refused"
    assert "undone_at" not in await office.match(match)
    await freeze(office, "differences", "open")
    assert await office.desk.approve("anna", approval) == "approved"
    assert await accounts(office) == ["0.00", "0.00", "0.00"]


async def test_a_claim_whose_money_cannot_go_there_is_not_done(office: Office) -> None:
    ok(await office.say("t7", "propose", {"action": "suspend", "breaks": []}))
    match = (await office.approved("t7"))["id"]
    before = await accounts(office)
    approval = ok(await office.amend(match, "claim", account="customer"))["approval"]
    await freeze(office, "customer")
    assert await office.desk.approve("anna", approval) == "posting_refused"
    assert [each["id"] for each in ok(await office.clerk.get(f"{HERE}/suspense"))["items"]] == [match]
    assert await accounts(office) == before


async def test_what_nobody_is_left_to_approve_is_not_proposed(office: Office) -> None:
    for name in ("anna", "bert"):
        ok(await office.house.admin.put(f"{PRINCIPALS}/{office.desk[name].text}/roles", json={"roles": []}))
    answer = await office.say("t7", "propose", {"action": "suspend", "breaks": []})
    assert refused(answer, 422) == "nobody_can_approve"
    assert "approval" not in (await office.breaks())["t7"]
    match = await first_match(office)
    assert refused(await office.amend(match, "undo"), 422) == "nobody_can_approve"
    assert "proposed" not in await office.match(match)


async def test_why_a_closed_break_was_one_is_not_said_anew(office: Office) -> None:
    run = ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"][0]["id"]
    await office.undo((await office.matches(run))[1]["id"])
    found = await office.breaks()
    ok(await office.clerk.post(f"{HERE}/matches", json={"breaks": [found[each]["id"] for each in ("o4", "t4")]}))
    closed = (await office.breaks(state="closed"))["o4"]["id"]
    body: dict[str, Any] = {"remark": "late"}
    assert ok(await office.clerk.post(f"{BREAKS}/{closed}/remark", json=body))["remarks"][-1]["remark"] == "late"
    body |= {"reason": "their_mistake"}
    assert refused(await office.clerk.post(f"{BREAKS}/{closed}/remark", json=body), 409) == "break_closed"


async def test_breaks_of_two_rule_sets_are_no_match(office: Office) -> None:
    ok(await office.clerk.post(SETS, json={**RULES, "name": "another"}))
    await office.load("ours", OURS.replace("\no", "\np"), CSV, "another")
    await office.run("another")
    mine, other = (await office.breaks())["t7"]["id"], (await office.breaks(rule_set="another"))["p2"]["id"]
    answer = await office.clerk.post(f"{HERE}/matches", json={"breaks": [mine, other]})
    assert refused(answer, 422) == "one_side_only"


async def test_matches_of_a_run_go_on_after_one_of_its_own_only(office: Office) -> None:
    run = ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"][0]["id"]
    found = await office.matches(run)
    rest = ok(await office.clerk.get(f"{HERE}/runs/{run}/matches", params={"cursor": found[1]["id"]}))["items"]
    assert rest == found[2:]
    other = (await office.run())["id"]
    path = f"{HERE}/runs/{other}/matches"
    assert refused(await office.clerk.get(path, params={"cursor": found[1]["id"]}), 404) == "match_not_found"


async def test_for_a_rule_set_that_is_not_there_nothing_is_done_whoever_brings_it(house: House) -> None:
    ann, no = caller("Ann", WRITE), RuleSetNotFound(name="nothing")
    door = house.door
    assert await door.submit(LOAD, [LoadItems("nothing", "ours", [])], caller=ann, book=1) == [no]
    assert await door.submit(LOAD_ENTRIES, [LoadEntries("nothing")], caller=ann, book=1) == [no]
    assert await door.submit(RUN, [StartRun("nothing")], caller=ann, book=1) == [no]

"""Who decides who decides: once a book has rules for `approvals.policy`, nobody alone makes the eyes fewer."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
import time_machine

from clearhouse import clock
from clearhouse.app import worker
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.approvals import effects
from clearhouse.kernel.approvals.decisions import Approve
from clearhouse.kernel.approvals.effects import EFFECTS
from clearhouse.kernel.approvals.policies import Level, SetPolicy
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.reconciliation.breaks import SUBJECT as BREAK
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from house import House, client, ok, refused
from papers import APPROVALS, PAPER, POLICIES, PRINCIPALS, Clerk, Desk

GUARD = "approvals.policy"
APPROVER: dict[str, Any] = {"role": "approver"}
LOWER = {"kind": PAPER, "levels": [APPROVER]}
EVERYTHING = ("operator", "approver", "admin")


@pytest.fixture
async def desk(house: House) -> AsyncGenerator[Desk]:
    """Give a desk whose papers two people release, with Mallory, who has every role, and rules for changing rules."""
    made = Desk(house)
    await made.hire("mallory", *EVERYTHING)
    await made.hire("sender", "operator")
    for name in ("anna", "bert", "carl"):
        await made.hire(name, "approver")
    await made.hire("sock")
    await made.rule(APPROVER, APPROVER)
    await made.rule(APPROVER, kind=GUARD)
    yield made
    for clerk in made.clerks.values():
        await clerk.client.aclose()


async def forget(desk: Desk) -> None:
    """Let the doors look everybody up anew."""
    desk.house.gate.forget()


async def asked(answer: httpx.Response) -> str:
    """Return the approval that a change waits for."""
    found = ok(answer)
    assert found["approval"].startswith("apr_"), found
    return str(found["approval"])


async def lower(desk: Desk, who: str = "mallory") -> str:
    """Ask for papers to be released by one."""
    answer = await desk[who].client.post(POLICIES, json=LOWER)
    assert answer.status_code == 202
    return await asked(answer)


async def levels(desk: Desk, kind: str = PAPER) -> int:
    """Return how many levels a kind has now."""
    return len(ok(await desk["anna"].client.get(f"{POLICIES}/{kind}"))["levels"])


# How it works --------------------------------------------------------------------------------------------------------


async def test_the_first_rules_for_rules_are_set_by_one_and_every_change_after_waits_for_another(desk: Desk) -> None:
    approval = await lower(desk)
    assert await levels(desk) == 2
    shown = await desk.show("anna", approval)
    assert (shown["subject"], shown["title"]) == ({"kind": GUARD, "id": f"{PAPER}:2"}, f"set who approves {PAPER}")
    assert shown["change"]["policy"] == LOWER
    assert await desk.inbox("anna") == [shown["title"]]
    assert await desk.approve("anna", approval) == "approved"
    found = ok(await desk["anna"].client.get(f"{POLICIES}/{PAPER}"))
    assert (len(found["levels"]), found["version"], found["approval"]) == (1, 2, approval)
    assert found["set_by"] == desk["mallory"].text


async def test_rules_are_retired_with_anothers_word_and_then_nothing_of_the_kind_is_asked_for(desk: Desk) -> None:
    before = await desk.write("sender", "1")
    approval = await asked(await desk["mallory"].client.post(f"{POLICIES}/{PAPER}/retire"))
    assert (await desk.write("sender", "2")).state.value == "pending"
    assert await desk.approve("anna", approval) == "approved"
    assert (await desk.write("sender", "3")).code == "no_policy"
    assert refused(await desk["anna"].client.get(f"{POLICIES}/{PAPER}"), 404) == "policy_not_found"
    assert refused(await desk["mallory"].client.post(f"{POLICIES}/{PAPER}/retire"), 404) == "policy_not_found"
    assert await desk.approve("anna", before.id) == "pending"
    assert await desk.approve("bert", before.id, 2) == "approved"


async def test_without_rules_for_rules_an_administrator_sets_and_retires_them_at_once(house: House) -> None:
    desk = Desk(house)
    await desk.hire("anna", "approver")
    await desk.rule(APPROVER)
    retired = ok(await house.admin.post(f"{POLICIES}/{PAPER}/retire"))
    assert (retired["version"], retired["retired"]) == (2, True)
    assert (await desk.rule(APPROVER))["version"] == 3
    assert [each["kind"] for each in ok(await house.admin.get(POLICIES))["items"]] == [PAPER]


async def test_every_version_stays_to_be_read_with_who_set_it_and_who_agreed(desk: Desk, house: House) -> None:
    approval = await lower(desk)
    await desk.approve("anna", approval)
    gone = await asked(await desk["mallory"].client.post(f"{POLICIES}/{PAPER}/retire"))
    await desk.approve("anna", gone)
    path = f"{POLICIES}/{PAPER}/versions"
    first = ok(await desk["anna"].client.get(path, params={"limit": 2}))
    rest = ok(await desk["anna"].client.get(path, params={"cursor": first["next"]}))
    told = [
        (each["version"], len(each["levels"]), each.get("retired", False), each.get("approval"))
        for each in first["items"] + rest["items"]
    ]
    assert told == [(3, 0, True, gone), (2, 1, False, approval), (1, 2, False, None)]
    assert refused(await house.admin.get(f"{POLICIES}/test.nothing/versions"), 404) == "policy_not_found"


async def test_the_same_rules_again_change_nothing_and_ask_nobody(desk: Desk) -> None:
    answer = await desk["mallory"].client.post(POLICIES, json={"kind": PAPER, "levels": [APPROVER, APPROVER]})
    assert (answer.status_code, ok(answer)["version"]) == (201, 1)
    assert await desk.inbox("anna") == []


async def test_rules_that_nobody_could_satisfy_are_refused_before_anybody_is_asked(desk: Desk) -> None:
    impossible = {"kind": PAPER, "levels": [APPROVER | {"count": 9}]}
    assert refused(await desk["mallory"].client.post(POLICIES, json=impossible), 422) == "nobody_can_approve"


async def test_rules_that_nobody_could_satisfy_any_more_are_not_carried_out_and_the_word_is_not_said(desk: Desk) -> None:
    body = {"kind": PAPER, "levels": [APPROVER | {"count": 4}]}
    approval = await asked(await desk["mallory"].client.post(POLICIES, json=body))
    ok(await desk.house.admin.put(f"{PRINCIPALS}/{desk['carl'].text}/roles", json={"roles": []}))
    assert await desk.approve("anna", approval) == "nobody_can_approve"
    shown = await desk.show("anna", approval)
    assert (shown["state"], shown["given"], shown["steps"]) == ("pending", 0, [])
    assert await levels(desk) == 2


async def test_rules_for_rules_that_only_their_author_could_ever_satisfy_are_refused(house: House) -> None:
    desk = Desk(house)
    await desk.hire("mallory", *EVERYTHING)
    answer = await desk["mallory"].client.post(POLICIES, json={"kind": GUARD, "levels": [APPROVER]})
    assert refused(answer, 422) == "nobody_can_approve"


async def test_whoever_proposed_one_version_is_free_to_approve_the_next(desk: Desk) -> None:
    await desk.approve("anna", await lower(desk))
    answer = await desk.house.admin.post(POLICIES, json={"kind": PAPER, "levels": [APPROVER, APPROVER]})
    assert await desk.approve("mallory", await asked(answer)) == "approved"


# What an attacker tries ----------------------------------------------------------------------------------------------


async def test_whoever_asks_for_fewer_eyes_is_not_one_of_those_who_agree(desk: Desk, house: House) -> None:
    approval = await lower(desk)
    assert await desk.approve("mallory", approval) == "own_work"
    issued = ok(await desk["mallory"].client.post(f"{PRINCIPALS}/{desk['mallory'].text}/keys", json={}))
    token = ok(await desk["mallory"].client.post("/api/v1/access/tokens"))["token"]
    for credential in (issued["secret"], token):
        again = client(house.entrance, credential)
        assert refused(await again.post(f"{APPROVALS}/{approval}/approve", json={"level": 1}), 403) == "own_work"
        await again.aclose()
    assert await levels(desk) == 2


async def test_the_rules_for_rules_are_changed_and_retired_like_any_others(desk: Desk) -> None:
    mallory = desk["mallory"]
    longer = await asked(await mallory.client.post(POLICIES, json={"kind": GUARD, "levels": [APPROVER], "hours": 8784}))
    assert await desk.approve("mallory", longer) == "own_work"
    retired = await asked(await mallory.client.post(f"{POLICIES}/{GUARD}/retire"))
    assert await desk.approve("mallory", retired) == "own_work"
    assert await desk.approve("anna", longer) == "not_pending"  # there is one next version, and the other was asked for last
    assert (await mallory.client.post(POLICIES, json=LOWER)).status_code == 202


async def test_a_kind_under_another_name_and_one_that_was_retired_wait_for_a_word_too(desk: Desk) -> None:
    await desk.approve("anna", await asked(await desk["mallory"].client.post(f"{POLICIES}/{PAPER}/retire")))
    for kind in (PAPER, "test.paper_", "test"):
        answer = await desk["mallory"].client.post(POLICIES, json={"kind": kind, "levels": [APPROVER]})
        assert answer.status_code == 202
        assert (await desk.write("sender", "1", kind=kind)).code == "no_policy"
    assert refused(await desk["mallory"].client.post(POLICIES, json=LOWER | {"kind": "Approvals.policy"}), 400)


async def test_nobody_gives_a_say_alone_neither_to_themselves_nor_to_somebody_they_made(desk: Desk) -> None:
    mallory, sock = desk["mallory"], desk["sock"]
    own = await mallory.client.put(f"{PRINCIPALS}/{mallory.text}/roles", json={"roles": ["approver", "admin"]})
    assert refused(own, 403) == "own_grant"
    made = await mallory.client.post(PRINCIPALS, json={"name": "mallory again", "roles": ["approver"]})
    assert refused(made, 422) == "roles_after"
    given = ok(await mallory.client.put(f"{PRINCIPALS}/{sock.text}/roles", json={"roles": ["approver", "viewer"]}))
    assert given["roles"] == []
    await forget(desk)
    assert await desk.approve("mallory", given["approval"]) == "own_work"
    lowered = await lower(desk)
    assert refused(await sock.client.post(f"{APPROVALS}/{lowered}/approve", json={"level": 1}), 404) == "not_found"
    assert await desk.approve("anna", given["approval"]) == "approved"
    await forget(desk)
    assert await desk.approve("sock", lowered) == "approved"


async def test_nobody_agrees_to_their_own_promotion(desk: Desk) -> None:
    path = f"{PRINCIPALS}/{desk['anna'].text}/roles"
    approval = await asked(await desk["mallory"].client.put(path, json={"roles": ["approver", "admin"]}))
    assert await desk.approve("anna", approval) == "own_work"


async def test_what_gives_nobody_a_say_is_done_at_once(desk: Desk) -> None:
    for roles in (["approver", "auditor"], ["auditor"], []):
        changed = ok(await desk["mallory"].client.put(f"{PRINCIPALS}/{desk['carl'].text}/roles", json={"roles": roles}))
        assert changed["roles"] == roles


async def test_nobody_holds_the_key_of_another_who_has_a_say_without_a_third_who_knows(desk: Desk, house: House) -> None:
    mallory, path = desk["mallory"], f"{PRINCIPALS}/{desk['anna'].text}/keys"
    first = ok(await mallory.client.post(path, json={"label": "a laptop"}))
    assert first["secret"] == ""
    for who in ("mallory", "anna"):
        assert await desk.approve(who, first["approval"]) == "own_work"
    assert ok(await mallory.client.post(path, json={"label": "a laptop"}))["approval"] == first["approval"]
    assert await desk.approve("bert", first["approval"]) == "approved"
    assert ok(await mallory.client.post(path, json={"label": "another"}))["secret"] == ""
    again = ok(await mallory.client.post(path, json={"label": "another"}))
    assert await desk.approve("bert", again["approval"]) == "approved"
    issued = ok(await mallory.client.post(path, json={"label": "another"}))
    asking = client(house.entrance, issued["secret"])
    assert ok(await asking.get("/api/v1/access/whoami"))["id"] == desk["anna"].text
    await asking.aclose()
    assert ok(await mallory.client.post(path, json={"label": "another"}))["secret"] == ""


async def test_a_role_that_is_taken_away_for_the_sake_of_a_key_comes_back_with_anothers_word_only(desk: Desk) -> None:
    mallory, path = desk["mallory"], f"{PRINCIPALS}/{desk['anna'].text}"
    ok(await mallory.client.put(f"{path}/roles", json={"roles": []}))
    issued = ok(await mallory.client.post(f"{path}/keys", json={}))
    stolen = Clerk(desk["anna"].id, "stolen", client(desk.house.entrance, issued["secret"]))
    desk.clerks["stolen"] = stolen
    back = await asked(await mallory.client.put(f"{path}/roles", json={"roles": ["approver"]}))
    assert await desk.approve("mallory", back) == "own_work"
    assert refused(await stolen.client.post(f"{APPROVALS}/{back}/approve", json={"level": 1}), 404) == "not_found"


async def test_the_key_of_another_is_not_had_from_a_book_where_one_rules_alone(desk: Desk, house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "other"}))
    house.gate.forget()
    guest = await desk.hire("guest", "viewer", book="other")
    await desk.approve(
        "anna", await asked(await house.admin.put(f"{PRINCIPALS}/{guest.text}/roles", json={"roles": ["approver"]}))
    )
    answer = await house.admin.post(f"{PRINCIPALS}/{guest.text}/keys", params={"book": "other"}, json={})
    assert refused(answer, 422) == "guarded_elsewhere"


async def test_what_was_asked_before_the_rules_were_made_stricter_is_asked_again(desk: Desk) -> None:
    patient = await lower(desk)
    stricter = {"kind": GUARD, "levels": [APPROVER, APPROVER]}
    await desk.approve("anna", await asked(await desk.house.admin.post(POLICIES, json=stricter)))
    assert await desk.approve("anna", patient) == "change_outdated"
    assert await levels(desk) == 2
    fresh = await lower(desk)
    assert await desk.approve("anna", fresh) == "pending"
    assert await desk.approve("bert", fresh, 2) == "approved"


async def test_time_that_runs_out_agrees_to_nothing(desk: Desk, house: House) -> None:
    approval = await lower(desk)
    with time_machine.travel(clock.now() + timedelta(days=8), tick=True):
        assert await desk.approve("anna", approval) == "approval_expired"
        assert await worker.expire_approvals(house.database) == 1
        again = await lower(desk)
        assert again != approval
        assert await desk.approve("mallory", again) == "own_work"
    assert await levels(desk) == 2


async def test_roles_that_changed_since_they_were_asked_for_are_not_given_back(desk: Desk, house: House) -> None:
    path = f"{PRINCIPALS}/{desk['sender'].text}/roles"
    approval = await asked(await desk["mallory"].client.put(path, json={"roles": ["approver", "operator"]}))
    ok(await house.admin.put(path, json={"roles": []}))
    assert await desk.approve("anna", approval) == "change_outdated"


async def test_rules_that_came_with_a_product_meanwhile_are_not_written_over_unseen(desk: Desk) -> None:
    asking = await asked(await desk["mallory"].client.post(POLICIES, json={"kind": BREAK, "levels": [APPROVER] * 2}))
    assert (await desk.write("sender", "1", kind=BREAK)).state.value == "pending"
    assert await desk.approve("anna", asking) == "change_outdated"
    assert await levels(desk, BREAK) == 1


async def test_when_nobody_is_left_to_agree_neither_rules_change_nor_is_a_key_issued(desk: Desk) -> None:
    mallory = desk["mallory"].client
    for name in ("bert", "carl"):
        ok(await mallory.put(f"{PRINCIPALS}/{desk[name].text}/roles", json={"roles": []}))
    assert refused(await mallory.post(f"{PRINCIPALS}/{desk['anna'].text}/keys", json={}), 422) == "nobody_can_approve"
    ok(await mallory.put(f"{PRINCIPALS}/{desk['anna'].text}/roles", json={"roles": []}))
    assert refused(await mallory.post(POLICIES, json=LOWER), 422) == "nobody_can_approve"
    assert len(ok(await mallory.get(f"{POLICIES}/{PAPER}"))["levels"]) == 2


async def test_of_two_who_make_the_first_rules_for_rules_at_once_the_second_waits_for_a_word(house: House) -> None:
    desk = Desk(house)
    names = [f"admin {number}" for number in range(4)]
    for name in (*names, "anna", "bert"):
        await desk.hire(name, "admin" if name in names else "approver")
    doors = [Door(house.database) for _ in names]
    rules = [SetPolicy(GUARD, [Level("approver")], hours=number + 1) for number in range(len(names))]
    answers = await asyncio.gather(
        *(
            door.submit(commands.SET_POLICY, [rule], caller=admin(desk[name]), book=1)
            for name, rule, door in zip(names, rules, doors, strict=True)
        )
    )
    said = [each[0] for each in answers]
    assert not any(isinstance(each, Refusal) for each in said)
    assert sorted(each.version for each in said if not isinstance(each, Refusal)) == [0, 0, 0, 1]
    for door in doors:
        await door.close()


def admin(clerk: Clerk) -> Caller:
    return Caller(clerk.id, clerk.name, books={"main": 1}, scopes={1: frozenset({"approvals:policies"})})


async def test_of_two_last_words_on_two_changes_at_once_each_takes_effect_once(desk: Desk, house: House) -> None:
    first = await asked(await house.admin.post(POLICIES, json=LOWER))
    doors = [Door(house.database) for _ in range(3)]
    words = [
        desk.submit(name, commands.APPROVE, Approve(first, 1), door=door)
        for name, door in zip(("anna", "bert", "carl"), doors, strict=True)
    ]
    answers = [each[0] for each in await asyncio.gather(*words)]
    told = sorted(each.code if isinstance(each, Refusal) else each.state.value for each in answers)
    assert told == ["approved", "not_pending", "not_pending"]
    versions = ok(await house.admin.get(f"{POLICIES}/{PAPER}/versions"))["items"]
    assert [each["version"] for each in versions] == [2, 1]
    for door in doors:
        await door.close()


async def test_the_journal_says_who_asked_who_agreed_and_what_came_of_it(desk: Desk, house: House) -> None:
    approval = await lower(desk)
    await desk.approve("mallory", approval)
    await desk.approve("anna", approval)
    await house.seal()
    rows = ok(await house.admin.get("/api/v1/audit/lines", params={"limit": 1000}))["items"]
    told = [
        (line["event"], line.get("refused", ""), line["subject"], row["principal"])
        for row in rows
        for line in msgspec.json.decode(row["lines"])
        if line["event"].startswith("approvals")
    ][2:]
    mallory, anna = desk["mallory"].text, desk["anna"].text
    assert told[0] == ("approvals.asked", "", approval, mallory)
    assert told[1][:2] == ("approvals.approve", "own_work")
    assert sorted(told[2:]) == [("approvals.approved", "", approval, anna), ("approvals.policy_set", "", PAPER, anna)]


def test_approvals_of_a_kind_have_one_effect_and_saying_so_again_changes_nothing() -> None:
    mine = EFFECTS[BREAK]
    effects.declare({BREAK: mine})
    with pytest.raises(ValueError, match=BREAK):
        effects.declare({BREAK: replace(mine)})
    assert EFFECTS[BREAK] is mine

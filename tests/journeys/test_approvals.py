"""Approvals through their doors: who may release what, with whom, until when, and for which content."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import time_machine

from clearhouse import clock, ids
from clearhouse.app import worker
from clearhouse.kernel.approvals.approval import digest
from clearhouse.kernel.approvals.decisions import Approve
from clearhouse.kernel.commands.submitting import Door
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from house import House, ok, refused
from papers import APPROVALS, PAPER, RELEASE, STRIKE, WRITE, Desk, Release, Strike, Write

APPROVER = {"role": "approver"}
HOUR = timedelta(hours=1)

# Everybody has the scopes that the verb needs, but for the last: what decides is the hand they had in the paper.
WHO = """
    who       roles                        approve        reject          withdraw
    author    approver,auditor,operator    own_work       own_work        withdrawn
    editor    approver,auditor,operator    own_work       own_work        withdrawn
    sender    approver,auditor,operator    own_work       own_work        withdrawn
    anna      approver,auditor,operator    pending        rejected        not_asker
    bert      approver,operator            not_approver   rejected        not_asker
    robot     approver,auditor,operator    people_only    people_only     not_asker
    otto      operator,auditor             denied         denied          not_asker
    vera      viewer                       denied         denied          denied
    alma      admin                        denied         denied          not_asker
    paul      approver,auditor             pending        rejected        denied
"""


@pytest.fixture
async def desk(house: House) -> AsyncGenerator[Desk]:
    """Give a desk with one who writes, three who approve, and rules of two levels."""
    made = Desk(house)
    await made.hire("sender", "operator", "approver")
    for name in ("anna", "bert", "carl"):
        await made.hire(name, "approver")
    await made.rule(APPROVER, APPROVER)
    yield made
    for clerk in made.clerks.values():
        await clerk.client.aclose()


def codes(answers: list[Any]) -> list[str]:
    return [each.code if isinstance(each, Refusal) else each.state.value for each in answers]


async def test_who_may_say_what_is_as_the_table_has_it(house: House) -> None:
    desk = Desk(house)
    head, *rows = [line.split() for line in WHO.strip().splitlines()]
    for name, roles, *_ in rows:
        await desk.hire(name, *roles.split(","), kind="service" if name == "robot" else "person")
    await desk.rule({"role": "auditor"}, APPROVER)
    author, editors = desk["author"].id, (desk["editor"].id,)
    told: list[list[str]] = []
    for name, roles, *_ in rows:
        row = [name, roles]
        for word in head[2:]:
            asked = await desk.write("sender", f"{word} by {name}", creator=author, editors=editors)
            body = {"level": 1} if word == "approve" else {"remark": "so it is"}
            row.append(await desk.say(name, word, asked.id, **body))
        told.append(row)
    assert told == rows


async def test_a_paper_is_released_once_two_people_have_approved_it(desk: Desk) -> None:
    asked = await desk.write("sender", "1", "pay 5")
    assert await desk.release("1", "pay 5") == "not_approved"
    assert await desk.approve("anna", asked.id) == "pending"
    assert await desk.release("1", "pay 5") == "not_approved"
    assert await desk.approve("bert", asked.id, 2) == "approved"
    assert await desk.release("1", "pay 5") == "approved"
    assert await desk.release("1", "pay 6") == "not_approved"
    assert await desk.release("2", "pay 5") == "not_approved"


async def test_an_approval_shows_whose_hands_and_whose_words_it_has(desk: Desk) -> None:
    asked = await desk.write("sender", "1", "pay 5", amounts=(("5.00", "USD"),))
    await desk.say("anna", "approve", asked.id, level=1, remark="seen\nand checked")
    shown = await desk.show("anna", asked.id)
    assert shown["subject"] == {"kind": PAPER, "id": "1"}
    assert shown["content"] == digest("pay 5").hex()
    assert (shown["level"], shown["given"], shown["makers"]) == (2, 0, [desk["sender"].text])
    assert shown["amounts"] == [{"amount": "5.00", "currency": "USD"}]
    step = shown["steps"][0]
    assert (step["act"], step["by"], step["remark"]) == ("approved", desk["anna"].text, "seen\nand checked")


async def test_each_level_is_another_person(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    assert await desk.approve("anna", asked.id, 2) == "already_approved"
    assert await desk.approve("bert", asked.id, 2) == "approved"


async def test_a_level_that_asks_for_two_waits_for_two(desk: Desk) -> None:
    await desk.rule(APPROVER | {"count": 2}, APPROVER)
    asked = await desk.write("sender", "1")
    assert await desk.approve("anna", asked.id) == "pending"
    assert await desk.approve("anna", asked.id) == "already_approved"
    assert (await desk.show("anna", asked.id))["level"] == 1
    await desk.approve("bert", asked.id)
    assert (await desk.show("anna", asked.id))["level"] == 2
    assert await desk.approve("carl", asked.id, 2) == "approved"


async def test_whoever_saw_a_level_that_has_passed_approves_nothing(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    assert await desk.approve("bert", asked.id, 1) == "other_level"
    assert (await desk.show("bert", asked.id))["level"] == 2


async def test_an_edit_voids_what_was_approved(desk: Desk) -> None:
    asked = await desk.write("sender", "1", "pay 5")
    await desk.approve("anna", asked.id)
    again = await desk.write("sender", "1", "pay 500")
    assert await desk.approve("bert", asked.id, 2) == "not_pending"
    assert ((await desk.show("bert", asked.id))["state"], again.level, again.replaces) == ("voided", 1, asked.id)
    await desk.approve("anna", again.id)
    await desk.approve("bert", again.id, 2)
    assert await desk.release("1", "pay 500") == "approved"
    await desk.write("sender", "1", "pay 5")
    assert await desk.release("1", "pay 500") == "not_approved"
    assert await desk.release("1", "pay 5") == "not_approved"


async def test_an_edit_that_is_not_asked_for_yet_voids_too_and_its_editor_never_approves(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    await desk.submit("carl", STRIKE, Strike("1"))
    await desk.submit("carl", STRIKE, Strike("never asked"))
    assert await desk.approve("anna", asked.id) == "not_pending"
    again = await desk.write("sender", "1")
    assert again.id != asked.id
    assert await desk.approve("carl", again.id) == "own_work"


async def test_the_same_content_again_is_the_same_approval(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    again = await desk.write("sender", "1")
    assert (again.id, again.level) == (asked.id, 2)


async def test_whoever_approved_and_then_has_a_hand_in_it_has_not_approved(desk: Desk) -> None:
    await desk.hire("dora", "approver")
    asked = await desk.write("sender", "1")
    await desk.approve("anna", asked.id)
    again = await desk.write("anna", "1")
    assert (again.id != asked.id, again.level) == (True, 1)
    assert await desk.approve("anna", again.id) == "own_work"


async def test_a_rejection_ends_it_and_says_why(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    assert refused(await desk["anna"].client.post(f"{APPROVALS}/{asked.id}/reject", json={"remark": ""}), 400) == "malformed"
    assert await desk.say("anna", "reject", asked.id, remark="too much") == "rejected"
    for word, body in (("approve", {"level": 1}), ("reject", {"remark": "no"})):
        assert await desk.say("bert", word, asked.id, **body) == "not_pending"
    assert await desk.say("sender", "withdraw", asked.id) == "not_pending"
    assert await desk.release("1") == "not_approved"
    assert (await desk.write("sender", "1")).id != asked.id


async def test_the_amount_says_which_levels_are_asked(desk: Desk) -> None:
    above = [{"amount": "100.00", "currency": "USD"}, {"amount": "90", "currency": "EUR"}]
    await desk.rule(APPROVER, APPROVER | {"at_least": above})
    asked = {
        (("99.99", "USD"),): ["1"],
        (("100.00", "USD"),): ["1", "2"],
        (("-100.00", "USD"),): ["1", "2"],
        (("60.00", "USD"), ("60.00", "USD")): ["1", "2"],
        (("60.00", "USD"), ("60.00", "EUR")): ["1"],
        (("1", "JPY"),): ["1", "2"],
        (): ["1", "2"],
    }
    for place, (amounts, levels) in enumerate(asked.items()):
        assert list((await desk.write("sender", str(place), amounts=amounts)).levels) == levels
    low = await desk.write("sender", "low", amounts=(("1.00", "USD"),))
    assert await desk.approve("anna", low.id) == "approved"


async def test_new_rules_leave_what_is_under_way_alone(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    first = ok(await desk["anna"].client.get(f"{APPROVALS}/policies/{PAPER}"))
    assert first["version"] == 1
    assert (await desk.rule(APPROVER, APPROVER))["version"] == 1
    assert (await desk.rule(APPROVER))["version"] == 2
    assert await desk.approve("anna", asked.id) == "pending"
    assert await desk.approve("anna", (await desk.write("sender", "2")).id) == "approved"


async def test_somebody_without_whom_a_later_level_stays_empty_leaves_this_one_to_others(desk: Desk) -> None:
    await desk.rule(APPROVER, {"people": [desk["anna"].text]})
    asked = await desk.write("sender", "1")
    assert await desk.approve("anna", asked.id) == "needed_later"
    await desk.approve("bert", asked.id)
    assert await desk.approve("carl", asked.id, 2) == "not_approver"
    assert await desk.approve("anna", asked.id, 2) == "approved"


async def test_whoever_made_it_is_nobody_whom_a_later_level_could_ask(desk: Desk) -> None:
    await desk.rule(APPROVER, {"people": [desk["anna"].text, desk["bert"].text]})
    asked = await desk.write("bert", "1")
    assert await desk.approve("anna", asked.id) == "needed_later"
    assert await desk.approve("carl", asked.id) == "pending"
    assert await desk.approve("anna", asked.id, 2) == "approved"


async def test_whoever_lost_the_role_a_moment_ago_approves_nothing(desk: Desk, house: House) -> None:
    asked = await desk.write("sender", "1")
    assert (await desk.inbox("anna"), await desk.inbox("bert")) == (["pay"], ["pay"])
    async with house.database.writing() as tx:
        await tx.do("DELETE FROM access_grant WHERE principal = %(who)s", who=desk["anna"].id)
        await tx.do("UPDATE principal SET disabled_at = now() WHERE id = %(who)s", who=desk["bert"].id)
    assert await desk.approve("anna", asked.id) == "not_approver"
    assert await desk.approve("bert", asked.id) == "not_approver"
    assert await desk.say("bert", "reject", asked.id, remark="no") == "not_approver"
    assert (await desk.inbox("anna"), await desk.inbox("bert")) == ([], [])


# Asking --------------------------------------------------------------------------------------------------------------


async def test_what_has_no_rules_is_asked_of_nobody(desk: Desk) -> None:
    assert (await desk.write("sender", "1", kind="test.other")).code == "no_policy"


async def test_what_nobody_could_approve_is_not_asked_for(desk: Desk) -> None:
    hands = tuple(desk[name].id for name in ("anna", "bert"))
    refusal = await desk.write("sender", "1", editors=hands)
    assert (refusal.code, refusal.values["level"]) == ("nobody_can_approve", "2")
    assert await desk.approve("anna", (await desk.write("sender", "1", editors=hands[1:])).id) == "pending"


async def test_a_batch_of_requests_is_answered_in_order_each_by_itself(desk: Desk) -> None:
    papers = [Write("1", "a"), Write("2", "b", kind="test.other"), Write("1", "c"), Write("1", "c"), Write("3", "d")]
    first, other, second, same, third = await desk.submit("sender", WRITE, *papers)
    assert (other.code, first.state.value, second.replaces, same.id) == ("no_policy", "pending", first.id, second.id)
    assert (await desk.show("anna", first.id))["state"] == "voided"
    assert await desk.inbox("anna") == ["c", "d"]
    assert third.subject.id == "3"


async def test_a_request_of_the_system_has_no_submitter(desk: Desk) -> None:
    desk.clerks["system"] = type(desk["anna"])(ids.NOBODY, "system", desk["anna"].client)
    asked = await desk.write("system", "1", creator=desk["sender"].id)
    assert (asked.requested_by, asked.makers) == ("", [desk["sender"].text])
    again = await desk.write("system", "1", "another", creator=desk["sender"].id)
    await desk.submit("system", STRIKE, Strike("1"))
    shown = await desk.show("anna", again.id)
    assert (shown["state"], "by" in shown["steps"][0]) == ("voided", False)


# The inbox -----------------------------------------------------------------------------------------------------------


async def test_the_inbox_holds_what_waits_for_me_and_nothing_else(desk: Desk) -> None:
    await desk.rule(APPROVER, {"people": [desk["carl"].text]})
    asked = await desk.write("sender", "1", "by the sender")
    await desk.write("anna", "2", "by anna")
    assert await desk.inbox("sender") == ["by anna"]
    assert await desk.inbox("anna") == ["by the sender"]
    assert await desk.inbox("bert") == ["by the sender", "by anna"]
    await desk.approve("bert", asked.id)
    assert (await desk.inbox("bert"), await desk.inbox("anna")) == (["by anna"], [])
    assert "by the sender" in await desk.inbox("carl")


async def test_the_inbox_leads_from_page_to_page_though_more_comes_in(desk: Desk) -> None:
    for number in range(5):
        await desk.write("sender", str(number), str(number))
    anna, found, cursor = desk["anna"].client, list[str](), None
    for _ in range(3):
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        answer = ok(await anna.get(f"{APPROVALS}/inbox", params=query))
        found += [each["title"] for each in answer["items"]]
        cursor = answer["next"]
        if found == ["0", "1"]:
            await desk.write("sender", "5", "5")
    assert (found, cursor) == (["0", "1", "2", "3", "4", "5"], None)
    assert refused(await anna.get(f"{APPROVALS}/inbox", params={"cursor": "apr_nothing"}), 404) == "approval_not_found"


# Time ----------------------------------------------------------------------------------------------------------------


async def test_a_request_that_nobody_decides_on_ends_by_itself(desk: Desk, house: House) -> None:
    await desk.rule(APPROVER, hours=2)
    asked = await desk.write("sender", "1")
    assert await worker.expire_approvals(house.database) == 0
    with time_machine.travel(clock.now() + 2 * HOUR, tick=True):
        assert await desk.approve("anna", asked.id) == "approval_expired"
        assert await desk.inbox("anna") == []
        assert await worker.expire_approvals(house.database) == 1
        assert await worker.expire_approvals(house.database) == 0
        assert await desk.approve("anna", asked.id) == "not_pending"
    assert (await desk.show("anna", asked.id))["steps"][0]["act"] == "expired"


async def test_what_is_asked_again_after_its_time_is_another_request(desk: Desk) -> None:
    await desk.rule(APPROVER, hours=2)
    asked = await desk.write("sender", "1")
    with time_machine.travel(clock.now() + 2 * HOUR, tick=True):
        again = await desk.write("sender", "1")
        assert again.replaces == asked.id
    assert (await desk.show("anna", asked.id))["state"] == "expired"


async def test_an_approval_is_to_be_used_within_the_time_that_it_was_given(desk: Desk) -> None:
    await desk.rule(APPROVER, hours=2)
    asked, began = await desk.write("sender", "1"), clock.now()
    with time_machine.travel(began + 1.5 * HOUR, tick=True):
        await desk.approve("anna", asked.id)
    with time_machine.travel(began + 3 * HOUR, tick=True):
        assert await desk.release("1") == "approved"
    with time_machine.travel(began + 4 * HOUR, tick=True):
        assert await desk.release("1") == "not_approved"


# Many at once --------------------------------------------------------------------------------------------------------


async def crowd(desk: Desk, size: int) -> list[str]:
    return [(await desk.hire(f"approver {number}", "approver")).name for number in range(size)]


async def test_of_thirty_two_approvals_at_once_one_advances_the_level(desk: Desk) -> None:
    names = await crowd(desk, 32)
    asked = await desk.write("sender", "1")
    answers = await asyncio.gather(*(desk.approve(name, asked.id) for name in names))
    assert sorted(answers) == ["other_level"] * 31 + ["pending"]
    shown = await desk.show("anna", asked.id)
    assert (shown["level"], shown["given"], len(shown["steps"])) == (2, 0, 1)


async def test_of_approvals_through_many_doors_as_many_count_as_are_asked_for(desk: Desk, house: House) -> None:
    await desk.rule(APPROVER | {"count": 3}, APPROVER)
    names = await crowd(desk, 32)
    asked = await desk.write("sender", "1")
    doors, word = [Door(house.database) for _ in range(4)], Approve(asked.id, 1)
    saying = [desk.submit(name, commands.APPROVE, word, door=doors[number % 4]) for number, name in enumerate(names)]
    answers = codes([each[0] for each in await asyncio.gather(*saying)])
    assert sorted(answers) == ["other_level"] * 29 + ["pending"] * 3
    assert len({step["by"] for step in (await desk.show("anna", asked.id))["steps"]}) == 3
    for door in doors:
        await door.close()


async def test_two_requests_at_once_for_one_paper_leave_one_that_is_live(desk: Desk, house: House) -> None:
    doors = [Door(house.database) for _ in range(4)]
    asking = [desk.submit("sender", WRITE, Write("1", f"text {number}"), door=doors[number % 4]) for number in range(16)]
    made = [each[0] for each in await asyncio.gather(*asking)]
    shown = [await desk.show("anna", each.id) for each in made]
    assert sorted(each["state"] for each in shown) == ["pending"] + ["voided"] * 15
    for door in doors:
        await door.close()


async def test_an_edit_and_an_approval_at_once_never_release_what_was_edited(desk: Desk) -> None:
    await desk.rule(APPROVER)
    for number in range(10):
        paper = str(number)
        asked = await desk.write("sender", paper, "before")
        await asyncio.gather(desk.approve("anna", asked.id), desk.write("sender", paper, "after"))
        assert await desk.release(paper, "before") == "not_approved"
        assert await desk.release(paper, "after") == "not_approved"


# The rest of the house -----------------------------------------------------------------------------------------------


async def test_every_word_is_in_the_journal_also_those_that_were_refused(desk: Desk, house: House) -> None:
    asked = await desk.write("sender", "1")
    await desk.approve("sender", asked.id)
    await desk.approve("anna", asked.id)
    await desk.approve("bert", asked.id, 2)
    await desk.say("anna", "reject", (await desk.write("sender", "2")).id, remark="no")
    await desk.say("sender", "withdraw", (await desk.write("sender", "3")).id)
    await house.seal()
    rows = ok(await house.admin.get("/api/v1/audit/lines", params={"limit": 1000}))["items"]
    lines = [line for row in rows for line in msgspec.json.decode(row["lines"]) if line["event"].startswith("approvals")]
    told = [(line["event"], line.get("refused", "")) for line in lines]
    assert told == [
        ("approvals.policy_set", ""), ("approvals.approve", "own_work"), ("approvals.agreed", ""),
        ("approvals.approved", ""), ("approvals.rejected", ""), ("approvals.withdrawn", ""),
    ]  # fmt: skip
    assert lines[2]["data"]["content"] == asked.content


async def test_a_word_with_a_key_is_said_once(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    anna, once = desk["anna"].client, {"Idempotency-Key": "k"}
    answers = [ok(await anna.post(f"{APPROVALS}/{asked.id}/approve", json={"level": 1}, headers=once)) for _ in range(2)]
    assert answers[0] == answers[1]
    other = await anna.post(f"{APPROVALS}/{asked.id}/approve", json={"level": 2}, headers=once)
    assert refused(other, 422) == "key_reused"


async def test_what_another_book_asks_is_not_there(desk: Desk, house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "other"}))
    house.gate._known.clear()
    stranger = (await desk.hire("stranger", "approver", "operator", book="other")).client
    asked = await desk.write("sender", "1")
    path = f"{APPROVALS}/{asked.id}"
    assert refused(await stranger.get(path), 404) == "approval_not_found"
    for word, body in (("approve", {"level": 1}), ("reject", {"remark": "no"}), ("withdraw", {})):
        assert refused(await stranger.post(f"{path}/{word}", json=body), 404) == "approval_not_found"
    assert refused(await stranger.get(f"{APPROVALS}/policies/{PAPER}"), 404) == "policy_not_found"
    assert ok(await stranger.get(f"{APPROVALS}/inbox"))["items"] == []
    assert ok(await stranger.get(f"{APPROVALS}/policies"))["items"] == []


async def test_a_bad_address_is_refused_by_its_code(desk: Desk) -> None:
    bad = {
        "%00": (404, "approval_not_found"),
        "policies/%00": (404, "policy_not_found"),
        "policies?cursor=%00": (404, "policy_not_found"),
        "inbox?cursor=%00": (404, "approval_not_found"),
        "inbox?limit=0": (400, "malformed"),
    }
    for path, (status, code) in bad.items():
        assert refused(await desk["anna"].client.get(f"{APPROVALS}/{path}"), status) == code


async def test_an_id_that_nothing_has_is_not_found(desk: Desk) -> None:
    for name in ("apr_01KAHG7R9Q7XKJ8W3M5N2P4T6V", "nothing"):
        assert await desk.approve("anna", name) == "approval_not_found"


async def test_a_batch_of_words_is_answered_in_order_each_by_itself(desk: Desk) -> None:
    first, second = await desk.write("sender", "1"), await desk.write("sender", "2")
    answers = await asyncio.gather(
        desk.approve("anna", first.id), desk.approve("anna", "apr_nothing"), desk.approve("sender", second.id),
        desk.approve("bert", second.id),
    )  # fmt: skip
    assert list(answers) == ["pending", "approval_not_found", "own_work", "pending"]
    released = await desk.submit("sender", RELEASE, Release("1", "pay"), Release("1", "else"))
    assert codes(released) == ["not_approved", "not_approved"]


def test_a_content_is_known_by_its_values_in_whatever_order_they_were_set() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


async def test_approvals_are_listed_newest_first_of_everything_or_of_one_subject_or_in_one_state(desk: Desk) -> None:
    for paper in ("1", "2", "3"):
        await desk.write("sender", paper, f"pay {paper}")
    changed = await desk.write("sender", "2", "pay 20")
    await desk.say("anna", "reject", changed.id, remark="too much")

    async def titles(**only: str) -> list[str]:
        page = ok(await desk["sender"].client.get(APPROVALS, params=only))
        found = [each["title"] for each in page["items"]]
        return found if page["next"] is None else found + await titles(**only | {"cursor": page["next"]})

    assert await titles(limit="3") == ["pay 20", "pay 3", "pay 2", "pay 1"]
    assert await titles(kind=PAPER, subject="2") == ["pay 20", "pay 2"]
    assert await titles(kind=PAPER, subject="2", state="rejected", limit="1") == ["pay 20"]
    assert await titles(state="pending", limit="1") == ["pay 3", "pay 1"]
    assert refused(await desk["sender"].client.get(APPROVALS, params={"subject": "2"}), 400) == "malformed"

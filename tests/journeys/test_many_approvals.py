"""Many approvals at once: words on a thousand in one request, and lists narrowed down to what somebody is looking for."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from clearhouse import ids
from clearhouse.kernel.approvals.decisions import Approve
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.reconciliation.breaks import SUBJECT as BREAK
from clearhouse.slices.operations import commands
from house import House, ok, refused
from papers import APPROVALS, PAPER, WRITE, Desk, Write

APPROVER = {"role": "approver"}
BATCH = f"{APPROVALS}/batch"


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


async def say(desk: Desk, name: str, word: str, *items: Any, key: str = "") -> list[str]:
    """Say words in one request and return what came of each: a state, or the code of a refusal."""
    headers = {"Idempotency-Key": key} if key else {}
    found = ok(await desk[name].client.post(f"{BATCH}/{word}", json=list(items), headers=headers))["results"]
    return [each["ok"]["state"] if "ok" in each else each["refused"]["code"] for each in found]


def approving(*approvals: Any, level: int = 1) -> list[dict[str, Any]]:
    return [{"approval": each.id, "level": level} for each in approvals]


# Words ---------------------------------------------------------------------------------------------------------------


async def test_many_are_approved_in_one_request_and_each_is_answered_by_itself(desk: Desk) -> None:
    first, second, third = await desk.submit("sender", WRITE, Write("1", "a"), Write("2", "b"), Write("3", "c"))
    await desk.approve("bert", third.id)
    items = [*approving(first, second, third), {"approval": "apr_nothing", "level": 1}, {"approval": first.id}, 7]
    expected = ["pending", "pending", "other_level", "approval_not_found", "malformed", "malformed"]
    assert await say(desk, "anna", "approve", *items) == expected
    assert await say(desk, "bert", "approve", *approving(first, second, level=2)) == ["approved", "approved"]


async def test_an_approval_that_cannot_have_its_effect_spoils_none_that_has_none(desk: Desk) -> None:
    broken, paper = await desk.write("sender", "brk_0", kind=BREAK), await desk.write("sender", "1")
    assert await say(desk, "anna", "approve", *approving(broken, paper)) == ["break_not_found", "pending"]
    assert (await desk.show("anna", broken.id))["given"] == 0


async def test_many_are_rejected_with_a_reason_and_many_withdrawn_by_their_maker(desk: Desk) -> None:
    made = await desk.submit("sender", WRITE, *(Write(str(number), "a") for number in range(4)))
    rejecting = [{"approval": each.id, "remark": "no"} for each in made[:2]]
    assert await say(desk, "anna", "reject", *rejecting, {"approval": made[2].id}) == ["rejected", "rejected", "malformed"]
    gone = [{"approval": each.id} for each in made]
    assert await say(desk, "sender", "withdraw", *gone) == ["not_pending", "not_pending", "withdrawn", "withdrawn"]


async def test_a_thousand_words_are_taken_at_once_and_not_one_more(desk: Desk) -> None:
    made = await desk.submit("sender", WRITE, *(Write(str(number), "a") for number in range(1_000)))
    assert await say(desk, "anna", "approve", *approving(*made)) == ["pending"] * 1_000
    more = approving(*made, made[0])
    assert refused(await desk["anna"].client.post(f"{BATCH}/approve", json=more), 413) == "too_many_items"
    assert await say(desk, "anna", "approve") == []


async def test_the_same_bulk_request_with_its_key_is_answered_alike_and_done_once(desk: Desk, house: House) -> None:
    await desk.rule(APPROVER | {"count": 2}, APPROVER)
    first, second = await desk.submit("sender", WRITE, Write("1", "a"), Write("2", "b"))
    items = [*approving(first, second), {"approval": "apr_nothing", "level": 1}]
    for _ in range(2):
        assert await say(desk, "anna", "approve", *items, key="k") == ["pending", "pending", "approval_not_found"]
    assert (await desk.show("anna", first.id))["given"] == 1
    other = [items[1], items[0], items[2] | {"level": 2}]
    assert await say(desk, "anna", "approve", *other, key="k") == ["key_reused", "key_reused", "approval_not_found"]
    remarked = [items[0] | {"remark": "seen"}, items[1] | {"level": 2}]
    assert await say(desk, "anna", "approve", *remarked, key="k") == ["key_reused", "key_reused"]
    await house.seal()
    rows = ok(await house.admin.get("/api/v1/audit/lines", params={"limit": 1000}))["items"]
    told = [line["event"] for row in rows for line in msgspec.json.decode(row["lines"]) if line["subject"] == first.id]
    assert told == ["approvals.agreed", "approvals.repeated"]


async def test_a_word_twice_in_one_request_counts_once(desk: Desk) -> None:
    asked = await desk.write("sender", "1")
    assert await say(desk, "anna", "approve", *approving(asked, asked)) == ["pending", "already_approved"]


async def test_bulk_requests_at_once_through_many_doors_advance_each_level_once(desk: Desk, house: House) -> None:
    made = await desk.submit("sender", WRITE, *(Write(str(number), "a") for number in range(20)))
    doors = [Door(house.database) for _ in range(3)]
    words = [Approve(each.id, 1) for each in made]
    saying = [
        desk.submit(name, commands.APPROVE, *(words if forward else words[::-1]), door=door)
        for name, forward, door in zip(("anna", "bert", "carl"), (True, False, True), doors, strict=True)
    ]
    await asyncio.gather(*saying)
    shown = [await desk.show("anna", each.id) for each in made]
    assert {(each["level"], each["given"], len(each["steps"])) for each in shown} == {(2, 0, 1)}
    for door in doors:
        await door.close()


async def test_words_on_what_another_book_asks_are_refused_one_by_one(desk: Desk, house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "other"}))
    house.gate.forget()
    await desk.hire("stranger", "approver", "operator", book="other")
    asked = await desk.write("sender", "1")
    for word, body in (("approve", {"level": 1}), ("reject", {"remark": "no"}), ("withdraw", {})):
        assert await say(desk, "stranger", word, {"approval": asked.id} | body) == ["approval_not_found"]


# Lists ---------------------------------------------------------------------------------------------------------------

AMOUNTS = {
    "99.99": (("99.99", "USD"),),
    "100": (("100.00", "USD"),),
    "both ways": (("60.00", "USD"), ("-60.00", "USD")),
    "euros": (("500.00", "EUR"),),
    "a dollar and euros": (("1.00", "USD"), ("500.00", "EUR")),
    "nothing said": (),
}
NARROWED: list[tuple[dict[str, str], list[str]]] = [
    ({}, [*AMOUNTS, "of another kind"]),
    ({"kind": PAPER}, list(AMOUNTS)),
    ({"kind": "test.other"}, ["of another kind"]),
    ({"kind": "test.nothing"}, []),
    ({"currency": "USD", "at_least": "100"}, ["100", "both ways", "of another kind"]),
    ({"currency": "USD", "at_least": "100", "kind": PAPER}, ["100", "both ways"]),
    ({"currency": "USD", "below": "100.00"}, ["99.99", "a dollar and euros"]),
    ({"currency": "USD", "at_least": "99.99", "below": "120"}, ["99.99", "100"]),
    ({"currency": "EUR"}, ["euros", "a dollar and euros"]),
    ({"currency": "JPY"}, []),
]


async def test_what_waits_for_me_is_narrowed_down_by_kind_and_by_amount(desk: Desk) -> None:
    await desk.rule(APPROVER, kind="test.other")
    for paper, (title, amounts) in enumerate(AMOUNTS.items()):
        await desk.write("sender", str(paper), title, amounts=amounts)
    await desk.write("sender", "x", "of another kind", kind="test.other", amounts=(("1000.00", "USD"),))
    anna = desk["anna"].client
    for only, titles in NARROWED:
        for path, expected in ((f"{APPROVALS}/inbox", titles), (APPROVALS, titles[::-1])):
            found = ok(await anna.get(path, params=only))["items"]
            assert [each["title"] for each in found] == expected, (path, only)
    page = ok(await anna.get(APPROVALS, params={"kind": PAPER, "state": "pending", "limit": 1}))
    assert [each["title"] for each in page["items"]] == ["nothing said"]
    next_page = ok(await anna.get(APPROVALS, params={"kind": PAPER, "cursor": page["next"], "limit": 1}))
    assert [each["title"] for each in next_page["items"]] == ["a dollar and euros"]


async def test_an_amount_without_a_currency_and_one_that_is_none_are_malformed(desk: Desk) -> None:
    for path in (APPROVALS, f"{APPROVALS}/inbox"):
        for bad in ({"at_least": "1"}, {"below": "1"}, {"currency": "USD", "below": "much"}, {"at_least": "-1"}):
            assert refused(await desk["anna"].client.get(path, params=bad), 400) == "malformed"


async def test_an_inbox_of_several_roles_and_of_ones_name_is_one_list_oldest_first(desk: Desk) -> None:
    await desk.hire("dora", "approver", "auditor")
    await desk.rule({"role": "auditor"}, APPROVER, kind="test.other")
    await desk.rule({"people": [desk["dora"].text, desk["carl"].text]}, kind="test.named")
    kinds = (PAPER, "test.other", "test.named") * 3
    for number, kind in enumerate(kinds):
        await desk.write("sender", str(number), str(number), kind=kind)
    assert await desk.inbox("dora") == [str(number) for number in range(9)]
    assert await desk.inbox("carl") == ["0", "2", "3", "5", "6", "8"]
    found = ok(await desk["dora"].client.get(f"{APPROVALS}/inbox", params={"limit": 4}))
    rest = ok(await desk["dora"].client.get(f"{APPROVALS}/inbox", params={"cursor": found["next"]}))
    assert [each["title"] for each in found["items"] + rest["items"]] == [str(number) for number in range(9)]


async def test_what_is_decided_waits_in_nobodys_inbox_any_more(desk: Desk, house: House) -> None:
    made = await desk.submit("sender", WRITE, *(Write(str(number), "a") for number in range(4)))
    await desk.say("anna", "reject", made[0].id, remark="no")
    await desk.say("sender", "withdraw", made[1].id)
    await desk.write("sender", "2", "another")
    await desk.approve("anna", made[3].id)
    await desk.approve("bert", made[3].id, 2)
    assert [await desk.inbox(name) for name in ("anna", "carl")] == [["another"], ["another"]]
    async with house.database.writing() as tx:
        left = await tx.tuples("SELECT DISTINCT request FROM approval_asked")
    assert [str(each[0]) for each in left] == [str(ids.parse("apr", (await waiting(desk))["id"]))]


async def waiting(desk: Desk) -> Any:
    return ok(await desk["carl"].client.get(f"{APPROVALS}/inbox"))["items"][0]

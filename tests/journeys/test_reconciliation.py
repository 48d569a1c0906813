"""Reconciliation through its doors: two files, what they have in common, and the life of a break under four eyes."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from clearhouse import clock
from house import House, ok, refused
from offices import BREAKS, CSV, HERE, LINES, OURS, RULES, SETS, THEIRS, Office, accounts, opened
from papers import APPROVALS


@pytest.fixture
async def office(house: House) -> AsyncGenerator[Office]:
    async with opened(house) as made:
        yield made


# Runs ----------------------------------------------------------------------------------------------------------------


async def test_two_files_are_reconciled_by_the_rules_in_their_order(office: Office) -> None:
    run = await office.both()
    found = [
        (each["rule"], [i["id"] for i in each["ours"]], [i["id"] for i in each["theirs"]], each["difference"])
        for each in await office.matches(run["id"])
    ]
    assert found == [
        (1, ["o1"], ["t1"], "0.02"),
        (2, ["o4"], ["t4"], "0.00"),
        (3, ["o2"], ["t2", "t2b"], "0.00"),
        (4, ["o5"], ["t5"], "0.00"),
    ]
    reasons = {name: each["reason"] for name, each in (await office.breaks()).items()}
    assert reasons == {"o3": "missing_theirs", "o6": "amount_differs", "t6": "amount_differs", "t7": "missing_ours"}
    assert run["matches"] == 4
    assert [(s["side"], s["new_items"], s["new"], s["matched"], s["open"]) for s in run["sums"]] == [
        ("ours", 6, "255.01", "173.01", "82.00"),
        ("theirs", 7, "188.99", "172.99", "16.00"),
    ]
    assert ok(await office.clerk.get(f"{HERE}/runs/{run['id']}")) == run


async def test_a_difference_within_the_tolerance_is_written_off_and_reversed_by_an_undo(office: Office) -> None:
    run = await office.both()
    assert await accounts(office) == ["-0.02", "0.02", "0.00"]
    match = (await office.matches(run["id"]))[0]
    booked = ok(await office.clerk.get(f"/api/v1/ledger/transactions/{match['transaction']}"))
    assert (booked["reference"], booked["metadata"]) == (match["id"], {"reconciliation": "nostro-eur"})
    undone = await office.undo(match["id"])
    assert (undone["undone_by"], "undone_at" in undone) == (office.desk["clerk"].text, True)
    assert await accounts(office) == ["0.00", "0.00", "0.00"]
    assert {"o1", "t1"} <= set(await office.breaks())
    assert refused(await office.amend(match["id"], "undo"), 409) == "match_undone"


async def test_a_run_whose_difference_cannot_be_posted_leaves_nothing(office: Office) -> None:
    path = "/api/v1/ledger/accounts/differences"
    ok(await office.clerk.patch(path, params={"asset": "EUR"}, json={"state": "frozen"}))
    await office.load("ours", OURS, CSV)
    await office.load("theirs", THEIRS, LINES)
    assert refused(await office.clerk.post(f"{SETS}/nostro-eur/runs"), 422) == "posting_refused"
    assert (await office.breaks(), ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"]) == ({}, [])
    ok(await office.clerk.patch(path, params={"asset": "EUR"}, json={"state": "open"}))
    assert (await office.run())["matches"] == 4


async def test_what_is_matched_is_not_looked_at_again_and_what_is_open_goes_on(office: Office) -> None:
    first = await office.both()
    await office.load("theirs", '{"id": "t3", "amount": "70.00", "currency": "EUR", "date": "2026-11-04"}', LINES)
    second = await office.run()
    assert [(s["side"], s["new_items"], s["carried_items"], s["open_items"]) for s in second["sums"]] == [
        ("ours", 0, 2, 1),
        ("theirs", 1, 2, 2),
    ]
    assert [each["ours"][0]["id"] for each in await office.matches(second["id"])] == ["o3"]
    closed = (await office.breaks(state="closed"))["o3"]
    assert closed["match"] == f"{second['id'].replace('run_', 'mat_')}-1"
    assert [each["id"] for each in ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"]] == [
        second["id"],
        first["id"],
    ]


async def test_a_run_made_again_by_its_own_rules_comes_to_the_same(office: Office) -> None:
    run = await office.both()
    ok(await office.clerk.post(SETS, json={**RULES, "rules": [{"by": "amount"}]}))
    again = ok(await office.clerk.post(f"{HERE}/runs/{run['id']}/verify"))
    assert again == {"same": True, "digest": run["digest"], "matches": 4}
    assert (await office.run())["version"] == 2
    assert len(await office.matches(run["id"])) == 4


async def test_a_run_that_somebody_touched_does_not_come_to_the_same(office: Office, owner_dsn: str) -> None:
    run = await office.both()
    async with office.house.database.writing() as tx:
        await tx.do("UPDATE reconciliation_load SET run = NULL WHERE side = 'theirs'")
    again = ok(await office.clerk.post(f"{HERE}/runs/{run['id']}/verify"))
    assert (again["same"], again["matches"], bool(owner_dsn)) == (False, 0, True)


async def test_a_key_starts_a_run_once(office: Office) -> None:
    await office.load("ours", OURS, CSV)
    once = {"Idempotency-Key": "monday"}
    answers = [ok(await office.clerk.post(f"{SETS}/nostro-eur/runs", headers=once)) for _ in range(2)]
    assert answers[0] == answers[1]


# Loads ---------------------------------------------------------------------------------------------------------------


async def test_a_statement_that_comes_twice_is_taken_once(office: Office) -> None:
    counts = [(each["items"], each["new"]) for each in [await office.load("ours", OURS, CSV) for _ in range(2)]]
    assert counts == [(6, 6), (6, 0)]
    assert (await office.run())["sums"][0]["new_items"] == 6


WRONG_LINES = {
    "o1,100.01,EUR,2026-11-02,invoice 1,,": (422, "item_changed"),
    "o1,100.00,EUR,2026-11-02,invoice 1,e2e,": (422, "item_changed"),
    "o8,2.00,EUR,2026-11-02,,,": (422, "item_changed"),
    "o9,1.001,EUR,2026-11-02,,,": (422, "item_refused"),
    "o9,0.00,EUR,2026-11-02,,,": (422, "item_refused"),
    "o9,1.00,NONE,2026-11-02,,,": (422, "item_refused"),
    "o9,1.00,EUR,2026-13-02,,,": (400, "malformed"),
    ",1.00,EUR,2026-11-02,,,": (400, "malformed"),
}


async def test_a_load_with_a_line_that_is_wrong_is_refused_whole(office: Office) -> None:
    await office.load("ours", OURS, CSV)
    for line, (status, code) in WRONG_LINES.items():
        content = f"{OURS.splitlines()[0]}\no8,1.00,EUR,2026-11-02,,,\n{line}\n"
        answer = await office.clerk.post(f"{SETS}/nostro-eur/items", params={"side": "ours"}, content=content, headers=CSV)
        assert refused(answer, status) == code
    assert (await office.run())["sums"][0]["new_items"] == 6


async def test_a_body_that_is_no_table_is_refused(office: Office) -> None:
    for content in (b"\xff\xfe", b"", b"id,amount\n1,2,3,4\n", b'"'):
        answer = await office.clerk.post(f"{SETS}/nostro-eur/items", content=content, headers=CSV)
        assert answer.status_code in {201, 400}, answer.text


# Rules ---------------------------------------------------------------------------------------------------------------

CENT = [{"amount": "0.01", "currency": "EUR"}]
WRONG_RULES: list[tuple[dict[str, Any], str]] = [
    ({"rules": []}, "matches_nothing"),
    ({"rules": [{"by": "amount", "days": -1}]}, "window_impossible"),
    ({"rules": [{"by": "amount", "days": 32}]}, "window_impossible"),
    ({"rules": [{"by": "reference", "days": 1}]}, "matches_nothing"),
    ({"rules": [{"by": "amount", "many": True}]}, "matches_nothing"),
    ({"rules": [{"by": "amount", "days": 2}, {"by": "amount", "days": 1}]}, "matches_nothing"),
    ({"rules": [{"by": "reference", "tolerance": CENT}, {"by": "reference"}]}, "matches_nothing"),
    ({"write_off": None}, "tolerance_refused"),
    ({"rules": [{"by": "reference", "tolerance": [{"amount": "-0.01", "currency": "EUR"}]}]}, "tolerance_refused"),
    ({"rules": [{"by": "reference", "tolerance": CENT * 2}]}, "tolerance_refused"),
    ({"rules": [{"by": "reference", "tolerance": [{"amount": "1", "currency": "USD"}]}]}, "account_missing"),
    ({"rules": [{"by": "reference", "tolerance": [{"amount": "1", "currency": "NONE"}]}]}, "asset_unknown"),
    ({"account": None}, "account_needed"),
    ({"write_off": "nostro"}, "reconciled_account"),
    ({"suspense": "nostro"}, "reconciled_account"),
    (
        {"rules": [{"by": "reference", "tolerance": [{"amount": "1", "currency": "CHF"}]}], "account": "{nostro}"},
        "account_missing",
    ),
]


async def test_rules_that_could_do_nothing_or_go_nowhere_are_refused_when_written(office: Office) -> None:
    await office.house.open_accounts(office.clerk, "differences", asset="CHF")
    nostro = ok(await office.clerk.get("/api/v1/ledger/accounts/nostro", params={"asset": "EUR"}))["id"]
    for change, code in WRONG_RULES:
        wrong = {**RULES, **change, **({"account": nostro} if change.get("account") == "{nostro}" else {})}
        assert (change, refused(await office.clerk.post(SETS, json=wrong), 422)) == (change, code)
    assert refused(await office.clerk.post(SETS, json={**RULES, "write_off": nostro}), 422) == "reconciled_account"
    assert ok(await office.clerk.get(f"{SETS}/nostro-eur"))["version"] == 1


async def test_the_same_rules_again_are_the_same_version(office: Office) -> None:
    assert ok(await office.clerk.post(SETS, json=RULES))["version"] == 1
    assert ok(await office.clerk.post(SETS, json={**RULES, "title": "Our euros"}))["version"] == 2


# Matching by hand ----------------------------------------------------------------------------------------------------


async def by_hand(office: Office, *names: str) -> httpx.Response:
    found = await office.breaks()
    return await office.clerk.post(f"{HERE}/matches", json={"breaks": [found[name]["id"] for name in names]})


async def test_what_adds_up_is_matched_by_hand_and_freed_again(office: Office) -> None:
    await office.both()
    await office.load("ours", "id,amount,currency,date\no8,16.00,EUR,2026-10-01\no9,1.00,USD,2026-10-01\n", CSV)
    await office.run()
    assert refused(await by_hand(office, "o8", "o3"), 422) == "one_side_only"
    assert refused(await by_hand(office, "o8", "t6"), 422) == "does_not_add_up"
    assert refused(await by_hand(office, "o9", "t7"), 422) == "mixed_assets"
    match = ok(await by_hand(office, "o8", "t6", "t7"))
    assert (match["kind"], match["difference"], set(await office.breaks())) == ("hand", "0.00", {"o3", "o6", "o9"})
    closed = await office.breaks(state="closed")
    twice = await office.clerk.post(f"{HERE}/matches", json={"breaks": [closed[name]["id"] for name in ("o8", "t7")]})
    assert refused(twice, 409) == "break_closed"
    await office.undo(match["id"])
    assert set(await office.breaks()) == {"o3", "o6", "o8", "o9", "t6", "t7"}


async def test_where_two_must_look_nothing_is_matched_by_one(office: Office) -> None:
    ok(await office.clerk.post(SETS, json={**RULES, "by_hand": False}))
    await office.both()
    await office.load("ours", "id,amount,currency,date\no8,5.00,EUR,2026-10-01\n", CSV)
    await office.run()
    assert refused(await by_hand(office, "o8", "t7"), 422) == "not_by_hand"


# The life of a break -------------------------------------------------------------------------------------------------


async def test_a_break_has_an_owner_a_reason_an_age_and_what_was_said(office: Office) -> None:
    await office.both()
    anna = office.desk["anna"].text
    assert ok(await office.say("t7", "assign", {"owner": anna}))["owner"] == anna
    told = ok(await office.say("t7", "remark", {"remark": "asked them", "reason": "their_mistake"}))
    assert (told["reason"], told["remarks"][0]["remark"]) == ("their_mistake", "asked them")
    assert told["remarks"][0]["by"] == office.desk["clerk"].text
    assert set(await office.breaks(owner=anna)) == set(await office.breaks(reason="their_mistake")) == {"t7"}
    assert set(await office.breaks(owner=office.desk["bert"].text)) == set()
    old = (clock.today() - clock.parse("2026-11-05T00:00:00Z").date()) // timedelta(days=1)
    assert set(await office.breaks(age=old)) == {"o3", "o6"}
    assert set(await office.breaks(age=4_000_000)) == set()
    assert set(await office.breaks(rule_set="another")) == set()
    assert refused(await office.say("t7", "assign", {"owner": "prn_x"}), 422) == "owner_unknown"
    assert ok(await office.say("t7", "assign", {"owner": None})).get("owner") is None


async def test_breaks_lead_from_page_to_page_the_oldest_first(office: Office) -> None:
    await office.both()
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        answer = ok(await office.clerk.get(BREAKS, params={"limit": 1, **cursor}))
        found += [each["item"]["id"] for each in answer["items"]]
        cursor = {"cursor": answer["next"]}
    assert (found, cursor) == (["o3", "o6", "t6", "t7"], {"cursor": None})


async def test_a_break_is_written_off_once_another_has_approved_exactly_that(office: Office) -> None:
    await office.both()
    proposed = ok(await office.say("t7", "propose", {"action": "write_off", "remark": "too small to ask"}))
    assert (proposed["proposal"]["action"], proposed["proposal"]["difference"]) == ("write_off", "-5.00")
    assert await office.desk.approve("clerk", proposed["approval"]) == "own_work"
    assert (await office.desk.inbox("anna"))[0].startswith("write off: -5.00 EUR")
    assert "t7" in await office.breaks()
    match = await office.approved("t7")
    assert (match["kind"], match["ours"], match["difference"]) == ("write_off", [], "-5.00")
    assert match["by"] == office.desk["clerk"].text
    assert await accounts(office) == ["4.98", "-4.98", "0.00"]
    assert "t7" not in await office.breaks()
    assert await office.desk.approve("bert", proposed["approval"]) == "not_pending"


async def test_money_that_nobody_claims_waits_in_suspense_until_the_undo(office: Office) -> None:
    await office.both()
    ok(await office.say("t7", "propose", {"action": "suspend"}))
    match = await office.approved("t7")
    assert await accounts(office) == ["4.98", "0.02", "5.00"]
    await office.undo(match["id"])
    assert await accounts(office) == ["-0.02", "0.02", "0.00"]
    assert "proposal" not in (await office.breaks())["t7"]


async def test_what_was_approved_once_is_not_approved_for_the_same_again(office: Office) -> None:
    await office.both()
    ok(await office.say("t7", "propose", {"action": "suspend"}))
    first = await office.approved("t7")
    await office.undo(first["id"])
    ok(await office.say("t7", "propose", {"action": "suspend"}))
    assert "t7" in await office.breaks()
    second = await office.approved("t7")
    assert (second["kind"], second["id"] != first["id"]) == ("suspend", True)


async def test_a_difference_that_is_accepted_posts_nothing(office: Office) -> None:
    await office.both()
    before = await accounts(office)
    ok(await office.say("o3", "propose", {"action": "accept"}))
    assert "transaction" not in await office.approved("o3")
    assert (await accounts(office), "o3" in await office.breaks()) == (before, False)


async def test_items_that_differ_are_matched_by_two_people_and_the_rest_written_off(office: Office) -> None:
    await office.both()
    found = await office.breaks()
    ok(await office.say("o6", "propose", {"action": "match", "breaks": [found["t6"]["id"]]}))
    match = await office.approved("o6")
    assert (match["kind"], match["difference"]) == ("match", "1.00")
    assert await accounts(office) == ["-1.02", "1.02", "0.00"]


async def test_another_proposal_voids_the_one_before(office: Office) -> None:
    await office.both()
    first = ok(await office.say("t7", "propose", {"action": "accept"}))["approval"]
    ok(await office.say("t7", "propose", {"action": "write_off"}))
    assert await office.desk.approve("anna", first) == "not_pending"
    assert (await office.approved("t7"))["kind"] == "write_off"


async def test_a_break_that_a_run_closes_takes_its_proposal_with_it(office: Office) -> None:
    await office.both()
    approval = ok(await office.say("t7", "propose", {"action": "write_off"}))["approval"]
    await office.load("ours", "id,amount,currency,date\no7,5.00,EUR,2026-11-07\n", CSV)
    await office.run()
    shown = ok(await office.clerk.get(f"{APPROVALS}/{approval}"))
    assert shown["state"] == "voided"
    assert "t7" not in await office.breaks()


async def test_a_resolution_whose_items_were_matched_meanwhile_is_refused(office: Office) -> None:
    await office.both()
    found = await office.breaks()
    proposed = ok(await office.say("o6", "propose", {"action": "match", "breaks": [found["t6"]["id"]]}))
    await office.load("ours", "id,amount,currency,date\no7,11.00,EUR,2026-11-07\n", CSV)
    await office.run()
    before = await accounts(office)
    assert await office.desk.approve("anna", proposed["approval"]) == "break_closed"
    assert (await office.desk.show("anna", proposed["approval"]))["state"] == "pending"
    assert (await accounts(office), "o6" in await office.breaks()) == (before, True)


async def test_nobody_resolves_without_rules_for_who_approves(house: House) -> None:
    clerk = await house.caller("operator")
    ok(await clerk.post(SETS, json={"name": "files", "rules": [{"by": "reference"}]}))
    content = "id,amount,currency,date\n1,1.00,EUR,2026-11-01\n"
    ok(await clerk.post(f"{SETS}/files/items", content=content, headers=CSV))
    ok(await clerk.post(f"{SETS}/files/runs"))
    broken = ok(await clerk.get(BREAKS))["items"][0]["id"]
    for action, code in (("accept", "no_policy"), ("write_off", "nowhere_to_post"), ("match", "one_side_only")):
        assert refused(await clerk.post(f"{BREAKS}/{broken}/propose", json={"action": action}), 422) == code


async def test_everything_that_happens_stands_in_the_journal(office: Office) -> None:
    run = await office.both()
    match = (await office.matches(run["id"]))[0]
    await office.undo(match["id"])
    ok(await office.say("t7", "assign", {"owner": None}))
    ok(await office.say("t7", "remark", {"remark": "hm"}))
    ok(await office.say("t7", "propose", {"action": "accept"}))
    await office.approved("t7")
    await office.house.seal()
    async with office.house.database.reading([1]) as tx:
        events = [line["event"] for (lines,) in await tx.tuples("SELECT lines FROM journal ORDER BY number") for line in
                  json.loads(str(lines))]  # fmt: skip
    events = [each.partition(".")[2] for each in events if each.startswith("reconciliation.")]
    assert events == [
        "rules_defined", "loaded", "loaded", "ran", "undo_proposed", "undone", "assigned", "remarked", "proposed",
        "resolved",
    ]  # fmt: skip


async def test_what_is_not_there_is_not_found(office: Office) -> None:
    for path, code in (
        (f"{SETS}/nothing", "rule_set_not_found"), (f"{HERE}/runs/run_x", "run_not_found"),
        (f"{HERE}/matches/mat_x-1", "match_not_found"), (f"{BREAKS}/brk_x", "break_not_found"),
    ):  # fmt: skip
        assert refused(await office.clerk.get(path), 404) == code
    for path in (
        f"{HERE}/matches/mat_x-1/undo",
        f"{HERE}/matches/mat_x-1/claim",
        f"{SETS}/nothing/entries",
        f"{SETS}/nothing/runs",
        f"{HERE}/runs/run_x/verify",
    ):
        assert (
            await office.clerk.post(path, json={"account": "nostro"} if path.endswith("claim") else {})
        ).status_code == 404

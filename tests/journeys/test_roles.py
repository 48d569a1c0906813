"""Who may do what: the table of every route and every role, and whoever has no role or no key at all."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from clearhouse import ids
from clearhouse.kernel.reconciliation.breaks import break_ref
from clearing import OWN, Clearing, netted
from house import House, client, movement, ok, refused, transaction
from letters import left
from papers import PAPER, Desk
from people import add
from town import PAYEE, PAYER, Town, obligation

WHOAMI = "/api/v1/access/whoami"
TRANSACTIONS = "/api/v1/ledger/transactions"
VERBS = {"get", "post", "put", "patch", "delete"}
Asked = tuple[str, str]

ROLES = ("viewer", "operator", "approver", "auditor", "party", "admin")
# Who may: every route, by its path below /api/v1 where it is below it.
WHO: Mapping[Asked, str] = {
    ("get", "/ledger/accounts"): "viewer operator approver auditor",
    ("post", "/ledger/accounts"): "operator",
    ("post", "/ledger/accounts/batch"): "operator",
    ("get", "/ledger/accounts/{account}"): "viewer operator approver auditor",
    ("patch", "/ledger/accounts/{account}"): "operator",
    ("get", "/ledger/accounts/{account}/balance"): "viewer operator approver auditor",
    ("get", "/ledger/accounts/{account}/statement"): "viewer operator approver auditor",
    ("get", "/ledger/transactions"): "viewer operator approver auditor",
    ("post", "/ledger/transactions"): "operator",
    ("post", "/ledger/transactions/batch"): "operator",
    ("get", "/ledger/transactions/{transaction}"): "viewer operator approver auditor",
    ("post", "/ledger/transactions/{transaction}/reverse"): "operator",
    ("get", "/ledger/holds"): "viewer operator approver auditor",
    ("get", "/ledger/holds/{hold}"): "viewer operator approver auditor",
    ("post", "/ledger/holds/{hold}/capture"): "operator",
    ("post", "/ledger/holds/{hold}/release"): "operator",
    ("get", "/ledger/trial-balance"): "viewer operator approver auditor",
    ("get", "/ledger/assets"): "viewer operator approver auditor",
    ("post", "/ledger/assets"): "operator",
    ("get", "/ledger/days"): "viewer operator approver auditor",
    ("post", "/ledger/days"): "operator",
    ("get", "/ledger/days/{day}"): "viewer operator approver auditor",
    ("post", "/ledger/import"): "operator",
    ("post", "/ledger/verify"): "auditor",
    ("get", "/calendars"): "viewer operator approver auditor",
    ("post", "/calendars"): "operator",
    ("get", "/calendars/{calendar}"): "viewer operator approver auditor",
    ("patch", "/calendars/{calendar}"): "operator",
    ("get", "/calendars/{calendar}/days/{day}"): "viewer operator approver auditor",
    ("get", "/calendars/{calendar}/next-open"): "viewer operator approver auditor",
    ("get", "/calendars/{calendar}/business-date"): "viewer operator approver auditor",
    ("get", "/calendars/{calendar}/add"): "viewer operator approver auditor",
    ("get", "/calendars/{calendar}/roll"): "viewer operator approver auditor",
    ("get", "/audit/lines"): "auditor admin",
    ("get", "/audit/head"): "auditor admin",
    ("get", "/audit/export"): "auditor admin",
    ("post", "/audit/verify"): "auditor admin",
    ("get", "/access/whoami"): "viewer operator approver auditor party admin",
    ("post", "/access/tokens"): "viewer operator approver auditor party admin",
    ("get", "/access/books"): "viewer operator approver auditor party admin",
    ("post", "/access/books"): "admin",
    ("get", "/access/principals"): "auditor admin",
    ("post", "/access/principals"): "admin",
    ("get", "/access/principals/{principal}"): "auditor admin",
    ("put", "/access/principals/{principal}/roles"): "admin",
    ("post", "/access/principals/{principal}/disable"): "admin",
    ("get", "/access/principals/{principal}/keys"): "auditor admin",
    ("post", "/access/principals/{principal}/keys"): "admin",
    ("post", "/access/keys/{key_id}/revoke"): "admin",
    ("get", "/jobs"): "operator auditor",
    ("get", "/events/readers"): "operator auditor",
    ("get", "/inbox/dead"): "operator auditor",
    ("get", "/inbox/dead/{letter}"): "operator auditor",
    ("post", "/inbox/dead/{letter}/dismiss"): "operator",
    ("post", "/inbox/dead/{letter}/replay"): "operator",
    ("get", "/jobs/queues"): "operator auditor",
    ("get", "/jobs/{job}/aside"): "operator auditor",
    ("post", "/jobs/{job}/retry"): "operator",
    ("get", "/schedules"): "operator auditor",
    ("post", "/schedules"): "operator",
    ("get", "/schedules/{schedule}"): "operator auditor",
    ("post", "/schedules/{schedule}/pause"): "operator",
    ("post", "/schedules/{schedule}/resume"): "operator",
    ("post", "/schedules/{schedule}/run"): "operator",
    ("get", "/approvals/policies"): "viewer operator approver auditor admin",
    ("get", "/approvals/policies/{policy}"): "viewer operator approver auditor admin",
    ("post", "/approvals/policies"): "admin",
    ("get", "/approvals/policies/{policy}/versions"): "viewer operator approver auditor admin",
    ("post", "/approvals/policies/{policy}/retire"): "admin",
    ("post", "/approvals/batch/approve"): "approver",
    ("post", "/approvals/batch/reject"): "approver",
    ("post", "/approvals/batch/withdraw"): "operator admin",
    ("get", "/approvals/inbox"): "viewer operator approver auditor admin",
    ("get", "/approvals"): "viewer operator approver auditor admin",
    ("get", "/approvals/{approval}"): "viewer operator approver auditor admin",
    ("post", "/approvals/{approval}/approve"): "approver",
    ("post", "/approvals/{approval}/reject"): "approver",
    ("post", "/approvals/{approval}/withdraw"): "operator",  # an administrator its own only, which that one is not
    ("get", "/settlements"): "viewer operator approver auditor party",
    ("post", "/settlements"): "operator party",
    ("post", "/settlements/batch"): "operator party",
    ("get", "/settlements/{settlement}"): "viewer operator approver auditor party",
    ("get", "/settlements/events"): "viewer operator approver auditor party",
    ("get", "/settlements/{settlement}/explain"): "viewer operator approver auditor party",
    ("post", "/settlements/{settlement}/cancel"): "operator party",
    ("post", "/settlements/{settlement}/release"): "operator",
    ("get", "/accounts/nostro"): "viewer operator approver auditor party",
    ("get", "/accounts/vostro"): "viewer operator approver auditor party",
    ("post", "/accounts/nostro"): "operator",
    ("post", "/accounts/vostro"): "operator",
    ("get", "/accounts/{side}/{bank}/{currency}"): "viewer operator approver auditor party",
    ("patch", "/accounts/{side}/{bank}/{currency}"): "operator",
    ("post", "/accounts/{side}/{bank}/{currency}/fund"): "operator",
    ("get", "/accounts/{side}/{bank}/{currency}/statement"): "viewer operator approver auditor party",
    ("get", "/banks"): "viewer operator approver auditor party",
    ("post", "/banks"): "operator",
    ("get", "/banks/{bank}"): "viewer operator approver auditor party",
    ("get", "/windows"): "viewer operator approver auditor party",
    ("post", "/windows"): "operator",
    ("get", "/compliance/limits"): "viewer operator approver auditor party",
    ("post", "/compliance/limits"): "operator",
    ("post", "/compliance/names"): "operator",
    ("get", "/netting/cycles"): "viewer operator approver auditor party",
    ("post", "/netting/cycles"): "operator",
    ("get", "/netting/cycles/{cycle}"): "viewer operator approver auditor party",
    ("post", "/netting/cycles/{cycle}/close"): "operator",
    ("post", "/netting/cycles/{cycle}/settle"): "operator",
    ("post", "/netting/cycles/{cycle}/abort"): "operator",
    ("post", "/netting/cycles/{cycle}/carry"): "operator",
    ("get", "/netting/cycles/{cycle}/obligations"): "viewer operator approver auditor party",
    ("get", "/netting/cycles/{cycle}/positions"): "viewer operator approver auditor party",
    ("get", "/netting/obligations"): "viewer operator approver auditor party",
    ("post", "/netting/obligations"): "operator",
    ("post", "/netting/obligations/batch"): "operator",
    ("post", "/netting/obligations/withdraw"): "operator",
    ("get", "/netting/obligations/{obligation}"): "viewer operator approver auditor",
    ("get", "/netting/positions/{position}"): "viewer operator approver auditor",
    ("get", "/netting/positions/{position}/obligations"): "viewer operator approver auditor",
    ("get", "/settlement"): "viewer operator approver auditor",
    ("post", "/settlement/create"): "operator",
    ("get", "/settlement/{settleid}"): "viewer operator approver auditor",
    ("get", "/settlement/{settleid}/history"): "viewer operator approver auditor",
    ("get", "/settlement/{settleid}/settled"): "viewer operator approver auditor",
    ("get", "/settlement/{settleid}/records"): "viewer operator approver auditor",
    ("get", "/settlement/{settleid}/uploads"): "viewer operator approver auditor",
    ("post", "/settlement/{settleid}/update"): "operator",
    ("post", "/settlement/{settleid}/upload"): "operator",
    ("post", "/settlement/{settleid}/settle"): "operator",
    ("post", "/settlement/{settleid}/clear"): "operator",
    ("get", "/settlement/{settleid}/lines"): "viewer operator approver auditor",
    ("post", "/settlement/{settleid}/words"): "operator",
    ("post", "/settlement/{settleid}/resolutions"): "approver",
    ("get", "/webhooks"): "operator auditor admin",
    ("post", "/webhooks"): "admin",
    ("get", "/webhooks/{webhook}"): "operator auditor admin",
    ("patch", "/webhooks/{webhook}"): "admin",
    ("post", "/webhooks/{webhook}/disable"): "admin",
    ("post", "/webhooks/{webhook}/enable"): "admin",
    ("post", "/webhooks/{webhook}/secret"): "admin",
    ("post", "/webhooks/{webhook}/try"): "operator admin",
    ("post", "/webhooks/{webhook}/replay"): "operator admin",
    ("get", "/webhooks/{webhook}/deliveries"): "operator auditor admin",
    ("get", "/events"): "operator auditor admin",
    ("get", "/reconciliation/rule-sets"): "viewer operator approver auditor",
    ("post", "/reconciliation/rule-sets"): "operator",
    ("get", "/reconciliation/rule-sets/{rule_set}"): "viewer operator approver auditor",
    ("post", "/reconciliation/rule-sets/{rule_set}/items"): "operator",
    ("post", "/reconciliation/rule-sets/{rule_set}/runs"): "operator",
    ("get", "/reconciliation/rule-sets/{rule_set}/runs"): "viewer operator approver auditor",
    ("get", "/reconciliation/runs/{run}"): "viewer operator approver auditor",
    ("get", "/reconciliation/runs/{run}/matches"): "viewer operator approver auditor",
    ("post", "/reconciliation/runs/{run}/verify"): "operator",
    ("post", "/reconciliation/matches"): "operator",
    ("get", "/reconciliation/matches/{match}"): "viewer operator approver auditor",
    ("post", "/reconciliation/matches/{match}/undo"): "operator",
    ("get", "/reconciliation/breaks"): "viewer operator approver auditor",
    ("get", "/reconciliation/breaks/{broken}"): "viewer operator approver auditor",
    ("post", "/reconciliation/breaks/{broken}/assign"): "operator",
    ("post", "/reconciliation/breaks/{broken}/remark"): "operator",
    ("post", "/reconciliation/breaks/{broken}/propose"): "operator",
    ("post", "/reconciliation/matches/{match}/claim"): "operator",
    ("get", "/reconciliation/suspense"): "viewer operator approver auditor",
    ("post", "/reconciliation/rule-sets/{rule_set}/entries"): "operator",
    ("get", "/reconciliation/reports"): "viewer operator approver auditor party",
    ("post", "/reconciliation/reports"): "operator",
    ("get", "/reconciliation/reports/{report}"): "viewer operator approver auditor party",
    ("get", "/reconciliation/reports/{report}/explain"): "viewer operator approver auditor party",
    ("get", "/health"): "viewer operator approver auditor party admin",
    ("get", "/metrics"): "auditor admin",
}
PAYMENT = transaction(movement("payer", "payee", "1.00"))
STRUCTURE = {"settleid": "calls", "aggregates": ["op"], "aggregationType": "1CDR", "primaryKey": "app"}
ROOTED = ("/health", "/metrics", "/settlement/")
BODIES: Mapping[Asked, Any] = {
    ("post", "/ledger/accounts"): {"code": "new", "asset": "USD"},
    ("post", "/ledger/accounts/batch"): [{"code": "newer", "asset": "USD"}],
    ("patch", "/ledger/accounts/{account}"): {"metadata": {"colour": "blue"}},
    ("post", "/ledger/transactions"): PAYMENT,
    ("post", "/ledger/transactions/batch"): [PAYMENT],
    ("post", "/ledger/transactions/{transaction}/reverse"): {},
    ("post", "/ledger/holds/{hold}/capture"): {"amount": "1.00"},
    ("post", "/ledger/assets"): {"code": "POINT", "exponent": 0},
    ("post", "/ledger/days"): {"day": "2020-01-02"},
    ("post", "/ledger/import"): {"against": "opening", "lines": [{"code": "brought", "asset": "USD"}]},
    ("post", "/calendars"): {"name": "another"},
    ("patch", "/calendars/{calendar}"): {"close": ["2026-12-24"]},
    ("post", "/access/books"): {"name": "another"},
    ("post", "/access/principals"): {"name": "Mira Novak"},
    ("put", "/access/principals/{principal}/roles"): {"roles": ["viewer"]},
    ("post", "/access/principals/{principal}/keys"): {},
    ("post", "/approvals/policies"): {"kind": PAPER, "levels": [{"role": "approver"}]},
    ("post", "/approvals/batch/approve"): [{"approval": "apr_nothing", "level": 1}],
    ("post", "/approvals/batch/reject"): [{"approval": "apr_nothing", "remark": "too much"}],
    ("post", "/approvals/batch/withdraw"): [{"approval": "apr_nothing"}],
    ("post", "/approvals/{approval}/approve"): {"level": 1},
    ("post", "/approvals/{approval}/reject"): {"remark": "too much"},
    ("post", "/approvals/{approval}/withdraw"): {},
    ("post", "/reconciliation/reports"): {"bank": "DEUTDEFF"},
    ("post", "/settlements"): obligation("OBL-new"),
    ("post", "/settlements/batch"): [obligation("OBL-newer")],
    ("post", "/settlements/{settlement}/cancel"): {},
    ("post", "/settlements/{settlement}/release"): {"reason": "the bank denies it"},
    ("post", "/accounts/nostro"): {"bank": "DEUTDEFF", "currency": "JPY"},
    ("post", "/accounts/vostro"): {"bank": "DEUTDEFF", "currency": "JPY"},
    ("patch", "/accounts/{side}/{bank}/{currency}"): {"credit_line": "5.00"},
    ("post", "/accounts/{side}/{bank}/{currency}/fund"): {"amount": "1.00"},
    ("post", "/banks"): {"bic": "BARCGB22", "name": "Barclays"},
    ("post", "/windows"): {"currency": "EUR", "calendar": "TARGET2"},
    ("post", "/compliance/limits"): {"currency": "USD", "single": "1000000.00"},
    ("post", "/compliance/names"): {"source": "eu", "names": ["Ivan Grozny"]},
    ("post", "/netting/cycles"): {"currency": "CHF"},
    ("post", "/netting/cycles/{cycle}/close"): {},
    ("post", "/netting/cycles/{cycle}/abort"): {"reason": "a mistake"},
    ("post", "/netting/cycles/{cycle}/carry"): {},
    ("post", "/netting/obligations"): netted("NET-new"),
    ("post", "/netting/obligations/batch"): [netted("NET-newer")],
    ("post", "/netting/obligations/withdraw"): {"obligation_id": OWN, "reason": "a mistake"},
    ("post", "/settlement/create"): STRUCTURE | {"settleid": "another"},
    ("post", "/settlement/{settleid}/update"): {"record": {"app": "a", "op": 1}},
    ("post", "/settlement/{settleid}/upload"): {"app": "a", "op": 1},
    ("post", "/settlement/{settleid}/words"): {"round": 1, "key": "a", "word": "accepted"},
    ("post", "/settlement/{settleid}/resolutions"): {"round": 1, "key": "a", "stands": {"op": "1"}, "remark": "so it is"},
    ("post", "/webhooks"): {"url": "https://192.0.2.8/"},
    ("patch", "/webhooks/{webhook}"): {"description": "another"},
    ("post", "/webhooks/{webhook}/replay"): {"dead": True},
    ("post", "/inbox/dead/{letter}/dismiss"): {"remark": "a test of theirs"},
    ("post", "/inbox/dead/{letter}/replay"): {},
    ("post", "/jobs/{job}/retry"): {},
    ("post", "/schedules"): {"name": "another", "cron": "0 3 * * *", "job": "ledger.close_day"},
    ("post", "/reconciliation/rule-sets"): {"name": "more", "rules": [{"by": "reference"}]},
    ("post", "/reconciliation/rule-sets/{rule_set}/items"): [],
    ("post", "/reconciliation/matches"): {"breaks": [break_ref(2), break_ref(6)]},
    ("post", "/reconciliation/breaks/{broken}/assign"): {},
    ("post", "/reconciliation/breaks/{broken}/remark"): {"remark": "who knows"},
    ("post", "/reconciliation/breaks/{broken}/propose"): {"action": "accept"},
    ("post", "/reconciliation/matches/{match}/undo"): {},
    ("post", "/reconciliation/matches/{match}/claim"): {"account": "claimant"},
    ("post", "/reconciliation/rule-sets/{rule_set}/entries"): {},
}
PARAMETERS: Mapping[Asked, dict[str, str]] = {
    ("get", "/ledger/transactions"): {"reference": "invoice 4711"},
    ("get", "/calendars/{calendar}/add"): {"day": "2026-11-21", "count": "1"},
    ("get", "/calendars/{calendar}/roll"): {"day": "2026-11-21"},
    ("get", "/settlement/{settleid}/records"): {"key": "a"},
    ("get", "/netting/obligations"): {"obligation_id": "NET-0"},
}


async def routes(house: House) -> list[Asked]:
    """Return every route of the document, what shuts people out last."""
    paths = ok(await house.admin.get("/openapi.json"))["paths"]
    found = [(verb, path.removeprefix("/api/v1")) for path, its in paths.items() for verb in VERBS & set(its)]
    return sorted(found, key=lambda each: ("disable" in each[1], each))


async def filled(house: House, creator: str | None = None) -> dict[str, str]:
    """Put one of everything into the book and return what stands for each parameter of a path."""
    operator = await house.caller("operator", name="who was there before")
    await house.open_accounts(operator, "payer", "payee")
    paid = ok(await operator.post(TRANSACTIONS, json=PAYMENT))
    held = ok(await operator.post(TRANSACTIONS, json=transaction(movement("payer", "payee", "9.00", pending=True))))
    ok(await operator.post("/api/v1/ledger/days", json={"day": "2020-01-01"}))
    ok(await operator.post("/api/v1/calendars", json={"name": "payouts"}))
    await disputed(house)
    account = ok(await operator.get("/api/v1/ledger/accounts/payer", params={"asset": "USD"}))
    nightly = {"name": "nightly", "cron": "0 3 * * *", "job": "ledger.close_day"}
    ok(await operator.post("/api/v1/schedules", json=nightly))
    somebody = await add(house, name="somebody")
    desk = Desk(house)
    for name in ("who sends", "who approves", "who approves too"):
        await desk.hire(name, "operator" if name == "who sends" else "approver")
    await desk.rule({"role": "approver"}, {"role": "approver"})
    run, waiting = await reconcile(desk, operator)
    asked = await desk.write("who sends", "1", creator=None if creator is None else ids.parse("prn", creator))
    town = await Town.built(house)
    await desk.rule({"role": "approver"}, kind="interbank.release")
    doubtful, fresh = await town.doubtful(), await town.execute("1.00")
    cleared = await Clearing.built(house)
    hook = ok(await house.admin.post("/api/v1/webhooks", json={"url": "https://192.0.2.7/"}))["webhook"]
    return {
        "{settlement}/release": f"{doubtful.id}/release", "{settlement}": fresh.id, "{side}": "nostro", "{bank}": PAYEE,
        "{currency}": "USD", "{report}": (await town.compare())[0].id,
        "{account}": account["id"], "{transaction}": paid["id"], "{hold}": held["transfers"][0], "{day}": "2020-01-01",
        "{principal}": somebody.id, "{key_id}": somebody.key, "{calendar}": "payouts",
        "{approval}": asked.id, "{policy}": PAPER, "{settleid}": "calls",
        **await cleared.everything(None if creator is None else ids.parse("prn", creator)),
        "{webhook}": hook["id"], "{letter}": await left(house.database),
        "{rule_set}": "files", "{run}": run,
        "{job}": "schedules.run", "{schedule}": "nightly",
        "{match}/claim": f"{waiting}/claim", "{match}": run.replace("run", "mat") + "-1", "{broken}": break_ref(3),
    }  # fmt: skip


async def own_of_payer(house: House) -> dict[str, str]:
    """Return what is the paying bank's own: its vostro, and a report of a nostro with it."""
    operator = await house.caller("operator", name="who corresponds")
    ok(await operator.post("/api/v1/accounts/nostro", json={"bank": PAYER, "currency": "USD"}))
    report = ok(await operator.post("/api/v1/reconciliation/reports", json={"bank": PAYER}))[0]["id"]
    return {"{side}": "vostro", "{bank}": PAYER, "{report}": report}


async def disputed(house: House) -> None:
    """Leave a settled round with a line that two organisations do not agree on; the next operator is of one of them."""
    party = await house.caller("operator", name="party", organisation="org1")
    ok(await party.post("/settlement/create", json=STRUCTURE))
    ok(await party.post("/settlement/calls/update", json={"record": [{"app": "a", "op": 1}, {"app": "b", "op": 1}]}))
    ok(await party.post("/settlement/calls/settle"))
    ok(await party.post("/settlement/calls/words", json={"round": 1, "key": "a", "word": "disputed"}))


async def reconcile(desk: Desk, operator: httpx.AsyncClient) -> tuple[str, str]:
    """Reconcile two files: the first items of both match, the fourth of ours is suspended; return the run and that match."""
    for kind in ("reconciliation.break", "reconciliation.match"):
        await desk.rule({"role": "approver"}, kind=kind)
    await desk.house.open_accounts(operator, "bank", "waiting", "claimant", asset="EUR")
    rules = {"name": "files", "rules": [{"by": "reference"}], "account": "bank", "suspense": "waiting"}
    ok(await operator.post("/api/v1/reconciliation/rule-sets", json=rules))
    for side, count in (("ours", 4), ("theirs", 2)):
        item = {"amount": "1.00", "currency": "EUR", "date": "2026-11-20"}
        items = [item | {"id": str(n), "reference": "one" if n == 0 else f"{side} {n}"} for n in range(count)]
        ok(await operator.post("/api/v1/reconciliation/rule-sets/files/items", params={"side": side}, json=items))
    run = ok(await operator.post("/api/v1/reconciliation/rule-sets/files/runs"))
    path = f"/api/v1/reconciliation/breaks/{break_ref(4)}/propose"
    approval = ok(await operator.post(path, json={"action": "suspend"}))["approval"]
    assert await desk.approve("who approves", approval) == "approved"
    return str(run["id"]), approval.replace("apr_", "mat_") + "-1"


async def tried(asking: httpx.AsyncClient, route: Asked, things: Mapping[str, str]) -> httpx.Response:
    verb, path = route
    for name, thing in things.items():
        path = path.replace(name, thing)
    where = path if path.startswith(ROOTED) or path == "/settlement" else f"/api/v1{path}"
    return await asking.request(verb, where, json=BODIES.get(route), params=PARAMETERS.get(route))


async def test_the_table_of_who_may_what_names_every_route_and_no_other(house: House) -> None:
    assert set(await routes(house)) == set(WHO)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_do_what_the_table_says_and_nothing_else(house: House, role: str) -> None:
    caller = await house.caller(role, kind="person", organisation=PAYER if role == "party" else "org1")
    things = await filled(house, ok(await caller.get(WHOAMI))["id"] if role == "operator" else None)
    if role == "party":
        things |= await own_of_payer(house)
    answers = {each: await tried(caller, each, things) for each in await routes(house)}
    wrong = {
        route: (answer.status_code, answer.text[:100])
        for route, answer in answers.items()
        if not (answer.is_success if role in WHO.get(route, "").split() else _denied(answer))
    }
    assert wrong == {}


def _denied(answer: httpx.Response) -> bool:
    """Tell whether it is closed; what is another bank's is not there."""
    if answer.status_code == 404:
        return refused(answer, 404) in {"obligation_not_found", "position_not_found"}
    return answer.status_code == 403 and refused(answer, 403) in {"denied", "other_bank", "not_asker"}


async def test_whoever_has_no_role_anywhere_finds_no_book(house: House) -> None:
    things = await filled(house)
    caller = (await add(house, name="nobody yet")).client
    everyone = {route for route, who in WHO.items() if who == " ".join(ROLES)}
    answers = {each: await tried(caller, each, things) for each in await routes(house) if each not in everyone}
    assert {route: answer.text for route, answer in answers.items() if answer.status_code != 404} == {}
    assert ok(await caller.get(WHOAMI))["scopes"] == {}


async def test_every_route_but_the_health_asks_for_a_key(house: House) -> None:
    things = await filled(house)
    for stranger in (client(house.entrance, ""), client(house.entrance, "ck_no-such-key")):
        answers = {each: await tried(stranger, each, things) for each in await routes(house)}
        assert {route for route, answer in answers.items() if answer.status_code != 401} == {("get", "/health")}

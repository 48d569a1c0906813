"""What is not in your books does not exist for you: another book's things, tried from every route of the document."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from clearhouse import ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.refusals import Refusal
from clearing import OWN, netted, work
from house import House, client, movement, ok, post, refused, transaction
from letters import left
from papers import APPROVALS, POLICIES, WRITE, Write
from town import obligation

LEDGER = "/api/v1/ledger"
NETTING = "/api/v1/netting"
PRINCIPALS = "/api/v1/access/principals"
INBOX = "/api/v1/inbox"
CALENDARS = "/api/v1/calendars"
WEBHOOKS = "/api/v1/webhooks"
SCHEDULES = "/api/v1/schedules"
RECONCILIATION = "/api/v1/reconciliation"
VERBS = ("get", "post", "put", "patch", "delete")
ROLES = ("viewer", "operator", "approver", "auditor", "admin")
NUMBERS = {"main": 1, "second": 2}
DAYS = {"main": "2020-01-01", "second": "2020-01-02"}
PAYMENT = transaction(movement("payer", "payee", "1.00"))
ACCOUNT = "/api/v1/accounts/{side}/{bank}/{currency}"
SETTLEMENT = "/settlement"
STRUCTURE = {"settleid": "third", "aggregates": ["op"], "aggregationType": "mcCounter", "primaryKey": "app"}
Route = tuple[str, str]
Page = dict[str, Any]

# A body for every route that takes one.
BODIES: Mapping[Route, Any] = {
    ("post", "/api/v1/settlements"): obligation("OBL-new"),
    ("post", "/api/v1/settlements/batch"): [obligation("OBL-newer")],
    ("post", "/api/v1/settlements/{settlement}/cancel"): {},
    ("post", "/api/v1/settlements/{settlement}/release"): {"reason": "so it is"},
    ("post", "/api/v1/accounts/nostro"): {"bank": "DEUTDEFF", "currency": "JPY"},
    ("post", "/api/v1/accounts/vostro"): {"bank": "DEUTDEFF", "currency": "JPY"},
    ("patch", f"{ACCOUNT}"): {"state": "frozen"},
    ("post", f"{ACCOUNT}/fund"): {"amount": "1.00"},
    ("post", "/api/v1/banks"): {"bic": "BARCGB22", "name": "Barclays"},
    ("post", "/api/v1/windows"): {"currency": "EUR", "calendar": "TARGET2"},
    ("post", "/api/v1/compliance/limits"): {"currency": "USD"},
    ("post", "/api/v1/compliance/names"): {"source": "un", "names": []},
    ("post", f"{RECONCILIATION}/reports"): {},
    ("post", f"{NETTING}/cycles"): {"currency": "CHF"},
    ("post", NETTING + "/cycles/{cycle}/close"): {},
    ("post", NETTING + "/cycles/{cycle}/abort"): {"reason": "so it is"},
    ("post", NETTING + "/cycles/{cycle}/carry"): {},
    ("post", f"{NETTING}/obligations"): netted("NET-new"),
    ("post", f"{NETTING}/obligations/batch"): [netted("NET-newer")],
    ("post", f"{NETTING}/obligations/withdraw"): {"obligation_id": OWN, "reason": "so it is"},
    ("post", f"{LEDGER}/accounts"): {"code": "new", "asset": "USD"},
    ("post", f"{LEDGER}/accounts/batch"): [{"code": "newer", "asset": "USD"}],
    ("patch", LEDGER + "/accounts/{account}"): {"state": "frozen"},
    ("post", f"{LEDGER}/transactions"): PAYMENT,
    ("post", f"{LEDGER}/transactions/batch"): [PAYMENT],
    ("post", LEDGER + "/transactions/{transaction}/reverse"): {},
    ("post", LEDGER + "/holds/{hold}/capture"): {},
    ("post", f"{LEDGER}/assets"): {"code": "POINT", "exponent": 0},
    ("post", f"{LEDGER}/days"): {"day": "2020-02-01"},
    ("post", f"{LEDGER}/import"): {"lines": [{"code": "brought", "asset": "USD", "balance": "1.00"}]},
    ("post", CALENDARS): {"name": "another"},
    ("patch", CALENDARS + "/{calendar}"): {"close": ["2026-12-24"]},
    ("post", "/api/v1/access/books"): {"name": "third"},
    ("post", PRINCIPALS): {"name": "Mira Novak"},
    ("put", PRINCIPALS + "/{principal}/roles"): {"roles": []},
    ("post", PRINCIPALS + "/{principal}/keys"): {},
    ("post", POLICIES): {"kind": "third", "levels": [{"role": "approver"}]},
    ("post", f"{APPROVALS}/batch/approve"): [],
    ("post", f"{APPROVALS}/batch/reject"): [],
    ("post", f"{APPROVALS}/batch/withdraw"): [],
    ("post", APPROVALS + "/{approval}/approve"): {"level": 1},
    ("post", APPROVALS + "/{approval}/reject"): {"remark": "no"},
    ("post", APPROVALS + "/{approval}/withdraw"): {},
    ("post", SETTLEMENT + "/create"): STRUCTURE,
    ("post", SETTLEMENT + "/{settleid}/update"): {"record": {"app": "a", "op": 1}},
    ("post", SETTLEMENT + "/{settleid}/upload"): {"app": "a", "op": 1},
    ("post", SETTLEMENT + "/{settleid}/words"): {"round": 1, "key": "a", "word": "accepted"},
    ("post", SETTLEMENT + "/{settleid}/resolutions"): {"round": 1, "key": "a", "stands": {}, "remark": "so it is"},
    ("post", WEBHOOKS): {"url": "https://192.0.2.8/"},
    ("patch", WEBHOOKS + "/{webhook}"): {"description": "mine"},
    ("post", WEBHOOKS + "/{webhook}/replay"): {"dead": True},
    ("post", INBOX + "/dead/{letter}/replay"): {},
    ("post", INBOX + "/dead/{letter}/dismiss"): {},
    ("post", "/api/v1/jobs/{job}/retry"): {},
    ("post", SCHEDULES): {"name": "another", "cron": "0 3 * * *", "job": "ledger.close_day"},
    ("post", f"{RECONCILIATION}/rule-sets"): {"name": "more", "rules": [{"by": "reference"}]},
    ("post", RECONCILIATION + "/rule-sets/{rule_set}/items"): [],
    ("post", f"{RECONCILIATION}/matches"): {"breaks": ["brk_00000000000000000000000001", "brk_00000000000000000000000002"]},
    ("post", RECONCILIATION + "/breaks/{broken}/assign"): {},
    ("post", RECONCILIATION + "/breaks/{broken}/remark"): {"remark": "who knows"},
    ("post", RECONCILIATION + "/breaks/{broken}/propose"): {"action": "accept"},
    ("post", RECONCILIATION + "/matches/{match}/undo"): {},
    ("post", RECONCILIATION + "/matches/{match}/claim"): {"account": "payer"},
    ("post", RECONCILIATION + "/rule-sets/{rule_set}/entries"): {},
}
# What is everybody's: the stages of the house are no book's.
SHARED = {"job"}
# The batches say their bodies in words only.
SILENT = {("post", "/api/v1/settlements/batch"), ("post", f"{NETTING}/obligations/batch")} | {
    ("post", f"{LEDGER}/accounts/batch"),
    ("post", f"{LEDGER}/transactions/batch"),
    ("post", f"{APPROVALS}/batch/approve"),
    ("post", f"{APPROVALS}/batch/reject"),
    ("post", f"{APPROVALS}/batch/withdraw"),
}
# What a cursor names; a number or a day names nothing of anybody's.
CURSORS: Mapping[Route, str] = {
    ("get", "/api/v1/settlements"): "settlement",
    ("get", "/api/v1/settlements/events"): "",
    ("get", "/api/v1/accounts/nostro"): "",
    ("get", "/api/v1/accounts/vostro"): "",
    ("get", "/api/v1/banks"): "",
    ("get", f"{ACCOUNT}/statement"): "line",
    ("get", f"{RECONCILIATION}/reports"): "report",
    ("get", f"{NETTING}/cycles"): "cycle",
    ("get", NETTING + "/cycles/{cycle}/obligations"): "obligation",
    ("get", NETTING + "/cycles/{cycle}/positions"): "position",
    ("get", NETTING + "/positions/{position}/obligations"): "obligation",
    ("get", f"{LEDGER}/accounts"): "account",
    ("get", LEDGER + "/accounts/{account}/statement"): "line",
    ("get", f"{LEDGER}/transactions"): "transaction",
    ("get", f"{LEDGER}/holds"): "hold",
    ("get", PRINCIPALS): "principal",
    ("get", POLICIES): "policy",
    ("get", POLICIES + "/{policy}/versions"): "",
    ("get", f"{APPROVALS}/inbox"): "approval",
    ("get", f"{RECONCILIATION}/rule-sets"): "rule_set",
    ("get", RECONCILIATION + "/rule-sets/{rule_set}/runs"): "run",
    ("get", RECONCILIATION + "/runs/{run}/matches"): "match",
    ("get", f"{RECONCILIATION}/breaks"): "broken",
    ("get", f"{RECONCILIATION}/suspense"): "match",
    ("get", APPROVALS): "approval",
    ("get", WEBHOOKS): "webhook",
    ("get", WEBHOOKS + "/{webhook}/deliveries"): "event",
    ("get", "/api/v1/events"): "",
    ("get", "/api/v1/events/readers"): "",
    ("get", f"{LEDGER}/days"): "",
    ("get", CALENDARS): "",
    ("get", "/api/v1/jobs/{job}/aside"): "",
    ("get", SCHEDULES): "schedule",
    ("get", "/api/v1/audit/lines"): "",
    ("get", SETTLEMENT): "settleid",
    ("get", SETTLEMENT + "/{settleid}/history"): "",
    ("get", SETTLEMENT + "/{settleid}/settled"): "",
    ("get", SETTLEMENT + "/{settleid}/records"): "",
    ("get", SETTLEMENT + "/{settleid}/uploads"): "",
    ("get", SETTLEMENT + "/{settleid}/lines"): "",
    ("get", f"{INBOX}/dead"): "letter",
}
WANTED: Mapping[Route, dict[str, str]] = {
    ("get", f"{LEDGER}/transactions"): {"reference": "invoice 4711"},
    ("get", CALENDARS): {"sort": "own"},
    ("get", CALENDARS + "/{calendar}/next-open"): {"at": "2026-11-21T12:00:00Z"},
    ("get", CALENDARS + "/{calendar}/business-date"): {"at": "2026-11-21T12:00:00Z"},
    ("get", CALENDARS + "/{calendar}/add"): {"day": "2026-11-21", "count": "1"},
    ("get", CALENDARS + "/{calendar}/roll"): {"day": "2026-11-21"},
    ("get", SETTLEMENT + "/{settleid}/records"): {"key": "a"},
    ("get", f"{NETTING}/obligations"): {"obligation_id": "NET-0"},
}

# Transfers that reach for what another book has.
REACHING = [
    ({"debit": "{account}", "credit": "payee", "amount": "1.00", "currency": "USD"}, "account_unknown"),
    ({"debit": "payer", "credit": "only:second", "amount": "1.00", "currency": "USD"}, "account_unknown"),
    ({"capture": "{hold}"}, "transfer_unknown"),
    ({"release": "{hold}"}, "transfer_unknown"),
    ({"reverse": "{transfer}"}, "transfer_unknown"),
]


@dataclass(frozen=True, slots=True)
class Tenant:
    """Somebody with every role in one book, and one of everything in it, by the name of what it is."""

    book: str
    client: httpx.AsyncClient
    secret: str
    things: dict[str, str]


async def settle(house: House, admin: httpx.AsyncClient, book: str) -> Tenant:
    """Fill a book with things that carry its name."""
    named = {"name": f"the tenant of {book}", "roles": list(ROLES)}
    added = ok(await admin.post(PRINCIPALS, params={"book": book}, json=named))
    issued = ok(await admin.post(f"{PRINCIPALS}/{added['id']}/keys", params={"book": book}, json={"label": f"of {book}"}))
    tenant = client(house.entrance, issued["secret"])
    await house.open_accounts(tenant, "payer", "payee", f"only:{book}", metadata={"book": f"of {book}"})
    paid = await post(tenant, movement("payer", "payee", "1.00"), reference="invoice 4711", metadata={"book": f"of {book}"})
    held = await post(tenant, movement("payer", f"only:{book}", "9.00", pending=True))
    ok(await tenant.post(f"{LEDGER}/days", json={"day": DAYS[book]}))
    ok(await tenant.post(CALENDARS, json={"name": f"only-{book}", "title": f"of {book}", "hours": {"closes": "18:00"}}))
    nightly = {"name": f"only-{book}", "cron": "0 3 * * *", "job": "ledger.close_day"}
    ok(await tenant.post(SCHEDULES, json=nightly))
    account = ok(await tenant.get(f"{LEDGER}/accounts/payer", params={"asset": "USD"}))["id"]
    line = ok(await tenant.get(f"{LEDGER}/accounts/{account}/statement"))["items"][0]["cursor"]
    ok(await tenant.post(f"{SETTLEMENT}/create", json=STRUCTURE | {"settleid": f"only-{book}"}))
    ok(await tenant.post(f"{SETTLEMENT}/only-{book}/settle"))
    records = [{"app": f"of {book}", "op": 1}]
    ok(await tenant.post(f"{SETTLEMENT}/only-{book}/update", json={"record": records}))
    approver = {"name": f"who approves of {book}", "roles": ["approver"]}
    for person in (approver, {**approver, "name": f"who asks of {book}", "roles": ["operator"]}):
        asker = ok(await admin.post(PRINCIPALS, params={"book": book}, json=person))["id"]
    rules = {"kind": f"paper.{book}", "levels": [{"role": "approver"}]}
    ok(await admin.post(POLICIES, params={"book": book}, json=rules))
    approval = await ask(house, asker, book)
    hook = ok(
        await admin.post(WEBHOOKS, params={"book": book}, json={"url": "https://192.0.2.7/", "description": f"of {book}"})
    )["webhook"]
    letter = await left(house.database, book, await number_of(house, book))
    things = {
        "account": account, "transaction": paid["id"], "hold": held["transfers"][0], "day": DAYS[book], "line": line,
        "principal": added["id"], "key_id": issued["id"], "transfer": paid["transfers"][0],
        "calendar": f"only-{book}",
        "approval": approval, "policy": f"paper.{book}", "settleid": f"only-{book}", "letter": letter,
        **await correspond(tenant, book),
        **await clear(house, tenant, book),
        "webhook": hook["id"], "event": f"{NUMBERS[book]}-1-0",
        "job": "schedules.run", "schedule": f"only-{book}",
        **await reconcile(tenant, book),
    }  # fmt: skip
    return Tenant(book, tenant, issued["secret"], things)


async def number_of(house: House, book: str) -> int:
    async with house.database.writing() as tx:
        return int(str((await tx.tuples("SELECT id FROM book WHERE name = %s", [book]))[0][0]))


async def reconcile(tenant: httpx.AsyncClient, book: str) -> dict[str, str]:
    """Reconcile two files with one item in common."""
    ok(await tenant.post(f"{RECONCILIATION}/rule-sets", json={"name": f"files-{book}", "rules": [{"by": "reference"}]}))
    path = f"{RECONCILIATION}/rule-sets/files-{book}"
    for side in ("ours", "theirs"):
        item = {"amount": "1.00", "currency": "EUR", "date": "2026-11-20", "text": f"of {book}"}
        items = [item | {"id": "1", "reference": "one"}, item | {"id": "2"}]
        ok(await tenant.post(f"{path}/items", params={"side": side}, json=items))
    run = ok(await tenant.post(f"{path}/runs"))["id"]
    broken = ok(await tenant.get(f"{RECONCILIATION}/breaks"))["items"][0]["id"]
    return {"rule_set": f"files-{book}", "run": run, "match": run.replace("run", "mat") + "-1", "broken": broken}


async def correspond(tenant: httpx.AsyncClient, book: str) -> dict[str, str]:
    """Settle between two banks that only this book has."""
    payer, payee = f"{book[:4].upper()}US33", f"{book[:4].upper()}DEFF"
    for bic, side in ((payer, "vostro"), (payee, "nostro")):
        ok(await tenant.post("/api/v1/banks", json={"bic": bic, "name": f"a bank of {book}"}))
        ok(await tenant.post(f"/api/v1/accounts/{side}", json={"bank": bic, "currency": "USD"}))
        ok(await tenant.post(f"/api/v1/accounts/{side}/{bic}/USD/fund", json={"amount": "5.00"}))
    asked = obligation("OBL-1", from_bank=payer, to_bank=payee, remittance=f"of {book}")
    settlement = ok(await tenant.post("/api/v1/settlements", json=asked))["id"]
    report = ok(await tenant.post(f"{RECONCILIATION}/reports", json={}))[0]["id"]
    return {"settlement": settlement, "report": report, "side": "nostro", "bank": payee, "currency": "USD"}


async def clear(house: House, tenant: httpx.AsyncClient, book: str) -> dict[str, str]:
    """Net between two banks that only this book has."""
    payer, payee = f"{book[:4].upper()}US33", f"{book[:4].upper()}DEFF"
    ok(await tenant.post("/api/v1/accounts/vostro", json={"bank": payee, "currency": "USD"}))
    cycle = ok(await tenant.post(f"{NETTING}/cycles", json={"currency": "USD"}))["id"]
    name = f"OBL-of-{book}"
    ok(await tenant.post(f"{NETTING}/obligations", json=netted(name, from_bank=payer, to_bank=payee)))
    ok(await tenant.post(f"{NETTING}/cycles/{cycle}/close", json={}))
    await work(house.database)
    position = ok(await tenant.get(f"{NETTING}/cycles/{cycle}/positions"))["items"][0]["id"]
    return {"cycle": cycle, "obligation": name, "position": position}


async def ask(house: House, asker: str, book: str) -> str:
    """Ask for an approval in a book."""
    number = await number_of(house, book)
    caller = Caller(ids.parse("prn", asker), "who asks", books={book: number}, scopes={number: frozenset({WRITE.scope})})
    paper = Write(f"paper of {book}", "text", kind=f"paper.{book}")
    answer = (await house.door.submit(WRITE, [paper], caller=caller, book=number))[0]
    assert not isinstance(answer, Refusal), answer
    return answer.id


@pytest.fixture
async def tenants(house: House) -> dict[str, Tenant]:
    """Give the tenants of two books, who share nothing but the server."""
    opener = await house.caller("admin", name="the opener")
    ok(await opener.post("/api/v1/access/books", json={"name": "second"}))
    return {
        "main": await settle(house, house.admin, "main"),
        "second": await settle(house, opener, "second"),
    }


async def operations(house: House) -> dict[Route, Page]:
    paths = ok(await house.admin.get("/openapi.json"))["paths"]
    return {(verb, path): its[verb] for path, its in paths.items() for verb in VERBS if verb in its}


def parameters(operation: Page, place: str) -> set[str]:
    return {each["name"] for each in operation.get("parameters", []) if each["in"] == place}


def address(path: str, things: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: things[found[1]], path)


def requests(found: Mapping[Route, Page], own: Tenant, other: Tenant) -> Iterator[tuple[Route, str, dict[str, str]]]:
    """Give every request that names something of the other: in its path, as its cursor, or as its book."""
    for (verb, path), operation in found.items():
        wanted = WANTED.get((verb, path), {})
        if parameters(operation, "path") - SHARED:
            yield (verb, path), address(path, other.things), wanted
        if "cursor" in parameters(operation, "query") and CURSORS[verb, path]:
            yield (verb, path), address(path, own.things), {**wanted, "cursor": other.things[CURSORS[verb, path]]}
        if "book" in parameters(operation, "query"):
            yield (verb, path), address(path, own.things), {**wanted, "book": other.book}
            yield (verb, path), address(path, other.things), {**wanted, "book": other.book}


async def seen(house: House, tenant: Tenant) -> dict[str, str]:
    """Return whatever a tenant reads anywhere."""
    found = [route for route in await operations(house) if route[0] == "get" and route[1] not in {"/health", "/metrics"}]
    answers = {
        route[1]: await tenant.client.get(address(route[1], tenant.things), params=WANTED.get(route)) for route in found
    }
    assert {path: answer.text for path, answer in answers.items() if not answer.is_success} == {}
    return {path: answer.text for path, answer in answers.items()}


def still(told: dict[str, str]) -> dict[str, Any]:
    """Return what only its owner can change: not what the schedules of all books put into their queue at each minute."""
    queues = {path: json.loads(told[path]) for path in ("/api/v1/jobs", "/api/v1/jobs/queues")}
    return told | {path: [each for each in its if "schedules" not in each["name"]] for path, its in queues.items()}


def pair(tenants: dict[str, Tenant], own: str) -> tuple[Tenant, Tenant]:
    """Return one tenant and the other."""
    return tenants[own], next(each for book, each in tenants.items() if book != own)


async def test_every_route_that_takes_a_body_or_a_cursor_has_its_case_here(house: House) -> None:
    found = await operations(house)
    taking = {route for route, operation in found.items() if "requestBody" in operation}
    assert taking | SILENT == set(BODIES)
    assert {route for route, operation in found.items() if "cursor" in parameters(operation, "query")} == set(CURSORS)


@pytest.mark.parametrize("own", ["main", "second"])
async def test_what_another_book_has_is_not_there_whatever_the_route(
    house: House, tenants: dict[str, Tenant], own: str
) -> None:
    tenant, other = pair(tenants, own)
    before = still(await seen(house, other))
    wrong: list[tuple[str, ...]] = []
    for route, path, wanted in requests(await operations(house), tenant, other):
        answer = await tenant.client.request(route[0], path, params=wanted, json=BODIES.get(route))
        if answer.status_code != 404:
            wrong.append((*route, str(wanted), str(answer.status_code), answer.text[:80]))
        assert f"of {other.book}" not in answer.text
    assert wrong == []
    assert still(await seen(house, other)) == before


async def test_nothing_that_is_read_anywhere_speaks_of_another_book(house: House, tenants: dict[str, Tenant]) -> None:
    await house.seal()
    for own in tenants:
        tenant, other = pair(tenants, own)
        named = {thing for name, thing in other.things.items() if name not in {"side", "currency", "job"}}
        secrets = {f"of {other.book}", f"only:{other.book}", *named}
        told = await seen(house, tenant)
        assert {(path, each) for path, text in told.items() for each in secrets if each in text} == set()


async def test_a_book_that_is_another_ones_answers_as_one_that_is_not_there(
    house: House, tenants: dict[str, Tenant]
) -> None:
    tenant, other = pair(tenants, "main")
    for route, operation in (await operations(house)).items():
        if "book" in parameters(operation, "query"):
            path, wanted = address(route[1], tenant.things), WANTED.get(route, {})
            answers = [
                await tenant.client.request(route[0], path, params={**wanted, "book": book}, json=BODIES.get(route))
                for book in (other.book, "nowhere")
            ]
            assert [each.text.replace("nowhere", other.book) for each in answers] == [answers[0].text] * 2


async def test_a_list_without_items_for_another_book_is_refused_too(tenants: dict[str, Tenant]) -> None:
    for path in (f"{LEDGER}/accounts/batch", f"{LEDGER}/transactions/batch"):
        answer = await tenants["main"].client.post(path, params={"book": "second"}, json=[])
        assert refused(answer, 404) == "not_found"


async def test_a_code_names_the_account_of_ones_own_book(tenants: dict[str, Tenant]) -> None:
    for own in tenants:
        tenant, other = pair(tenants, own)
        shown = ok(await tenant.client.get(f"{LEDGER}/accounts/payer", params={"asset": "USD"}))
        assert shown["id"] == tenant.things["account"]
        for part in ("", "/balance", "/statement"):
            path = f"{LEDGER}/accounts/only:{other.book}{part}"
            assert refused(await tenant.client.get(path, params={"asset": "USD"}), 404) == "account_not_found"


async def test_a_transfer_reaches_nothing_of_another_book(tenants: dict[str, Tenant]) -> None:
    tenant, other = pair(tenants, "main")
    for leg, code in REACHING:
        body = transaction({name: address(value, other.things) for name, value in leg.items()})
        assert refused(await tenant.client.post(f"{LEDGER}/transactions", json=body), 422) == code
        batched = ok(await tenant.client.post(f"{LEDGER}/transactions/batch", json=[body]))
        assert [each["refused"]["code"] for each in batched["results"]] == [code]


async def test_an_id_that_another_book_has_taken_is_free_here(house: House, tenants: dict[str, Tenant]) -> None:
    tenant, other = pair(tenants, "main")
    before = still(await seen(house, other))
    legs = [movement("payer", "payee", "5.00"), movement("payer", "payee", "6.00", id=other.things["hold"])]
    posted = await post(tenant.client, *legs, id=other.things["transaction"])
    assert (posted["id"], "exists" in posted) == (other.things["transaction"], False)
    shown = ok(await tenant.client.get(f"{LEDGER}/transactions/{posted['id']}"))
    assert [each["amount"] for each in shown["transfers"]] == ["5.00", "6.00"]
    assert still(await seen(house, other)) == before


async def test_an_idempotency_key_of_another_book_answers_nothing_here(tenants: dict[str, Tenant]) -> None:
    once = {"Idempotency-Key": "the-same-key"}
    answers = [
        ok(await tenants[book].client.post(f"{LEDGER}/transactions", json=PAYMENT, headers=once))
        for book in ("main", "second", "main")
    ]
    assert answers[0]["id"] != answers[1]["id"]
    assert answers[2] == answers[0]


async def test_one_key_means_two_things_in_two_books_of_one_caller(house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "second"}))
    body, once = {"name": "Mira Novak"}, {"Idempotency-Key": "the-same-key"}
    added = [
        ok(await house.admin.post(PRINCIPALS, params={"book": book}, json=body, headers=once)) for book in ("main", "second")
    ]
    assert added[0]["id"] != added[1]["id"]


async def test_a_credential_of_one_book_is_worth_nothing_in_another(house: House, tenants: dict[str, Tenant]) -> None:
    tenant, other = pair(tenants, "second")
    token = ok(await tenant.client.post("/api/v1/access/tokens"))["token"]
    for credential in (tenant.secret, token):
        asking = client(house.entrance, credential)
        assert refused(await asking.get(f"{LEDGER}/accounts", params={"book": other.book}), 404) == "not_found"
        codes = {each["code"] for each in ok(await asking.get(f"{LEDGER}/accounts"))["items"]}
        ours = {
            "nostro:SECODEFF:USD",
            "vostro:SECODEFF:USD",
            "vostro:SECOUS33:USD",
            "netting:USD:1",
            "treasury:USD",
            "suspense:USD",
        }
        assert codes == {"payer", "payee", "only:second"} | ours


async def test_a_chain_speaks_of_its_own_book_only(house: House, tenants: dict[str, Tenant]) -> None:
    await house.seal()
    heads = {book: ok(await each.client.get("/api/v1/audit/head"))["head"] for book, each in tenants.items()}
    for own in tenants:
        tenant, other = pair(tenants, own)
        assert ok(await tenant.client.post("/api/v1/audit/verify", params={"head": heads[own]}))["intact"]
        assert not ok(await tenant.client.post("/api/v1/audit/verify", params={"head": heads[other.book]}))["intact"]

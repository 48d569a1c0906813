"""The catalogue of events: every type is in it, and what really happens is what its schema says."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from clearhouse import clock, ids
from clearhouse.app import reference
from clearhouse.app.products import EVENTS, PRODUCTS
from clearhouse.app.worker import expire_approvals, expire_holds
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.webhooks import deliveries
from clearhouse.slices.records.bookings import book_due
from clearhouse.transport.http.catalogue import catalogue
from hooking import WEBHOOKS
from house import House, client, movement, ok, transaction
from journeys.test_roles import ROLES, filled, routes, tried
from papers import APPROVALS, PRINCIPALS, Desk

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"
# What takes a thousand rows, what the workers do, other ends of approvals, what waits for others, and what two release.
ELSEWHERE = {
    "inbox.dead_again", "inbox.replayed", "audit.sealed", "ledger.hold_expired", "approvals.expired",
    "approvals.withdrawn", "approvals.asked", "approvals.key_allowed", "approvals.repeated",
    "reconciliation.claimed", "reconciliation.undone",
}  # fmt: skip
PATH = "/api/v1/events/catalogue"


@pytest.fixture
async def document(house: House) -> dict[str, Any]:
    return ok(await client(house.entrance, "").get(PATH))


def validator(document: dict[str, Any], name: str) -> Any:
    payload = document["components"]["messages"][name]["payload"]
    return jsonschema_rs.validator_for({**payload, "components": document["components"]})


async def live(house: House) -> list[dict[str, Any]]:
    """Let somebody of each role ask for everything, let the workers work, and return every event."""
    await bootstrap.recover_admin(house.database)
    callers = {role: await house.caller(role, kind="person") for role in ROLES}
    things = await filled(house, ok(await callers["operator"].get("/api/v1/access/whoami"))["id"])
    for role in ("approver", *ROLES):
        for route in await routes(house):
            await tried(callers[role], route, things)
    operator = callers["operator"]
    brought = {"against": "opening", "lines": [{"code": "tried", "asset": "USD"}], "dry_run": True}
    ok(await operator.post("/api/v1/ledger/import", json=brought))
    paid = ok(await operator.get(f"/api/v1/ledger/transactions/{things['{transaction}']}"))
    again = transaction(movement("payer", "payee", "1.00"), id=paid["id"])
    ok(await operator.post("/api/v1/ledger/transactions", json=again))
    await settle(house)
    await house.gate.flush()
    await client(house.entrance, "ck_nobody").get("/api/v1/events")
    await house.gate.flush()
    return await told(house)


async def settle(house: House) -> None:
    """Accept a line, upload something twice, and settle a round that is posted to the ledger."""
    party = await house.caller("operator", name="another party", organisation="org1")
    ok(await party.post("/settlement/calls/words", json={"round": 1, "key": "b", "word": "accepted"}))
    body = {"settleid": "owed", "aggregates": ["op"], "aggregationType": "1CDR", "primaryKey": "app"}
    ok(await party.post("/settlement/create", json=body | {"settlementType": "net", "currency": "USD"}))
    for _ in range(2):
        ok(await party.post("/settlement/owed/update", json={"record": {"app": "org2", "op": 1}, "uploadId": "march"}))
    ok(await party.post("/settlement/owed/settle"))
    assert len(await book_due(house.database)) == 1


async def told(house: House) -> list[dict[str, Any]]:
    """Return every event of the main book."""
    await house.seal()
    found: list[dict[str, Any]] = []
    params = {"limit": "1000"}
    while "cursor" not in params or params["cursor"]:
        page = ok(await house.admin.get("/api/v1/events", params=params))
        found += page["items"]
        params["cursor"] = page["next"]
    return found


def test_every_command_of_every_product_says_which_events_it_makes() -> None:
    assert [kind.name for product in PRODUCTS for kind in product.kinds if not kind.events] == []


async def test_what_really_happens_is_in_the_catalogue_and_is_what_its_schema_says(
    house: House, document: dict[str, Any]
) -> None:
    found = await live(house)
    found = [each for each in found if each["type"] != "test.paper"]  # the papers of our tests are no product
    types = {each["type"] for each in found}
    assert types - set(EVENTS) == set()
    validators = {name: validator(document, name) for name in types}
    for event in found:
        validators[event["type"]].validate(event)
    rest = {each for each in set(EVENTS) - types if not each.startswith("interbank.")}  # walked in tests/slices/interbank
    assert rest == ELSEWHERE


async def test_what_the_workers_do_is_what_its_schema_says(house: House, document: dict[str, Any]) -> None:
    things = await filled(house)
    async with house.database.writing(book=1) as tx:
        await tx.do("UPDATE ledger_hold SET expires_at = now() WHERE state = 'pending'")
        await tx.do("UPDATE approval_request SET expires_at = now() WHERE state = 'pending'")
        await deliveries.gone(tx, ids.parse("whk", things["{webhook}"]), at=clock.now())
    await expire_holds(house.database)
    await expire_approvals(house.database)
    found = {each["type"]: each for each in await told(house)}
    for name in ("ledger.hold_expired", "approvals.expired", "webhooks.disabled"):
        validator(document, name).validate(found[name])


async def test_what_waits_for_others_and_what_is_said_twice_is_what_its_schema_says(
    house: House, document: dict[str, Any]
) -> None:
    desk = Desk(house)
    for name in ("anna", "bert"):
        await desk.hire(name, "approver")
    await desk.rule({"role": "approver"}, kind="approvals.policy")
    waiting = ok(await house.admin.post(f"{PRINCIPALS}/{desk['bert'].text}/keys", json={}))["approval"]
    words, once = [{"approval": waiting, "level": 1}] * 2, {"Idempotency-Key": "k"}
    for _ in range(2):
        ok(await desk["anna"].client.post(f"{APPROVALS}/batch/approve", json=words, headers=once))
    found = {each["type"]: each for each in await told(house)}
    for name in ("approvals.asked", "approvals.key_allowed", "approvals.approved", "approvals.repeated"):
        validator(document, name).validate(found[name])


async def test_a_schema_refuses_what_is_not_so(house: House, document: dict[str, Any]) -> None:
    ok(await house.admin.post(WEBHOOKS, json={"url": "https://192.0.2.7/"}))
    event = (await told(house))[-1]
    schema = validator(document, "webhooks.added")
    schema.validate(event)
    wrong: tuple[dict[str, Any], ...] = (
        {**event, "data": {}},
        {**event, "type": "webhooks.changed"},
        {**event, "id": 7},
        {"type": "webhooks.added"},
    )
    assert [each for each in wrong if schema.is_valid(each)] == []


async def test_the_document_is_asyncapi_and_each_of_its_schemas_is_one(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert set(document["components"]["messages"]) == set(EVENTS)
    references = [each["$ref"] for each in document["channels"]["events"]["messages"].values()]
    assert {each.rpartition("/")[2] for each in references} == set(EVENTS)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for message in document["components"]["messages"].values():
        jsonschema_rs.meta.validate(message["payload"])


def test_the_reference_is_as_the_code_has_it() -> None:
    for name, page in reference.pages().items():
        assert (REFERENCE / name).read_bytes() == page, "run `make docs`"


def test_an_event_without_data_has_none() -> None:
    document = catalogue({"something.ended": None})
    event = {
        "id": "1-1-0",
        "source": "/books/main",
        "specversion": "1.0",
        "type": "something.ended",
        "time": "now",
        "principal": "x",
    }
    assert validator(document, "something.ended").is_valid(event)
    assert not validator(document, "something.ended").is_valid({**event, "data": msgspec.to_builtins({})})

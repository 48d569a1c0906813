"""A bank's view, and what an attacker who is a bank tries: its own settlements, accounts and events, and nobody else's."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest

from clearhouse.app.products import SERVICES
from clearhouse.kernel.access.limits import OwnLimiter
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.banks import FundBankAccount, KeepBank, OpenBankAccount
from clearhouse.slices.interbank.rules import SetLimit
from clearhouse.slices.interbank.settlement import Settlement
from clearhouse.transport.rpc.serving import serve
from clearhouse.v1 import interbank_pb2 as wire
from clearhouse.v1 import interbank_pb2_grpc as stubs
from followers import following, listening
from house import House, ok, refused
from people import Person, add
from town import PAYEE, PAYER, Town, obligation

THIRD = "BARCGB22"
SETTLEMENTS = "/api/v1/settlements"
EVENTS = f"{SETTLEMENTS}/events"
AMOUNT = "123.45"
# What a route of ours calls things; whatever else is in a path is nobody's.
PARAMETER = re.compile(r"\{(\w+)\}")
QUERY = {"day": "2026-11-21", "reference": "x", "key": "a", "count": "1", "side": "ours"}
QUERIES = {"/api/v1/netting/obligations": {"obligation_id": "OBL-of-chase"}}
VERBS = {"get", "post", "put", "patch", "delete"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A town with a third bank that attacks, a settlement of its own, and one that is none of its business."""

    town: Town
    third: Person
    own: Settlement
    other: Settlement
    report: str

    @property
    def things(self) -> dict[str, str]:
        return {
            "settlement": self.other.id, "side": "vostro", "bank": PAYER, "currency": "USD", "report": self.report,
            "day": "2026-11-21", "settleid": "calls", "calendar": "TARGET2",
        }  # fmt: skip

    @property
    def secrets(self) -> set[str]:
        """Return what the third bank must read nowhere."""
        return {PAYER, "Chase", self.other.id, self.other.obligation_id, AMOUNT, self.report, "77.00", "grozny"}


@pytest.fixture
async def scene(house: House) -> Scene:
    town = await Town.built(house)
    await town.ask(commands.KEEP_BANK, KeepBank(THIRD, "Barclays"))
    await town.ask(commands.OPEN_ACCOUNT, OpenBankAccount("vostro", THIRD, "USD"))
    await town.ask(commands.FUND_ACCOUNT, FundBankAccount("vostro", THIRD, "USD", "5000.00"))
    await town.ask(commands.SET_LIMIT, SetLimit("USD", PAYER, single="77000.00"))
    await town.ask(commands.SET_LIMIT, SetLimit("USD", THIRD, single="900.00"))
    other = await town.execute(AMOUNT, obligation_id="OBL-of-chase", remittance="grozny")
    own = await town.execute("1.00", obligation_id="OBL-own", from_bank=THIRD)
    await town.settle()
    report = (await town.compare())[0].id
    await house.seal()
    third = await add(house, "party", name="the desk at Barclays", organisation=THIRD)
    return Scene(town, third, own, other, report)


@pytest.fixture
async def channel(house: House) -> AsyncGenerator[grpc.aio.Channel]:
    server = await serve(
        SERVICES, door=house.door, gate=house.gate, limiter=OwnLimiter(100_000), feed=house.feed, host="127.0.0.1", port=0
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened
    await server.stop()


async def code(channel: grpc.aio.Channel, call: str, request: Any, person: Person) -> grpc.StatusCode:
    try:
        await getattr(stubs.SettlementEngineStub(channel), call)(request, metadata=(("x-api-key", person.secret),))
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def example(operation: dict[str, Any]) -> Any:
    """Return the body that the document gives as an example."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found = [each["value"] for each in content.get("examples", {}).values()]
        found += content.get("schema", {}).get("examples", [])
        if found:
            return found[0]
    return None


async def test_no_route_tells_or_does_anything_about_other_banks(house: House, scene: Scene) -> None:
    paths = ok(await house.admin.get("/openapi.json"))["paths"]
    open_to_all: set[str] = set()
    statuses: dict[str, int] = {}
    for path, its in paths.items():
        for verb in sorted(VERBS & set(its)):
            place = PARAMETER.sub(lambda name: scene.things.get(name[1], "unknown"), path)
            body = example(its[verb])
            answer = await scene.third.client.request(verb, place, json=body, params=QUERY | QUERIES.get(path, {}))
            asked = f"{place} {body}"
            assert {each for each in scene.secrets if each in answer.text and each not in asked} == set(), (verb, path)
            if answer.is_success:
                open_to_all.add(f"{verb} {path.removeprefix('/api/v1')}")
            else:
                statuses[f"{verb} {path}"] = answer.status_code
    assert {route: status for route, status in statuses.items() if status not in {403, 404}} == {}
    assert open_to_all == {
        "get /health", "get /access/books", "get /access/whoami", "post /access/tokens", "get /accounts/nostro",
        "get /accounts/vostro", "get /banks", "get /compliance/limits", "get /netting/cycles", "get /netting/obligations",
        "get /reconciliation/reports", "get /settlements", "get /settlements/events", "get /windows",
    }  # fmt: skip
    assert (await scene.town.show(scene.other)).state.value == "COMPLETED"


async def test_what_is_another_banks_is_not_there_not_even_as_a_cursor(scene: Scene) -> None:
    for path in (
        f"{SETTLEMENTS}/{scene.other.id}", f"{SETTLEMENTS}/{scene.other.id}/explain", f"/api/v1/banks/{PAYER}",
        f"/api/v1/accounts/vostro/{PAYER}/USD", f"/api/v1/accounts/nostro/{PAYEE}/USD",
        f"/api/v1/accounts/vostro/{PAYER}/USD/statement", f"/api/v1/reconciliation/reports/{scene.report}",
        f"/api/v1/reconciliation/reports/{scene.report}/explain", f"{SETTLEMENTS}?cursor={scene.other.id}",
        f"/api/v1/reconciliation/reports?cursor={scene.report}",
    ):  # fmt: skip
        assert (await scene.third.client.get(path)).status_code == 404, path
    answer = await scene.third.client.post(f"{SETTLEMENTS}/{scene.other.id}/cancel", json={})
    assert refused(answer, 404) == "settlement_not_found"


async def test_lists_contain_what_is_its_own_whatever_it_asks_for(scene: Scene) -> None:
    asking = scene.third.client
    for query in ({}, {"bank": THIRD}, {"obligation_id": "OBL-own"}, {"bank": PAYEE}):
        assert [each["id"] for each in ok(await asking.get(SETTLEMENTS, params=query))["items"]] == [scene.own.id]
    for query in ({"bank": PAYER}, {"obligation_id": "OBL-of-chase"}):
        assert ok(await asking.get(SETTLEMENTS, params=query))["items"] == []
    assert [each["bic"] for each in ok(await asking.get("/api/v1/banks"))["items"]] == [THIRD]
    assert [each["bank"] for each in ok(await asking.get("/api/v1/accounts/vostro"))["items"]] == [THIRD]
    assert ok(await asking.get("/api/v1/accounts/nostro"))["items"] == []
    assert [each["bank"] for each in ok(await asking.get("/api/v1/compliance/limits"))] == [THIRD]
    for query in ({}, {"bank": PAYEE}):
        assert ok(await asking.get("/api/v1/reconciliation/reports", params=query))["items"] == []


async def test_a_bank_settles_for_itself_and_reads_its_own_account(scene: Scene) -> None:
    asking = scene.third.client
    made = ok(await asking.post(SETTLEMENTS, json=obligation("OBL-third", from_bank=THIRD)))
    assert ok(await asking.get(f"{SETTLEMENTS}/{made['id']}"))["settlement"]["state"] == "FUNDS_LOCKED"
    assert ok(await asking.get(f"{SETTLEMENTS}/{made['id']}/explain"))["tree"]["parts"][0]["what"] == "held"
    assert ok(await asking.post(f"{SETTLEMENTS}/{made['id']}/cancel", json={}))["state"] == "ROLLED_BACK"
    account = ok(await asking.get(f"/api/v1/accounts/vostro/{THIRD}/USD"))
    assert (account["balance"], account["held"]) == ("4999.00", "0.00")
    lines = ok(await asking.get(f"/api/v1/accounts/vostro/{THIRD}/USD/statement"))["items"]
    assert [each["transfer"]["amount"] for each in lines if each["transfer"]["kind"] == "capture"] == ["1.00"]


async def test_a_bank_never_lets_another_one_pay(scene: Scene) -> None:
    asking, before = scene.third.client, await scene.town.funds()
    theirs = obligation("OBL-theft", to_bank=THIRD)
    assert refused(await asking.post(SETTLEMENTS, json=theirs), 403) == "other_bank"
    mine = obligation("OBL-mine", from_bank=THIRD)
    assert refused(await asking.post(f"{SETTLEMENTS}/batch", json=[mine, theirs]), 403) == "other_bank"
    assert refused(await asking.post(f"{SETTLEMENTS}/{scene.own.id}/release", json={"reason": "so"}), 403) == "denied"
    assert await scene.town.funds() == before


async def test_who_is_paid_sees_it_and_cannot_take_it_back(scene: Scene, house: House) -> None:
    payee = await add(house, "party", name="the desk at Deutsche", organisation=PAYEE)
    waiting = await scene.town.execute("2.00")
    assert ok(await payee.client.get(f"{SETTLEMENTS}/{waiting.id}"))["settlement"]["amount"] == "2.00"
    answer = await payee.client.post(f"{SETTLEMENTS}/{waiting.id}/cancel", json={})
    assert refused(answer, 403) == "other_bank"
    lines = ok(await payee.client.get(f"{SETTLEMENTS}/{scene.other.id}/explain"))["tree"]
    assert "statement_line" in str(lines)
    payer = await add(house, "party", name="the desk at Chase", organisation=PAYER)
    lines = ok(await payer.client.get(f"{SETTLEMENTS}/{scene.other.id}/explain"))["tree"]
    assert "statement_line" not in str(lines)


async def test_a_refusal_says_nothing_about_others(scene: Scene) -> None:
    asking = scene.third.client
    taken = await asking.post(SETTLEMENTS, json=obligation("OBL-of-chase", from_bank=THIRD))
    assert (refused(taken, 409), scene.other.id in taken.text) == ("obligation_taken", False)
    again = await asking.post(SETTLEMENTS, json=obligation("OBL-own", from_bank=THIRD))
    assert (refused(again, 409), scene.own.id in again.text) == ("duplicate_obligation", True)
    short = await asking.post(SETTLEMENTS, json=obligation("OBL-short", from_bank=THIRD, amount="880.00"))
    assert (refused(short, 422), "available" in short.text) == ("correspondent_unable", False)


async def test_a_bank_is_not_told_whom_a_name_was_like(scene: Scene) -> None:
    asked = obligation("OBL-looked-at", from_bank=THIRD, amount="901.00")
    made = ok(await scene.third.client.post(SETTLEMENTS, json=asked))
    shown = ok(await scene.third.client.get(f"{SETTLEMENTS}/{made['id']}"))["settlement"]
    for each in (made, shown):
        assert (each["waiting_for"], "remark" in each, "review" in each) == ("review", False, False)


async def test_who_is_a_party_but_speaks_for_no_bank_sees_nothing(house: House, scene: Scene) -> None:
    for organisation in ("", "Barclays"):
        nobody = await add(house, "party", name=f"a desk of {organisation!r}", organisation=organisation)
        assert ok(await nobody.client.get(SETTLEMENTS))["items"] == []
        assert ok(await nobody.client.get(EVENTS))["items"] == []
        assert ok(await nobody.client.get("/api/v1/reconciliation/reports"))["items"] == []
        assert (await nobody.client.get(f"{SETTLEMENTS}/{scene.own.id}")).status_code == 404
        answer = await nobody.client.post(SETTLEMENTS, json=obligation("OBL-nobody"))
        assert refused(answer, 403) == "other_bank"


async def test_its_events_are_those_of_its_own_settlements_page_by_page(scene: Scene) -> None:
    found = ok(await scene.third.client.get(EVENTS))["items"]
    assert {each["settlement"] for each in found} == {scene.own.id}
    assert [each["type"] for each in found][-1] == "interbank.completed"
    for query in ({"settlement": scene.other.id}, {"bank": PAYER}):
        assert ok(await scene.third.client.get(EVENTS, params=query))["items"] == []


async def test_what_happens_to_its_settlements_is_told_as_it_happens_from_any_place_on(scene: Scene, house: House) -> None:
    key = f"Bearer {scene.third.secret}"
    async with listening(house) as url:
        async with following(url, key, path=EVENTS) as follower:
            told = [await follower.next() for _ in range(3)]
            await scene.town.execute("3.00", obligation_id="OBL-hidden")
            mine = await scene.town.execute("4.00", from_bank=THIRD)
            await house.seal()
            fresh = await follower.next()
        last = {"Last-Event-ID": told[0]["id"]}
        async with following(url, key, path=EVENTS, headers=last, settlement=scene.own.id) as follower:
            again = [await follower.next() for _ in range(2)]
    assert {each["settlement"] for each in told} == {scene.own.id}
    assert (fresh["settlement"], fresh["type"]) == (mine.id, "interbank.funds_locked")
    assert again == told[1:]


async def test_over_grpc_too_it_sees_and_hears_only_its_own(scene: Scene, channel: grpc.aio.Channel) -> None:
    theft = wire.ExecuteSettlementRequest(**obligation("OBL-theft"))
    assert await code(channel, "ExecuteSettlement", theft, scene.third) is grpc.StatusCode.PERMISSION_DENIED
    look = wire.GetSettlementStatusRequest(settlement_id=scene.other.id)
    assert await code(channel, "GetSettlementStatus", look, scene.third) is grpc.StatusCode.NOT_FOUND
    for call, request in (
        ("GetNostroBalance", wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD")),
        ("GetVostroBalance", wire.GetVostroBalanceRequest(bank=PAYER, currency="USD")),
    ):
        assert await code(channel, call, request, scene.third) is grpc.StatusCode.NOT_FOUND
    compare = wire.ReconcileAccountsRequest(bank=PAYEE)
    assert await code(channel, "ReconcileAccounts", compare, scene.third) is grpc.StatusCode.PERMISSION_DENIED
    stub: Any = stubs.SettlementEngineStub(channel)
    for banks in ([], [PAYEE]):
        asked = wire.StreamSettlementEventsRequest(after="1-1-0", banks=banks)
        stream = stub.StreamSettlementEvents(asked, metadata=(("x-api-key", scene.third.secret),))
        told = [await stream.read() for _ in range(3)]
        stream.cancel()
        assert {each.settlement_id for each in told} == {scene.own.id}

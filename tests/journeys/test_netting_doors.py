"""Netting through the doors: bad input, what a bank sees, explanations down to the obligations, schedules and events."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import httpx
import jsonschema_rs
import pytest

from clearhouse.app.products import EVENTS
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines import schedules
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank.banks import KeepBank
from clearhouse.slices.interbank.netting import commands
from clearhouse.slices.interbank.netting.cycle import STEPS, TRANSITIONS, SettleCycle
from clearhouse.slices.interbank.netting.withdrawing import WithdrawObligation
from clearhouse.transport.http.catalogue import catalogue
from clearing import ANN, BOB, CID, Clearing, advancer, hall, in_own_book, netted, work
from house import House, ok, refused

NETTING = "/api/v1/netting"
Body = dict[str, Any]


@pytest.fixture(scope="module")
async def house(shared_database: Database) -> AsyncGenerator[House]:
    async with hall(shared_database) as opened:
        yield opened


@pytest.fixture
async def clearing(house: House) -> Clearing:
    return await in_own_book(house)


@pytest.fixture
async def operator(house: House, clearing: Clearing) -> httpx.AsyncClient:
    return await house.caller("operator", book=clearing.name)


async def opened(operator: httpx.AsyncClient, method: str = "multilateral") -> str:
    return str(ok(await operator.post(f"{NETTING}/cycles", json={"currency": "USD", "method": method}))["id"])


async def listed(asking: httpx.AsyncClient, path: str, **params: Any) -> list[Body]:
    """Return what all pages of a list have together."""
    found: list[Body] = []
    while True:
        page = ok(await asking.get(f"{NETTING}{path}", params=params))
        found += page["items"]
        if page["next"] is None:
            return found
        params["cursor"] = page["next"]


# Bad input -----------------------------------------------------------------------------------------------------------

WRONG = [
    ({"to_bank": "NOBKUS33"}, 422, "bank_unknown"),
    ({"to_bank": "nobody"}, 400, "malformed_bic"),
    ({"to_bank": ANN}, 422, "same_bank"),
    ({"amount": "0.00"}, 422, "amount_not_positive"),
    ({"amount": "-1.00"}, 422, "amount_not_positive"),
    ({"amount": "1.001"}, 400, "too_many_decimals"),
    ({"amount": "ten"}, 400, "malformed_amount"),
    ({"currency": "EUR"}, 422, "correspondent_missing"),
    ({"currency": "ZZZ"}, 422, "currency_unknown"),
    ({"cycle": "cyc_00000000000000000000000001"}, 409, "cycle_not_open"),
    ({"obligation_id": ""}, 400, "malformed"),
    ({"reference": "a\nb"}, 400, "malformed"),
]


@pytest.mark.parametrize(("change", "status", "code"), WRONG, ids=[f"{each[2]}-{next(iter(each[0]))}" for each in WRONG])
async def test_a_wrong_obligation_is_refused_alone_and_in_a_batch_and_leaves_nothing(
    operator: httpx.AsyncClient, change: Body, status: int, code: str
) -> None:
    cycle = await opened(operator)
    assert refused(await operator.post(f"{NETTING}/obligations", json=netted("wrong", **change)), status) == code
    batch = [netted("right"), netted("wrong", **change)]
    results = ok(await operator.post(f"{NETTING}/obligations/batch", json=batch))["results"]
    assert [list(each) for each in results] == [["ok"], ["refused"]]
    assert results[1]["refused"]["code"] == code
    assert [each["obligation_id"] for each in await listed(operator, f"/cycles/{cycle}/obligations")] == ["right"]


async def test_nothing_is_recorded_with_a_bank_that_is_suspended(clearing: Clearing, operator: httpx.AsyncClient) -> None:
    await opened(operator)
    await clearing.ask(interbank.KEEP_BANK, KeepBank(BOB, "Bob", "suspended"))
    assert refused(await operator.post(f"{NETTING}/obligations", json=netted("late")), 422) == "bank_suspended"


async def test_nothing_is_recorded_where_no_cycle_is_open(operator: httpx.AsyncClient) -> None:
    assert refused(await operator.post(f"{NETTING}/obligations", json=netted("early")), 409) == "no_open_cycle"
    assert refused(await operator.get(f"{NETTING}/obligations/early"), 404) == "obligation_not_found"


async def test_the_same_obligation_again_is_answered_and_another_under_its_id_is_refused(
    operator: httpx.AsyncClient,
) -> None:
    cycle = await opened(operator)
    first = ok(await operator.post(f"{NETTING}/obligations", json=netted("one")))
    again = ok(await operator.post(f"{NETTING}/obligations", json=netted("one")))
    assert again == {**first, "exists": True}
    for change in ({"amount": "2.00"}, {"to_bank": CID}, {"reference": "new"}):
        answer = await operator.post(f"{NETTING}/obligations", json=netted("one", **change))
        assert refused(answer, 409) == "duplicate_netting_obligation"
    batch = [netted("two"), netted("two"), netted("two", amount="3.00")]
    results = ok(await operator.post(f"{NETTING}/obligations/batch", json=batch))["results"]
    assert ["exists" in results[1]["ok"], results[2]["refused"]["code"]] == [True, "duplicate_netting_obligation"]
    assert len(await listed(operator, f"/cycles/{cycle}/obligations")) == 2


@pytest.mark.parametrize("name", ["2026/11/OBL-1", "a?b#c", "50%2F&=+", "/"])
async def test_an_obligation_is_found_whatever_signs_its_id_has(operator: httpx.AsyncClient, name: str) -> None:
    cycle = await opened(operator)
    recorded = ok(await operator.post(f"{NETTING}/obligations", json=netted(name)))
    assert recorded["cycle"] == cycle
    found = ok(await operator.get(f"{NETTING}/obligations", params={"obligation_id": name}))["items"]
    assert found == [recorded]
    assert ok(await operator.get(f"{NETTING}/obligations", params={"obligation_id": f"{name}x"}))["items"] == []


async def test_what_was_recorded_is_answered_as_it_stands_when_its_cycle_is_closed(operator: httpx.AsyncClient) -> None:
    cycle = await opened(operator)
    named = netted("one", cycle=cycle)
    ok(await operator.post(f"{NETTING}/obligations", json=named))
    ok(await operator.post(f"{NETTING}/cycles/{cycle}/close", json={"last": True}))
    again = ok(await operator.post(f"{NETTING}/obligations", json=named))
    assert (again["cycle"], again["state"], again["exists"]) == (cycle, "CLOSED", True)
    late = await operator.post(f"{NETTING}/obligations", json=netted("two", cycle=cycle))
    assert refused(late, 409) == "no_open_cycle"
    following = await opened(operator)
    late = await operator.post(f"{NETTING}/obligations", json=netted("two", cycle=cycle))
    assert (following != cycle, refused(late, 409)) == (True, "cycle_not_open")


async def test_what_is_not_there_is_not_found(operator: httpx.AsyncClient) -> None:
    nobody = "cyc_00000000000000000000000001"
    for verb, body in (("close", {}), ("settle", None), ("abort", {"reason": "why"}), ("carry", {})):
        answer = await operator.post(f"{NETTING}/cycles/{nobody}/{verb}", json=body)
        assert refused(answer, 404) == "cycle_not_found"
    for path, code in (
        (f"/cycles/{nobody}", "cycle_not_found"), (f"/cycles/{nobody}/positions", "cycle_not_found"),
        (f"/cycles/{nobody}/obligations", "cycle_not_found"), ("/positions/pos_7-1", "position_not_found"),
        (f"/positions/{nobody.replace('cyc', 'pos')}-1", "position_not_found"),
        ("/positions/nothing/obligations", "position_not_found"), ("/obligations/none", "obligation_not_found"),
    ):  # fmt: skip
        assert refused(await operator.get(f"{NETTING}{path}"), 404) == code
    assert refused(await operator.post(f"{NETTING}/cycles", json={"currency": "ZZZ"}), 422) == "currency_unknown"


async def test_a_key_makes_opening_and_closing_harmless_to_repeat(operator: httpx.AsyncClient) -> None:
    once, body = {"Idempotency-Key": "the-first"}, {"currency": "USD"}
    cycles = [ok(await operator.post(f"{NETTING}/cycles", json=body, headers=once))["id"] for _ in range(2)]
    assert cycles[0] == cycles[1]
    path = f"{NETTING}/cycles/{cycles[0]}/close"
    closed = [ok(await operator.post(path, json={}, headers={"Idempotency-Key": "c"}))["state"] for _ in range(2)]
    assert closed == ["SETTLED", "SETTLED"]
    assert [each["number"] for each in await listed(operator, "/cycles")] == [2, 1]


# Explanations --------------------------------------------------------------------------------------------------------


async def many(clearing: Clearing) -> list[tuple[str, str, str]]:
    ways = [(ANN, BOB), (BOB, ANN), (ANN, CID), (CID, BOB)]
    owing = [(*ways[number % 4], f"{number}.0{number % 10}") for number in range(1, 40)]
    for start in range(0, len(owing), 7):
        await clearing.owe(*owing[start : start + 7])
    return owing


@pytest.mark.parametrize("method", ["gross", "bilateral", "multilateral"])
async def test_every_position_is_explained_by_branches_and_leaves_that_add_up_exactly(
    clearing: Clearing, operator: httpx.AsyncClient, method: str
) -> None:
    cycle = await opened(operator, method)
    owing = await many(clearing)
    ok(await operator.post(f"{NETTING}/cycles/{cycle}/close", json={}))
    await work(clearing.database)
    positions = await listed(operator, f"/cycles/{cycle}/positions", limit=2)
    assert len(positions) == {"gross": 39, "bilateral": 3, "multilateral": 3}[method]
    explained = 0
    for position in positions:
        told = ok(await operator.get(f"{NETTING}/positions/{position['id']}"))
        leaves = await listed(operator, f"/positions/{position['id']}/obligations", limit=3)
        explained += len(leaves)
        sums = {way: Decimal(0) for way in ("sent", "received")}
        for branch in told["branches"]:
            its = [
                each for each in leaves if (each["from_bank"], each["to_bank"]) == (branch["from_bank"], branch["to_bank"])
            ]
            assert (len(its), sum(Decimal(each["amount"]) for each in its)) == (
                branch["obligations"], Decimal(branch["amount"]),
            )  # fmt: skip
            sums[branch["way"]] += Decimal(branch["amount"])
        assert len(leaves) == position["obligations"] == sum(each["obligations"] for each in told["branches"])
        assert (Decimal(position["sent"]), Decimal(position["received"])) == (sums["sent"], sums["received"])
        assert Decimal(position["net"]) == sums["received"] - sums["sent"]
    assert explained == len(owing) * (2 if method == "multilateral" else 1)


# Who sees what -------------------------------------------------------------------------------------------------------


async def test_a_bank_records_what_it_owes_and_sees_its_own_and_nothing_else(
    house: House, clearing: Clearing, operator: httpx.AsyncClient
) -> None:
    ann, bob, cid = [
        await house.caller("operator", name=bic, book=clearing.name, organisation=bic) for bic in (ANN, BOB, CID)
    ]
    cycle = await opened(operator)
    ok(await ann.post(f"{NETTING}/obligations", json=netted("mine")))
    assert refused(await bob.post(f"{NETTING}/obligations", json=netted("theirs")), 403) == "other_bank"
    assert refused(await bob.post(f"{NETTING}/obligations/batch", json=[netted("theirs")]), 403) == "other_bank"
    for verb, body in (("close", {}), ("settle", None), ("abort", {"reason": "why"}), ("carry", {})):
        assert refused(await ann.post(f"{NETTING}/cycles/{cycle}/{verb}", json=body), 403) == "other_bank"
    ok(await operator.post(f"{NETTING}/cycles/{cycle}/close", json={}))
    await work(clearing.database)
    positions = await listed(operator, f"/cycles/{cycle}/positions")
    for asking, bic in ((ann, ANN), (bob, BOB)):
        assert [each["bank"] for each in await listed(asking, f"/cycles/{cycle}/positions")] == [bic]
        assert ok(await asking.get(f"{NETTING}/obligations/mine"))["amount"] == "1.00"
    assert "gross" in ok(await operator.get(f"{NETTING}/cycles/{cycle}"))
    assert "gross" not in ok(await ann.get(f"{NETTING}/cycles/{cycle}"))
    assert refused(await ann.get(f"{NETTING}/positions/{positions[1]['id']}"), 404) == "position_not_found"
    assert refused(await cid.get(f"{NETTING}/obligations/mine"), 404) == "obligation_not_found"
    mine = {"obligation_id": "mine"}
    found = [ok(await each.get(f"{NETTING}/obligations", params=mine))["items"] for each in (ann, bob, cid)]
    assert [len(each) for each in found] == [1, 1, 0]
    assert await listed(cid, f"/cycles/{cycle}/obligations") == await listed(cid, f"/cycles/{cycle}/positions") == []


# By the clock, and what is told --------------------------------------------------------------------------------------


async def test_a_schedule_opens_a_cycle_and_then_closes_settles_and_opens_the_next(
    clearing: Clearing, operator: httpx.AsyncClient
) -> None:
    body = {"name": "evening", "cron": "0 18 * * *", "job": "interbank.turn_cycle", "arguments": {"currency": "USD"}}
    ok(await operator.post("/api/v1/schedules", json=body))
    for owing in ([(ANN, BOB, "5.00")], [], []):
        ok(await operator.post("/api/v1/schedules/evening/run"))
        await advancer(clearing.database).run(schedules.RUN)
        await work(clearing.database)
        if owing:
            await clearing.owe(*owing)
    found = await listed(operator, "/cycles", currency="USD")
    assert [(each["number"], each["state"]) for each in found] == [(3, "OPEN"), (2, "SETTLED"), (1, "SETTLED")]
    assert found[2]["net"] == "5.00"
    assert (await clearing.balances())[BOB] == "1005.00"
    wrong = {**body, "arguments": {"currency": "USD", "colour": "blue"}}
    assert refused(await operator.post("/api/v1/schedules", json=wrong), 400) == "malformed"


async def told(house: House, clearing: Clearing) -> list[Body]:
    """Return every event of the book that is about netting."""
    await house.seal()
    auditor = await house.caller("auditor", book=clearing.name)
    found = ok(await auditor.get("/api/v1/events", params={"limit": 1000}))["items"]
    return [each for each in found if each["type"].startswith(("interbank.cycle", "interbank.position", "interbank.oblig"))]


async def test_everything_that_happens_is_told_as_the_catalogue_has_it(
    house: House, clearing: Clearing, operator: httpx.AsyncClient
) -> None:
    first = await clearing.open()
    await clearing.owe((ANN, BOB, "5000.00"), (CID, BOB, "5.00"))
    ok(await operator.post(f"{NETTING}/obligations", json=netted("NET-0", amount="5000.00")))
    await clearing.close(first)
    aborted = await clearing.settle(await clearing.worked(first))
    second = await clearing.carry(aborted, ANN)
    await clearing.close(second, last=True)
    await clearing.settle(second)
    third = await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"))
    await clearing.close(third)
    await clearing.ask(commands.SETTLE, SettleCycle((await clearing.worked(third)).id))
    await clearing.abort(third)
    await clearing.worked(third)
    await clearing.ask(commands.WITHDRAW, WithdrawObligation("NET-2", "a mistake"))
    document = catalogue(EVENTS)
    events = await told(house, clearing)
    for event in events:
        payload = document["components"]["messages"][event["type"]]["payload"]
        jsonschema_rs.validator_for({**payload, "components": document["components"]}).validate(event)
    wanted = {each for each in EVENTS if each.startswith(("interbank.cycle", "interbank.position", "interbank.oblig"))}
    assert {each["type"] for each in events} == wanted
    one = [each["type"].partition(".")[2] for each in events if each["subject"] == first.id]
    assert one == [
        "cycle_opened", "cycle_closed", "cycle_netted", "cycle_settling", "cycle_aborted", "cycle_carried",
    ]  # fmt: skip


async def test_what_is_legal_stands_in_the_code_and_in_the_database_alike(clearing: Clearing) -> None:
    async with clearing.database.writing() as tx:
        text = str((await tx.tuples("SELECT prosrc FROM pg_proc WHERE proname = 'refuse_netting_change'"))[0][0])
    cycles = {("netting_cycle", old.value, new.value): new in TRANSITIONS[old] for old in TRANSITIONS for new in TRANSITIONS}
    positions = {("netting_position", old.value, new.value): new in STEPS[old] for old in STEPS for new in STEPS}
    assert {each: str(each) in text for each in cycles | positions} == cycles | positions

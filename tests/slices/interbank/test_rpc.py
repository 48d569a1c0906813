"""The settlement engine over gRPC: its six calls, who may make them, and the same words as over HTTP."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from calling import Line, execution, refused
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.stopping import CancelSettlement
from clearhouse.transport.http import feed
from clearhouse.v1 import interbank_pb2 as wire
from giving import lost
from house import House, ok
from papers import Desk
from people import Person, add
from town import PAYEE, PAYER, Town, obligation


async def test_a_settlement_is_executed_and_followed_to_its_end(town: Town, line: Line) -> None:
    executed = await line.ask("ExecuteSettlement", execution(**obligation("OBL-g", amount="100.00")))
    assert executed.settlement.state == wire.SETTLEMENT_STATE_FUNDS_LOCKED
    await town.settle()
    found = await line.ask("GetSettlementStatus", wire.GetSettlementStatusRequest(settlement_id=executed.settlement.id))
    assert found.settlement.state == wire.SETTLEMENT_STATE_COMPLETED
    assert {each.step for each in found.checkpoints} == {"VALIDATION", "LOCK", "INITIATE", "CONFIRM", "FINALIZE"}
    nostro = await line.ask("GetNostroBalance", wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD"))
    vostro = await line.ask("GetVostroBalance", wire.GetVostroBalanceRequest(bank=PAYER, currency="USD"))
    assert (nostro.balance.balance, vostro.balance.balance) == ("900.00", "900.00")


async def test_a_key_makes_a_repetition_harmless(town: Town, line: Line) -> None:
    asked = execution(**obligation("OBL-k"), idempotency_key="once")
    first, second = [await line.ask("ExecuteSettlement", asked) for _ in range(2)]
    assert first == second
    assert await town.funds() == {"vostro": ("1000.00", "1.00"), "nostro": ("1000.00", "1.00")}


async def test_what_was_given_up_is_settled_again_by_the_same_order_or_not_at_all(town: Town, line: Line) -> None:
    desk = Desk(town.house)
    await desk.hire("anna", "approver")
    given, late = await lost(town, desk)
    asked = obligation(given.obligation_id)
    code, info, _ = await refused(line, "ExecuteSettlement", execution(**{**asked, "amount": "10.01"}))
    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "other_terms")
    executed = await line.ask("ExecuteSettlement", execution(**{**asked, "amount": "10.00"}))
    assert (executed.settlement.uetr, executed.settlement.id == given.id) == (given.uetr, False)
    await town.bank.send([late])
    await town.settle()
    found = await line.ask("GetSettlementStatus", wire.GetSettlementStatusRequest(settlement_id=executed.settlement.id))
    assert (found.settlement.state, await town.paid(given)) == (wire.SETTLEMENT_STATE_COMPLETED, (1, "10.00"))


async def test_without_a_key_only_the_health_answers(town: Town, channel: grpc.aio.Channel) -> None:
    stranger = Line(channel, ())
    code, info, _ = await refused(stranger, "ExecuteSettlement", execution(**obligation("OBL-s")))
    assert (code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    health: Any = health_pb2_grpc.HealthStub(channel)
    well: Any = await health.Check(health_pb2.HealthCheckRequest(service="clearhouse.v1.SettlementEngine"))
    assert well.status == health_pb2.HealthCheckResponse.SERVING
    assert await town.funds() == {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}


async def test_a_viewer_may_look_and_not_execute(town: Town, channel: grpc.aio.Channel) -> None:
    viewer = await add(town.house, "viewer", name="who looks")
    line = Line(channel, (("x-api-key", viewer.secret),))
    code, info, _ = await refused(line, "ExecuteSettlement", execution(**obligation("OBL-v")))
    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "denied")
    await line.ask("GetNostroBalance", wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD"))


async def test_reflection_names_the_service_to_who_has_a_key(line: Line) -> None:
    opened: Any = line.channel  # its stubs know the channels of threads only
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(opened)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answers: list[Any] = [each async for each in stub.ServerReflectionInfo(asked, metadata=line.metadata)]
    names: set[str] = {each.name for each in answers[0].list_services_response.service}
    assert "clearhouse.v1.SettlementEngine" in names


async def test_a_stream_goes_on_after_the_last_event_that_was_read(town: Town, line: Line) -> None:
    start = await town.execute("1.00")
    await town.house.seal()
    asked = wire.StreamSettlementEventsRequest(after="1-1-0", settlement_ids=[start.id])
    stream = line.engine.StreamSettlementEvents(asked, metadata=line.metadata)
    first = await stream.read()
    assert (first.type, first.settlement_id) == ("interbank.funds_locked", start.id)
    stream.cancel()
    await town.settle()
    await town.house.seal()
    again = wire.StreamSettlementEventsRequest(after=first.id, settlement_ids=[start.id])
    stream = line.engine.StreamSettlementEvents(again, metadata=line.metadata)
    types = [(await stream.read()).type for _ in range(2)]
    assert types == ["interbank.executing", "interbank.completed"]
    stream.cancel()


async def test_nostros_are_reconciled_and_each_has_its_report(town: Town, line: Line) -> None:
    await town.execute("20.00")
    await town.settle()
    await town.bank.control.fund(f"{PAYEE}:USD", "7.00", reference="interest")
    reports = (await line.ask("ReconcileAccounts", wire.ReconcileAccountsRequest(bank=PAYEE, currency="USD"))).reports
    assert [(each.bank, each.currency, each.status) for each in reports] == [(PAYEE, "USD", "IDENTIFIED")]
    found = reports[0]
    assert (found.our_balance, found.their_balance, found.difference) == ("980.00", "987.00", "-7.00")
    assert (found.matched, found.missing, found.unexpected) == (2, 0, 1)
    nothing = await line.ask("ReconcileAccounts", wire.ReconcileAccountsRequest(currency="EUR"))
    assert list(nothing.reports) == []


async def test_a_stream_is_woken_by_what_happens_and_ends_with_its_key(
    town: Town, line: Line, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_SECONDS", 3_600.0)
    hearing = asyncio.create_task(town.house.feed.run(town.house.database))
    stream = line.engine.StreamSettlementEvents(wire.StreamSettlementEventsRequest(after="1-1-0"), metadata=line.metadata)
    for number in range(3):
        made = await town.execute("1.00", obligation_id=f"OBL-told-{number}")
        await town.house.seal()
        assert (await stream.read()).settlement_id == made.id
    ok(await town.house.admin.post(f"/api/v1/access/keys/{operator.key}/revoke"))
    await town.house.seal()
    assert await stream.read() is grpc.aio.EOF
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)


async def test_a_bank_hears_and_sees_only_of_its_own_settlements(
    town: Town, channel: grpc.aio.Channel, house: House
) -> None:
    await town.execute("1.00")
    added = ok(await house.admin.post("/api/v1/access/principals", json={
        "name": "a third bank", "organisation": "BARCGB22", "roles": ["operator"], "kind": "service",
    }))  # fmt: skip
    issued = ok(await house.admin.post(f"/api/v1/access/principals/{added['id']}/keys", json={}))
    third = Line(channel, (("x-api-key", issued["secret"]),))
    other = await town.execute("2.00")
    code, info, _ = await refused(third, "GetSettlementStatus", wire.GetSettlementStatusRequest(settlement_id=other.id))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "settlement_not_found")
    assert (await refused(third, "ExecuteSettlement", execution(**obligation("OBL-t"))))[1].reason == "other_bank"
    nostro = wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD")
    assert (await refused(third, "GetNostroBalance", nostro))[1].reason == "interbank_account_not_found"


async def test_a_call_that_has_no_time_ends_with_its_deadline(town: Town, line: Line) -> None:
    await town.ask(commands.CANCEL, CancelSettlement((await town.execute("1.00")).id))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await line.ask("ExecuteSettlement", execution(**obligation("OBL-d")), timeout=0.000_001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

"""The document that interbank stands on, name by name: tables, metrics, ports, paths and calls of a house that settles."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest
from google.protobuf.json_format import MessageToDict
from prometheus_client.parser import text_string_to_metric_families

from calling import Line, execution, told
from clearhouse.app.config import Config
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.rules import SetWindow
from clearhouse.slices.interbank.settlement import Settlement
from clearhouse.v1 import interbank_pb2 as wire
from house import House, client, ok
from people import Person
from town import PAYEE, PAYER, Town, obligation

API = "/api/v1"
CALLS = {
    "ExecuteSettlement": ["obligation_id", "from_bank", "to_bank", "amount", "currency", "method", "priority"],
    "GetSettlementStatus": ["settlement_id"],
    "ReconcileAccounts": ["bank", "currency"],
    "StreamSettlementEvents": ["settlement_ids", "banks", "after"],
    "GetNostroBalance": ["bank", "currency"],
    "GetVostroBalance": ["bank", "currency"],
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A town after a day: one settlement is done, one came back, one is locked, and the bank has a line that we have not."""

    town: Town
    done: Settlement
    returned: Settlement
    report: str


@pytest.fixture
async def scene(town: Town) -> Scene:
    await town.ask(commands.SET_WINDOW, SetWindow("EUR", "TARGET2"))
    done, returned = await town.execute("10.00"), await town.execute("20.00")
    await town.settle()
    await town.give_back(returned)
    await town.settle()
    await town.execute("1.00")
    await town.bank.control.fund(f"{PAYEE}:USD", "7.00", reference="interest")
    report = (await town.compare())[0]
    await town.house.seal()
    return Scene(town, done, returned, report.id)


# What the document calls a table, and what stands in it after that day.
TABLES: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "settlement_transactions": (
        "state, amount::bigint", [("COMPLETED", 1000), ("COMPLETED", 2000), ("COMPLETED", 2000), ("FUNDS_LOCKED", 100)],
    ),
    "nostro_accounts": ("bank, currency, balance::bigint, held::bigint", [(PAYEE, "USD", 99000, 100)]),
    "vostro_accounts": ("bank, currency, balance::bigint, held::bigint", [(PAYER, "USD", 99000, 100)]),
    "fund_locks": ("state, remaining::bigint", [("pending", 100), ("posted", 0), ("posted", 0)]),
    "settlement_atomic_operations": ("state", [("COMMITTED",), ("COMMITTED",), ("COMMITTED",), ("IN_PROGRESS",)]),
    "settlement_operation_checkpoints": (
        "step, count(*)",
        [("CONFIRM", 3), ("FINALIZE", 3), ("INITIATE", 2), ("LOCK", 3), ("VALIDATION", 3)],
    ),
    "reconciliation_reports": ("bank, currency, status", [(PAYEE, "USD", "IDENTIFIED")]),
    "compensation_transactions": ("cause, amount::bigint", [("return", 2000)]),
    "settlement_windows": ("currency, calendar", [("EUR", "TARGET2")]),
}  # fmt: skip


@pytest.mark.usefixtures("scene")
async def test_each_of_the_nine_tables_is_there_by_its_name_with_what_happened_in_it(owner_dsn: str) -> None:
    assert len(TABLES) == 9
    with psycopg.connect(owner_dsn) as connection:
        for name, (columns, rows) in TABLES.items():
            grouped = " GROUP BY step" if "count" in columns else ""
            asked: Any = f"SELECT {columns} FROM clearhouse.{name} WHERE book = 1{grouped}"
            found: list[tuple[Any, ...]] = connection.execute(asked).fetchall()
            assert (name, sorted(found)) == (name, rows)


# What the document calls a metric: its type, its labels, and what it says after that day.
METRICS: dict[str, tuple[str, dict[str, str], float]] = {
    "settlement_total": ("counter", {"status": "COMPLETED"}, 2),
    "settlement_duration_seconds_count": ("histogram", {}, 2),
    "settlement_amount_total": ("counter", {"currency": "USD"}, 30),
    "reconciliation_discrepancies_total": ("counter", {}, 1),
    "atomic_operations_total": ("counter", {"state": "COMMITTED"}, 3),
    "nostro_balance": ("gauge", {"bank": PAYEE, "currency": "USD"}, 990),
    "vostro_balance": ("gauge", {"bank": PAYER, "currency": "USD"}, 990),
}


@pytest.mark.usefixtures("scene")
async def test_each_of_the_seven_metrics_is_told_by_its_name_with_its_labels(house: House) -> None:
    assert len(METRICS) == 7
    text = (await (await house.caller("auditor")).get("/metrics")).text
    told = {
        (each.name, tuple(sorted(each.labels.items()))): (family.type, each.value)
        for family in text_string_to_metric_families(text) for each in family.samples
    }  # fmt: skip
    wanted = {(name, tuple(sorted(labels.items()))): (kind, value) for name, (kind, labels, value) in METRICS.items()}
    assert {key: told.get(key) for key in wanted} == wanted


def test_without_any_setting_it_listens_where_the_document_says() -> None:
    config = Config.read({})
    assert (config.http_port, config.grpc_port) == (8086, 50056)
    given = Config.read({"DATABASE_URL": "postgresql://a/b", "NATS_URL": "nats://n", "GRPC_PORT": "1", "HTTP_PORT": "2"})
    assert (given.database_url, given.nats_url, given.grpc_port, given.http_port) == ("postgresql://a/b", "nats://n", 1, 2)


def test_the_six_calls_and_what_they_ask_are_named_as_in_the_document() -> None:
    found = wire.DESCRIPTOR.services_by_name["SettlementEngine"]
    assert found.full_name == "clearhouse.v1.SettlementEngine"
    asked = {each.name: [field.name for field in each.input_type.fields] for each in found.methods}
    assert {name: fields[: len(CALLS[name])] for name, fields in asked.items()} == CALLS
    assert [each.name for each in found.methods if each.server_streaming] == ["StreamSettlementEvents"]


# Every path and method that the document and the issue name, with a body; and what is to be found in the answer.
WALK: list[tuple[str, str, Any, int, str]] = [
    ("get", "/health", None, 200, "parts"),
    ("get", "/metrics", None, 200, "settlement_total"),
    ("get", f"{API}/accounts/nostro", None, 200, "990.00"),
    ("get", f"{API}/accounts/vostro", None, 200, "990.00"),
    ("post", f"{API}/settlements", obligation("OBL-walk", method="SWIFT", priority="URGENT"), 201, "FUNDS_LOCKED"),
    ("post", f"{API}/settlements/batch", [obligation("OBL-walk-2", method="LOCAL_ACH")], 200, "OBL-walk-2"),
    ("get", f"{API}/settlements?state=COMPLETED&bank={PAYER}&currency=USD&obligation_id=OBL-1", None, 200, "OBL-1"),
    ("get", f"{API}/settlements/{{done}}", None, 200, "FINALIZE"),
    ("get", f"{API}/settlements/{{returned}}", None, 200, "compensations"),
    ("get", f"{API}/settlements/{{done}}/explain", None, 200, "10.00"),
    ("get", f"{API}/settlements/events?settlement={{done}}&bank={PAYEE}", None, 200, "interbank.completed"),
    ("post", f"{API}/settlements/{{fresh}}/cancel", {"reason": "Paid in cash."}, 200, "ROLLED_BACK"),
    ("post", f"{API}/settlements/{{doubtful}}/release", {"reason": "The bank denies it."}, 200, "IN_DOUBT"),
    ("get", f"{API}/banks", None, 200, PAYEE),
    ("get", f"{API}/accounts/vostro/{PAYER}/USD", None, 200, "available"),
    ("get", f"{API}/accounts/vostro/{PAYER}/USD/statement", None, 200, "balance"),
    ("post", f"{API}/accounts/nostro", {"bank": PAYEE, "currency": "EUR", "credit_line": "1.00"}, 201, "credit_line"),
    ("post", f"{API}/accounts/nostro/{PAYEE}/EUR/fund", {"amount": "2.00"}, 200, "3.00"),
    ("patch", f"{API}/accounts/nostro/{PAYEE}/EUR", {"state": "frozen"}, 200, "frozen"),
    ("get", f"{API}/windows", None, 200, "TARGET2"),
    ("post", f"{API}/windows", {"currency": "GBP", "calendar": "CHAPS"}, 200, "CHAPS"),
    ("post", f"{API}/compliance/limits", {"currency": "USD", "single": "9.00", "hourly": 9}, 200, "hourly"),
    ("post", f"{API}/compliance/names", {"source": "eu", "names": ["Ivan Grozny"]}, 200, "eu"),
    ("post", f"{API}/reconciliation/reports", {"bank": PAYEE, "currency": "USD"}, 201, "UNRESOLVED"),
    ("get", f"{API}/reconciliation/reports?bank={PAYEE}", None, 200, "IDENTIFIED"),
    ("get", f"{API}/reconciliation/reports/{{report}}", None, 200, "-7.00"),
    ("get", f"{API}/reconciliation/reports/{{report}}/explain", None, 200, "7.00"),
    ("get", f"{API}/reconciliation/breaks?rule_set=nostro-deutdeff-usd", None, 200, "interest"),
]


async def test_every_path_of_the_document_and_the_issue_answers(scene: Scene, house: House) -> None:
    somebody, _ = await house.caller("operator", "auditor"), await house.caller("approver", kind="person")
    doubtful, fresh = await scene.town.doubtful(), await scene.town.execute("2.00")
    stands = {
        "{done}": scene.done.id, "{returned}": scene.returned.id, "{fresh}": fresh.id, "{report}": scene.report,
        "{doubtful}": doubtful.id,
    }  # fmt: skip
    otherwise: list[str] = []
    for method, path, body, status, word in WALK:
        place = path
        for name, own in stands.items():
            place = place.replace(name, own)
        answer = await somebody.request(method, place, json=body)
        if answer.status_code != status or word not in answer.text:
            otherwise.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
    assert otherwise == []


async def test_without_credentials_the_paths_of_the_document_tell_nothing_but_the_health(house: House, scene: Scene) -> None:
    del scene
    nobody = client(house.entrance, "")
    statuses = {path: (await nobody.get(path)).status_code for _, path, *_ in WALK[:4]}
    assert list(statuses.values()) == [200, 401, 401, 401]


async def test_each_call_says_over_grpc_what_its_path_says_over_http(scene: Scene, line: Line, operator: Person) -> None:
    http = operator.client
    executed = await line.ask("ExecuteSettlement", execution(**obligation("OBL-both", method="SWIFT", priority="HIGH")))
    own = executed.settlement.id
    same(executed.settlement, ok(await http.get(f"{API}/settlements/{own}"))["settlement"])
    status = await line.ask("GetSettlementStatus", wire.GetSettlementStatusRequest(settlement_id=scene.done.id))
    same(status.settlement, ok(await http.get(f"{API}/settlements/{scene.done.id}"))["settlement"])
    for side, bank, balance in (
        ("nostro", PAYEE, await line.ask("GetNostroBalance", wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD"))),
        ("vostro", PAYER, await line.ask("GetVostroBalance", wire.GetVostroBalanceRequest(bank=PAYER, currency="USD"))),
    ):
        same(balance.balance, ok(await http.get(f"{API}/accounts/{side}/{bank}/USD")))
    (report,) = (await line.ask("ReconcileAccounts", wire.ReconcileAccountsRequest(bank=PAYEE, currency="USD"))).reports
    same(report, ok(await http.get(f"{API}/reconciliation/reports/{report.id}")))
    stream = line.engine.StreamSettlementEvents(
        wire.StreamSettlementEventsRequest(settlement_ids=[scene.done.id], after="1-1-0"), metadata=line.metadata
    )
    events = ok(await http.get(f"{API}/settlements/events", params={"settlement": scene.done.id}))["items"]
    for each in events:
        same(await stream.read(), {**each, **each["change"]})
    stream.cancel()


def same(message: Any, found: dict[str, Any]) -> None:
    """Require that what both name says the same; words of an enum have its name before them, times another accuracy."""
    given = MessageToDict(message, preserving_proto_field_name=True)
    shared = {name for name in given if name in found and not name.endswith("_at") and name != "at"}
    assert len(shared) >= 7
    assert {name: str(given[name]).removeprefix(PREFIXES.get(name, "")) for name in shared} == {
        name: str(found[name]) for name in shared
    }


PREFIXES = {"state": "SETTLEMENT_STATE_", "method": "METHOD_", "priority": "PRIORITY_"}
ASKED: dict[str, Callable[[str], Any]] = {
    "ExecuteSettlement": lambda _: execution(**obligation("OBL-held-up"), idempotency_key="once"),
    "GetSettlementStatus": lambda own: wire.GetSettlementStatusRequest(settlement_id=own),
    "ReconcileAccounts": lambda _: wire.ReconcileAccountsRequest(bank=PAYEE, currency="USD"),
    "StreamSettlementEvents": lambda own: wire.StreamSettlementEventsRequest(settlement_ids=[own]),
    "GetNostroBalance": lambda _: wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD"),
    "GetVostroBalance": lambda _: wire.GetVostroBalanceRequest(bank=PAYER, currency="USD"),
}


async def ended(line: Line, call: str, request: Any, **how: Any) -> grpc.aio.AioRpcError:
    """Return how a call ends that cannot be answered."""
    asked = getattr(line.engine, call)(request, metadata=line.metadata, **how)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (asked.read() if call == "StreamSettlementEvents" else asked)
    return caught.value


async def test_every_call_is_refused_without_credentials(scene: Scene, channel: grpc.aio.Channel) -> None:
    assert list(ASKED) == list(CALLS)
    for metadata in ((), (("authorization", "Bearer ck_nobody"),), (("x-api-key", "ck_nobody"),)):
        for call, asked in ASKED.items():
            code, info, _ = told(await ended(Line(channel, metadata), call, asked(scene.done.id), timeout=30))
            assert (call, code, info.reason) == (call, grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")


async def test_every_call_ends_with_its_deadline_and_what_it_asked_for_is_asked_again_with_its_key(
    scene: Scene, line: Line, owner_dsn: str
) -> None:
    with psycopg.connect(owner_dsn) as other:  # holds everybody up until it leaves
        await asyncio.to_thread(
            other.execute,
            "LOCK TABLE clearhouse.settlement_transactions, clearhouse.interbank_account IN ACCESS EXCLUSIVE MODE",
        )
        errors = await asyncio.gather(*(ended(line, call, ASKED[call](scene.done.id), timeout=0.3) for call in ASKED))
        assert {each.code() for each in errors} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    done = [(await line.ask("ExecuteSettlement", ASKED["ExecuteSettlement"](""))).settlement.id for _ in range(2)]
    assert done[0] == done[1]
    assert await scene.town.funds() == {"vostro": ("990.00", "2.00"), "nostro": ("990.00", "2.00")}

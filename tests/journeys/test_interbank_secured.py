"""Certificates on every line, from settings alone: to a bank elsewhere that wants to see ours, and from who calls gRPC."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import httpx
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clearhouse.app import server
from clearhouse.app.config import Config
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.bank.client import HttpBank, Line
from clearhouse.slices.interbank.bank.control import OpenAccount, Paid
from clearhouse.v1 import interbank_pb2 as wire
from clearhouse.v1 import interbank_pb2_grpc as stubs
from serving import operator_key, program, until
from town import PAYEE, PAYER, obligation

BANK_KEY = "our-key-with-the-bank"
ADMIN_KEY = "the-first-key-of-the-first-administrator"
HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate and its key, each a file, and what is in them."""

    certificate: Path
    key: Path

    @property
    def pair(self) -> tuple[bytes, bytes]:
        return self.key.read_bytes(), self.certificate.read_bytes()


@dataclass(frozen=True, slots=True)
class Authority:
    """Who vouches for everybody, as a file."""

    folder: Path
    root: Path
    issuer: trustme.CA

    @classmethod
    def founded(cls, folder: Path) -> "Authority":
        made = trustme.CA()
        root = folder / "authority.pem"
        made.cert_pem.write_to_path(str(root))
        return cls(folder, root, made)

    def issue(self, name: str) -> Shown:
        made, shown = self.issuer.issue_cert(name), Shown(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        shown.certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(shown.key))
        return shown


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.founded(tmp_path)


async def truth(line: Line, order: str) -> list[Paid]:
    """Return what really happened to an order at the bank."""
    async with HttpBank(line) as bank:
        return await bank.control.paid([UUID(order)])


async def opened(line: Line) -> None:
    """Let the bank keep an account for us."""
    async with HttpBank(line) as bank:
        await bank.control.open([OpenAccount(f"{PAYEE}:USD", "USD", "500.00")])


def operating(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60)


def prepare(operator: httpx.Client) -> None:
    """Open two banks that can settle dollars."""
    for side, bic in (("vostro", PAYER), ("nostro", PAYEE)):
        operator.post("/banks", json={"bic": bic, "name": f"the bank {bic}"}).raise_for_status()
        operator.post(f"/accounts/{side}", json={"bank": bic, "currency": "USD"}).raise_for_status()
        operator.post(f"/accounts/{side}/{bic}/USD/fund", json={"amount": "500.00"}).raise_for_status()


def ended(operator: httpx.Client, settlement: str, state: str) -> Any:
    def found() -> Any:
        shown = operator.get(f"/settlements/{settlement}").raise_for_status().json()["settlement"]
        return shown if shown["state"] == state else None

    return until(found)


def test_a_bank_that_wants_to_see_a_certificate_is_paid_with_once_it_is_shown_ours(
    open_folder: Path, authority: Authority
) -> None:
    theirs, ours, root = authority.issue(HERE), authority.issue("house.test"), str(authority.root)
    place, given = open_folder / "secured-house", {"ADMIN_KEY": ADMIN_KEY, "BANK_KEY": BANK_KEY, "BANK_AUTHORITY": root}
    with program(
        open_folder / "secured-bank", verb="bank", BANK_PORT="0", BANK_KEY=BANK_KEY,
        BANK_CERTIFICATE=str(theirs.certificate), BANK_PRIVATE_KEY=str(theirs.key), BANK_CLIENTS=root,
    ) as bank:  # fmt: skip
        given["BANK_URL"] = bank.after("listening on ")
        to = Line(given["BANK_URL"], BANK_KEY, authority=authority.root, certificate=ours.certificate, private_key=ours.key)
        asyncio.run(opened(to))
        with program(place, user=None, **given) as running:
            key = operator_key(running.ready().url, ADMIN_KEY)
            with operating(running.url, key) as operator:
                prepare(operator)
                asked = operator.post("/settlements", json=obligation("OBL-1", amount="20.00")).raise_for_status().json()
                ended(operator, asked["id"], "IN_DOUBT")
            assert asyncio.run(truth(to, asked["uetr"])) == []
        given |= {"BANK_CLIENT_CERTIFICATE": str(ours.certificate), "BANK_CLIENT_KEY": str(ours.key)}
        with program(place, user=None, **given) as running, operating(running.ready().url, key) as operator:
            assert ended(operator, asked["id"], "COMPLETED")["captured"] == "20.00"
        (paid,) = asyncio.run(truth(to, asked["uetr"]))
        assert (paid.times, paid.debited) == (1, "20.00")


def test_over_grpc_all_calls_answer_who_shows_a_certificate_and_a_key_and_nobody_else(
    open_folder: Path, authority: Authority
) -> None:
    theirs, ours = authority.issue(HERE), authority.issue("caller.test")
    with program(
        open_folder / "secured-calls", ADMIN_KEY=ADMIN_KEY, GRPC_TLS_CERT=str(theirs.certificate),
        GRPC_TLS_KEY=str(theirs.key), GRPC_TLS_CLIENT_CA=str(authority.root),
    ) as running:  # fmt: skip
        key = operator_key(running.ready().url, ADMIN_KEY)
        with operating(running.url, key) as operator:
            prepare(operator)
        place, root = running.after("gRPC on "), authority.root.read_bytes()
        with grpc.secure_channel(place, grpc.ssl_channel_credentials(root, *ours.pair)) as channel:
            assert called(channel, (("authorization", f"Bearer {key}"),)) == CALLS
            assert refused(channel, ()) is grpc.StatusCode.UNAUTHENTICATED
            assert is_serving(channel)
            assert "clearhouse.v1.SettlementEngine" in reflected(channel, key)
        for stranger in (grpc.secure_channel(place, grpc.ssl_channel_credentials(root)), grpc.insecure_channel(place)):
            with stranger as channel:
                assert refused(channel, (("x-api-key", key),)) is grpc.StatusCode.UNAVAILABLE


CALLS = {
    "ExecuteSettlement", "GetSettlementStatus", "ReconcileAccounts", "StreamSettlementEvents", "GetNostroBalance",
    "GetVostroBalance",
}  # fmt: skip


def called(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> set[str]:
    """Make every call of the document, and return which of them answered as it should."""
    how: dict[str, Any] = {"metadata": metadata, "timeout": 30}
    engine: Any = stubs.SettlementEngineStub(channel)
    done = engine.ExecuteSettlement(wire.ExecuteSettlementRequest(**obligation("OBL-2", amount="20.00")), **how).settlement
    asked = wire.GetSettlementStatusRequest(settlement_id=done.id)

    def completed() -> bool:
        return engine.GetSettlementStatus(asked, **how).settlement.state == wire.SETTLEMENT_STATE_COMPLETED

    until(completed)
    events = engine.StreamSettlementEvents(
        wire.StreamSettlementEventsRequest(settlement_ids=[done.id], banks=[PAYER], after="1-1-0"), **how
    )
    told = next(events).type
    events.cancel()
    where = {"bank": PAYEE, "currency": "USD"}
    answered = {
        "ExecuteSettlement": done.amount == "20.00",
        "GetSettlementStatus": True,
        "StreamSettlementEvents": told == "interbank.funds_locked",
        "ReconcileAccounts": [
            each.status for each in engine.ReconcileAccounts(wire.ReconcileAccountsRequest(), **how).reports
        ] == ["BALANCED"],
        "GetNostroBalance": engine.GetNostroBalance(
            wire.GetNostroBalanceRequest(**where), **how
        ).balance.balance == "480.00",
        "GetVostroBalance": engine.GetVostroBalance(
            wire.GetVostroBalanceRequest(bank=PAYER, currency="USD"), **how
        ).balance.balance == "480.00",
    }  # fmt: skip
    return {name for name, as_it_should in answered.items() if as_it_should}


def refused(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """Return what is said to somebody who asks for a balance and is to get none."""
    engine: Any = stubs.SettlementEngineStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        engine.GetNostroBalance(wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD"), metadata=metadata, timeout=10)
    said: Any = caught.value
    found: grpc.StatusCode = said.code()
    return found


def is_serving(channel: grpc.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service="clearhouse.v1.SettlementEngine"), timeout=10)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def reflected(channel: grpc.Channel, key: str) -> set[str]:
    """Return the services that the server names."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(asked, metadata=(("x-api-key", key),), timeout=10)
    return {each.name for each in answer.list_services_response.service}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"GRPC_TLS_CERT": "here.pem"}, "grpc_tls_incomplete"),
        ({"GRPC_TLS_CLIENT_CA": "here.pem"}, "grpc_tls_incomplete"),
        ({"BANK_URL": "http://127.0.0.1:1", "BANK_CLIENT_CERTIFICATE": "here.pem"}, "bank_line_unprotected"),
        ({"BANK_URL": "https://127.0.0.1:1", "BANK_CLIENT_CERTIFICATE": "nowhere.pem"}, "bank_certificate_unreadable"),
    ],
)
async def test_settings_that_protect_less_than_they_seem_to_start_nothing(
    tmp_path: Path, settings: dict[str, str], code: str
) -> None:
    place = tmp_path / "data"
    with pytest.raises(Refusal) as caught:
        await server.run(Config.read({**settings, "CLEARHOUSE_DATA": str(place)}), lambda _: None)
    assert (caught.value.code, place.exists()) == (code, False)

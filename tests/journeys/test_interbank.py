"""The program as it is run: a settlement over HTTP is carried to its end by the worker, and seen over gRPC."""

from pathlib import Path
from typing import Any

import grpc
import httpx

from clearhouse.v1 import interbank_pb2 as wire
from clearhouse.v1 import interbank_pb2_grpc as stubs
from serving import operator_key, program, until
from town import PAYEE, PAYER, obligation

ADMIN_KEY = "the-first-key-of-the-first-administrator"


def test_a_house_that_was_just_opened_settles_at_once(open_folder: Path) -> None:
    with program(open_folder / "interbank", ADMIN_KEY=ADMIN_KEY) as running:
        running.ready()
        key = operator_key(running.url, ADMIN_KEY)
        with httpx.Client(base_url=f"{running.url}/api/v1", headers={"Authorization": f"Bearer {key}"}) as operator:
            for side, bic in (("vostro", PAYER), ("nostro", PAYEE)):
                for path, body in (
                    ("/banks", {"bic": bic, "name": f"the bank {bic}"}),
                    (f"/accounts/{side}", {"bank": bic, "currency": "USD"}),
                    (f"/accounts/{side}/{bic}/USD/fund", {"amount": "500.00"}),
                ):
                    operator.post(path, json=body).raise_for_status()
            accepted = operator.post("/settlements", json=obligation("OBL-1", amount="20.00")).raise_for_status().json()

            def completed() -> Any:
                found = operator.get(f"/settlements/{accepted['id']}").raise_for_status().json()["settlement"]
                return found if found["state"] == "COMPLETED" else None

            assert until(completed)["captured"] == "20.00"
        with grpc.insecure_channel(running.after("gRPC on ")) as channel:
            asked: Any = wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD")
            stub: Any = stubs.SettlementEngineStub(channel)
            found = stub.GetNostroBalance(asked, metadata=(("x-api-key", key),))
        assert (found.balance.balance, found.balance.held) == ("480.00", "0.00")

"""The program as it is run: a settlement over HTTP is carried to its end by the worker, and seen over gRPC."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import httpx

from clearhouse.slices.interbank.bank.client import HttpBank, Line
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.v1 import interbank_pb2 as wire
from clearhouse.v1 import interbank_pb2_grpc as stubs
from serving import Program, operator_key, program, until
from town import PAYEE, PAYER, obligation

BANK_KEY = "our-key-with-the-bank"
ADMIN_KEY = "the-first-key-of-the-first-administrator"


def settled(running: Program, key: str) -> Any:
    """Open two banks in a house, let one pay the other, and return the settlement when it is completed."""
    with httpx.Client(base_url=f"{running.url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60) as operator:
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

        return until(completed)


def test_a_house_that_was_just_opened_settles_at_once(open_folder: Path) -> None:
    with program(open_folder / "interbank", ADMIN_KEY=ADMIN_KEY) as running:
        running.ready()
        key = operator_key(running.url, ADMIN_KEY)
        assert settled(running, key)["captured"] == "20.00"
        with grpc.insecure_channel(running.after("gRPC on ")) as channel:
            asked: Any = wire.GetNostroBalanceRequest(bank=PAYEE, currency="USD")
            stub: Any = stubs.SettlementEngineStub(channel)
            found = stub.GetNostroBalance(asked, metadata=(("x-api-key", key),))
        assert (found.balance.balance, found.balance.held) == ("480.00", "0.00")


def test_a_bank_elsewhere_is_settled_with_over_http(open_folder: Path, laid_out: Callable[[str], Path]) -> None:
    with program(open_folder / "correspondent", verb="bank", BANK_PORT="0", BANK_KEY=BANK_KEY) as bank:
        url = bank.after("listening on ")
        asyncio.run(opened(url))
        with program(laid_out("house"), ADMIN_KEY=ADMIN_KEY, BANK_URL=url, BANK_KEY=BANK_KEY) as running:
            running.ready()
            done = settled(running, operator_key(running.url, ADMIN_KEY))
        assert asyncio.run(paid(url, UUID(done["uetr"]))) == (1, "20.00")


async def opened(url: str) -> None:
    """Let the bank keep an account for us."""
    async with HttpBank(Line(url, BANK_KEY)) as bank:
        await bank.control.open([OpenAccount(f"{PAYEE}:USD", "USD", "500.00")])


async def paid(url: str, order: UUID) -> tuple[int, str]:
    """Return in how many bookings how much really left our account there."""
    async with HttpBank(Line(url, BANK_KEY)) as bank:
        (found,) = await bank.control.paid([order])
    return found.times, found.debited

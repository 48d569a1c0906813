"""The entrance: what a request may cost before anybody has looked at it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from clearhouse.transport.http import entrance
from house import House, balance, refused

LEDGER = "/api/v1/ledger"


async def _never_ending() -> AsyncIterator[bytes]:
    yield b'[{"transfers": [{"debit": "payer", '
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["transactions", "transactions/batch", "accounts", "import"])
async def test_a_body_that_does_not_end_is_refused_when_its_time_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    operator = await house.caller("operator")
    await house.open_accounts(operator, "payer", "payee")
    monkeypatch.setattr(entrance, "BODY_SECONDS_MAX", 0.1)
    answer = await operator.post(f"{LEDGER}/{path}", content=_never_ending(), headers={"Content-Type": "application/json"})
    assert refused(answer, 400) == "too_slow"
    assert await balance(operator, "payee") == "0.00"

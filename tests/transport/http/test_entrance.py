"""The entrance: what a request may cost before anybody has looked at it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clearhouse.transport.http import entrance
from house import House, balance, ok, refused

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


async def test_a_host_that_is_none_is_refused_and_no_fault_of_ours(house: House) -> None:
    await house.open_accounts(await house.caller("operator"), "payer", "payee")
    viewer = await house.caller("viewer")
    pages, wrong = f"{LEDGER}/accounts?limit=1", f"{LEDGER}/accounts?limit=none"
    for host in ("a:b", "a:-1", "a:65536", "a:1:2", "me@a:b", "[::1", "a/b", "a b", "[g]:1"):
        for path in (pages, wrong):
            assert refused(await viewer.get(path, headers={"Host": host}), 400) == "malformed_host", host
    for host in ("a", "a:", "a.test:65535", "[::1]", "[::1]:8080"):
        answer = await viewer.get(pages, headers={"Host": host})
        assert (len(ok(answer)["items"]), "rel=" in answer.headers["link"]) == (1, True), host
        assert refused(await viewer.get(wrong, headers={"Host": host}), 400) == "malformed", host


async def test_options_name_every_method_of_a_path(house: House) -> None:
    viewer = await house.caller("viewer")
    for path, methods in ((f"{LEDGER}/accounts", {"GET", "POST"}), (f"{LEDGER}/accounts/bank", {"GET", "PATCH"})):
        answer = await viewer.request("OPTIONS", path)
        assert answer.is_success
        assert set(answer.headers["allow"].split(", ")) == {*methods, "OPTIONS"}


async def test_a_socket_that_nobody_serves_is_closed_and_told_nothing(house: House) -> None:
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        told.append(message)

    headers = [(b"host", b"clearhouse.test"), (b"authorization", house.admin.headers["authorization"].encode())]
    scope: Any = {
        "type": "websocket", "path": f"{LEDGER}/accounts", "raw_path": b"", "query_string": b"", "headers": headers,
        "scheme": "ws", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "subprotocols": [], "root_path": "",
    }  # fmt: skip
    await house.entrance(scope, receive, send)
    assert [each["type"] for each in told] == ["websocket.close"]

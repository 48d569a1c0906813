"""Whoever refuses at the path of the contract, its codes are used: the entrance, the framework, a route or nobody at all."""

from typing import Any

import httpx
import pytest

from breaking import away
from clearhouse.kernel.db import database
from house import House, client, ok

BASE = "/settlement"
STRUCTURE = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": "mcCounter", "primaryKey": "app"}
UPDATE = {"record": [{"app": "a", "dur": 1}]}
CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/create", STRUCTURE | {"settleid": "more"}),
    ("GET", "/calls", None),
    ("GET", "/calls/history", None),
    ("GET", "/calls/settled", None),
    ("POST", "/calls/update", UPDATE),
    ("POST", "/calls/settle", None),
    ("POST", "/calls/clear", None),
]


def told(answer: httpx.Response) -> tuple[int, str, str]:
    problem = answer.json()
    assert problem["message"] == problem["detail"]
    return answer.status_code, problem["code"], problem["reason"]


@pytest.fixture
async def sender(house: House) -> httpx.AsyncClient:
    sender = await house.caller("operator", name="sender")
    ok(await sender.post(f"{BASE}/create", json=STRUCTURE))
    return sender


async def test_while_the_database_is_away_the_service_is_down_and_nothing_is_counted(
    house: House, sender: httpx.AsyncClient, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS_MAX", 0.5)
    with away(owner_dsn):
        for method, path, body in CALLS:
            answer = await sender.request(method, f"{BASE}{path}", json=body)
            assert told(answer) == (503, "SETTLE-00", "database_away"), path
        house.gate.forget()  # now it is the entrance that cannot tell who asks
        assert told(await sender.get(f"{BASE}/calls")) == (503, "SETTLE-00", "database_away")
        elsewhere = await sender.get("/api/v1/ledger/accounts")
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (503, "database_away")
    monkeypatch.undo()
    shown = ok(await sender.post(f"{BASE}/calls/update", json=UPDATE))["output"]
    assert shown["aggregates"] == {"a": {"dur": "1"}}
    assert len(ok(await sender.get(f"{BASE}/calls/history"))["output"]) == 2


async def test_a_path_that_is_none_and_a_wrong_method_are_refused_under_the_codes_too(sender: httpx.AsyncClient) -> None:
    assert told(await sender.get(f"{BASE}/calls/nowhere")) == (404, "SETTLE-02", "not_found")
    assert told(await sender.put(f"{BASE}/calls", json={})) == (405, "SETTLE-02", "method_not_allowed")
    assert told(await sender.post(f"{BASE}/create", content=b"a", headers={"Content-Type": "text/plain"})) == (
        415,
        "SETTLE-01",
        "unsupported_media_type",
    )


async def test_who_may_not_come_in_is_told_so_as_everywhere(house: House) -> None:
    answer = await client(house.entrance, "").get(f"{BASE}/calls")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

"""The samples of the records contract, replayed in the order in which they stand there: equal as JSON."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import time_machine

from house import House, client, ok
from people import PRINCIPALS

BASE = "/settlement"
CREATED, UPDATED, SETTLED, CLEARED = 1565172714, 1565172892, 1565186196, 1565186640
APP, OTHER = "4240e1f7-d287-46a9-8b92-f112510bd9f7", "2344240e1f7-d287-46a9-8b92-f1232342431"
CORR = "AUS-b8727fc3-dfc1-4c37-b6d6-d6897ed10ddd"

CREATE = {
    "record": {"app": APP, "op": "CREATE", "corr": CORR}, "aggregates": ["op"], "aggregationType": "mcCounter",
    "settlementType": "none", "settleid": "testing", "primaryKey": "app",
}  # fmt: skip
UPDATE = {
    "record": [
        {"app": APP, "op": "CREATE", "corr": CORR},
        {"app": OTHER, "op": "CREATE", "corr": CORR},
        {"app": OTHER, "op": "DELETE", "corr": CORR},
    ]
}
AGGREGATES = {OTHER: {"op": "2"}, APP: {"op": "1"}}


def structure(operation: str, at: int, *, settled: int = CREATED, **more: Any) -> dict[str, Any]:
    return {
        "aggregationMetrics": ["op"], "aggregationType": "mcCounter", "lastSettlement": settled,
        "lastUpdate": {"operation": operation, "timestamp": at, "user": "test:org1MSP"}, "primaryKey": "app",
        "settleid": "testing", "settlementType": "none", **more,
    }  # fmt: skip


def then(timestamp: int) -> time_machine.travel:
    return time_machine.travel(datetime.fromtimestamp(timestamp, UTC), tick=False)


@pytest.fixture
async def test(house: House) -> httpx.AsyncClient:
    """Give the caller of the samples, whose clock stands still at the hour of each."""
    body = {"name": "test", "organisation": "org1MSP", "roles": ["operator"], "kind": "service"}
    added = ok(await house.admin.post(PRINCIPALS, json=body))
    issued = ok(await house.admin.post(f"{PRINCIPALS}/{added['id']}/keys", json={}))
    return client(house.entrance, issued["secret"])


async def walked(test: httpx.AsyncClient, *steps: str) -> Any:
    """Take these steps of the samples, each at its hour, and return the last answer."""
    answer: Any = None
    for step in steps:
        path, at, body = {
            "create": (f"{BASE}/create/", CREATED, CREATE),
            "update": (f"{BASE}/testing/update", UPDATED, UPDATE),
            "settle": (f"{BASE}/testing/settle", SETTLED, None),
            "clear": (f"{BASE}/testing/clear", CLEARED, None),
        }[step]
        with then(at):
            given = await test.post(path, json=body)
        assert given.status_code == 200, given.text
        answer = given.json()
    return answer


async def read(test: httpx.AsyncClient, path: str) -> Any:
    answer = await test.get(f"{BASE}/testing{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_structure_is_created_as_in_the_sample_and_its_record_is_not_counted(test: httpx.AsyncClient) -> None:
    assert await walked(test, "create") == {"output": structure("Create", CREATED)}
    assert await read(test, "") == {"output": structure("Create", CREATED)}


async def test_an_update_counts_its_records_as_in_the_sample(test: httpx.AsyncClient) -> None:
    wanted = {"output": structure("Update", UPDATED, aggregates=AGGREGATES)}
    assert await walked(test, "create", "update") == wanted
    assert await read(test, "") == wanted


async def test_the_history_is_the_one_of_the_sample(test: httpx.AsyncClient) -> None:
    await walked(test, "create", "update")
    wanted = [structure("Update", UPDATED, aggregates=AGGREGATES), structure("Create", CREATED)]
    assert await read(test, "/history") == {"output": wanted}


async def test_a_round_is_settled_as_in_the_sample_and_can_be_read_again(test: httpx.AsyncClient) -> None:
    assert await walked(test, "create", "update", "settle") == {"output": AGGREGATES}
    assert await read(test, "/settled") == {"output": {"aggregates": AGGREGATES, "timestamp": SETTLED}}
    assert await read(test, "") == {"output": structure("Settle", SETTLED, settled=SETTLED)}


async def test_a_structure_is_cleared_as_in_the_sample(test: httpx.AsyncClient) -> None:
    wanted = {"output": structure("Clear", CLEARED, settled=SETTLED)}
    assert await walked(test, "create", "update", "settle", "clear") == wanted
    assert await read(test, "") == wanted


async def test_the_structure_of_the_first_sample_is_taken_with_its_placeholder(test: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {
        "settleid": "settle", "aggregates": "['msg']", "aggregationType": "mcCounter", "primaryKey": "app",
        "settlementType": "string", "record": {},
    }  # fmt: skip
    with then(CREATED):
        made = ok(await test.post(f"{BASE}/create/", json=body))
    wanted = structure("Create", CREATED) | {"settleid": "settle", "aggregationMetrics": ["msg"]}
    assert made == ok(await test.get(f"{BASE}/settle")) == {"output": wanted}


async def test_several_rounds_are_a_list_with_the_newest_first(test: httpx.AsyncClient) -> None:
    await walked(test, "create", "update", "settle", "clear")
    with then(CLEARED + 1):
        assert ok(await test.post(f"{BASE}/testing/settle")) == {"output": {}}
    wanted: Any = [{"aggregates": {}, "timestamp": CLEARED + 1}, {"aggregates": AGGREGATES, "timestamp": SETTLED}]
    assert await read(test, "/settled") == {"output": wanted}


async def test_what_was_cleared_is_in_no_settlement_and_stays_in_the_history(test: httpx.AsyncClient) -> None:
    await walked(test, "create", "update", "clear")
    assert ok(await test.post(f"{BASE}/testing/settle")) == {"output": {}}
    past = (await read(test, "/history"))["output"]
    assert [each["lastUpdate"]["operation"] for each in past] == ["Settle", "Clear", "Update", "Create"]
    assert past[2]["aggregates"] == AGGREGATES

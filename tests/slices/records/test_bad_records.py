"""What cannot be read or is not there is refused under a code of the contract, with the place; nothing of it is counted."""

from typing import Any

import httpx
import pytest

from house import House, ok

BASE = "/settlement"
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


def structure(**more: Any) -> dict[str, Any]:
    return {"settleid": "calls", "aggregates": ["dur"], "aggregationType": "mcCounter", "primaryKey": "app", **more}


@pytest.fixture
async def sender(house: House) -> httpx.AsyncClient:
    sender = await house.caller("operator", name="sender")
    ok(await sender.post(f"{BASE}/create", json=structure()))
    ok(await sender.post(f"{BASE}/create", json=structure(settleid="sums", aggregationType="sum")))
    return sender


def told(answer: httpx.Response) -> tuple[int, str, str]:
    problem = answer.json()
    assert problem["message"]
    return answer.status_code, problem["code"], problem["reason"]


async def nothing_counted(sender: httpx.AsyncClient, settleid: str) -> None:
    assert "aggregates" not in ok(await sender.get(f"{BASE}/{settleid}"))["output"]
    assert len(ok(await sender.get(f"{BASE}/{settleid}/history"))["output"]) == 1


RECORDS = [
    ("calls", '{"record": [{"app": "a", "dur": 1}, {"dur": 1}]}', "record 2, app: the primary key is missing"),
    ("calls", '{"record": [{"app": null}]}', "record 1, app: the primary key is missing"),
    ("calls", '{"record": [{"app": {"a": 1}}]}', "record 1, app: the primary key is a text or a whole number"),
    ("calls", '{"record": [{"app": true}]}', "record 1, app: the primary key is a text or a whole number"),
    ("calls", '{"record": [{"app": ""}]}', "record 1, app: the primary key has 1 to 500"),
    ("calls", '{"record": [{"app": "a\\u0000"}]}', "record 1, app: the primary key has 1 to 500"),
    ("calls", '{"record": [{"app": "a\\nb"}]}', "record 1, app: the primary key has 1 to 500"),
    ("calls", '{"record": [1]}', "record 1: "),
    ("calls", '{"record": "a"}', "record 1: "),
    ("calls", '{"record": []}', "record: there is none"),
    ("calls", '{"records": []}', "the body: "),
    ("calls", '{"record": [{"app": "a"', "the body: "),
    ("calls", "", "the body: "),
    ("calls", '{"record": [{"app": "a", "recordId": {}}]}', "record 1, recordId: "),
    ("sums", '{"record": [{"app": "a", "dur": 1}, {"app": "a", "dur": {"s": 1}}]}', "record 2, dur: a number is wanted"),
    ("sums", '{"record": [{"app": "a", "dur": "long"}]}', "record 1, dur: a number has"),
    ("sums", '{"record": [{"app": "a", "dur": true}]}', "record 1, dur: a number is wanted"),
    ("sums", '{"record": [{"app": "a", "dur": 1e99}]}', "record 1, dur: a number has"),
    ("sums", '{"record": [{"app": "a", "dur": 1e-99}]}', "record 1, dur: a number has"),
]  # fmt: skip


@pytest.mark.parametrize(("settleid", "body", "message"), RECORDS)
async def test_a_record_that_cannot_be_read_refuses_all_of_its_upload(
    sender: httpx.AsyncClient, settleid: str, body: str, message: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await sender.post(f"{BASE}/{settleid}/update", content=body, headers=headers)
    assert told(answer) == (400, "SETTLE-01", "unparsable")
    assert answer.json()["message"].startswith(message)
    await nothing_counted(sender, settleid)


STRUCTURES = [
    (structure(settleid="create"), "settleid"),
    (structure(settleid="dlc"), "settleid"),
    (structure(settleid="a/b"), "settleid"),
    (structure(settleid=""), "settleid"),
    (structure(aggregates=[]), "aggregates"),
    (structure(aggregates=["a", "a"]), "aggregates"),
    (structure(aggregates="['a', 1]"), "aggregates"),
    (structure(aggregates="[__import__('os')]"), "aggregates"),
    (structure(primaryKey=""), "primaryKey"),
    (structure(aggregationType="median"), "aggregationType"),
    (structure(settlementType="gross"), "settlementType"),
    (structure(settlementType="1CDR"), "settlementType"),
    (structure(settlementType="net"), "settlementType"),
    (structure(tolerance="-1"), "tolerance"),
    (structure(tolerance="much"), "tolerance"),
    (structure(currency="ABC"), "currency"),
    (structure(record={"op": "CREATE"}), "record"),
]


@pytest.mark.parametrize(("body", "place"), STRUCTURES)
async def test_a_structure_that_cannot_be_is_refused_with_the_place(
    sender: httpx.AsyncClient, body: dict[str, Any], place: str
) -> None:
    answer = await sender.post(f"{BASE}/create", json=body | {"settleid": body["settleid"].replace("calls", "new")})
    assert told(answer) == (400, "SETTLE-01", "unparsable")
    assert answer.json()["values"]["place"] == place


async def test_an_unknown_structure_and_a_taken_id_are_refused_under_the_second_code(sender: httpx.AsyncClient) -> None:
    for verb, path in (("get", ""), ("get", "/history"), ("get", "/settled"), ("post", "/settle"), ("post", "/clear")):
        answer = await sender.request(verb, f"{BASE}/nowhere{path}")
        assert told(answer) == (404, "SETTLE-02", "structure_unknown")
    assert told(await sender.post(f"{BASE}/create", json=structure())) == (422, "SETTLE-02", "structure_exists")


async def test_a_body_beyond_ten_megabytes_is_refused(sender: httpx.AsyncClient) -> None:
    body = b'{"record": [{"app": "a", "dur": "' + b"x" * 10 * 1024 * 1024 + b'"}]}'
    answer = await sender.post(f"{BASE}/calls/update", content=body, headers={"Content-Type": "application/json"})
    assert told(answer) == (413, "SETTLE-01", "too_large")
    await nothing_counted(sender, "calls")


@pytest.mark.parametrize(
    ("body", "headers", "place"),
    [
        (b'{"app": "a", "dur": 1}\n{"app": "a", "d', NDJSON, "record 2"),
        (b'{"app": "a", "dur": 1}\n\xff\xfe\n', NDJSON, "record 2"),
        (b"app,dur\na,1\nb,1,2\n", CSV, "record 2"),
        (b'app,dur\na,1\n"b,1\n', CSV, "record 2"),
    ],
)  # fmt: skip
async def test_half_a_line_at_the_end_of_a_stream_counts_nothing_of_it(
    sender: httpx.AsyncClient, body: bytes, headers: dict[str, str], place: str
) -> None:
    answer = await sender.post(f"{BASE}/calls/upload", content=body, headers=headers)
    assert told(answer) == (400, "SETTLE-01", "unparsable")
    assert answer.json()["values"]["place"].startswith(place)
    await nothing_counted(sender, "calls")


async def test_the_journal_of_an_upload_tells_of_it_and_holds_none_of_its_records(
    house: House, sender: httpx.AsyncClient
) -> None:
    for value in ("secret", "another secret"):
        body = {"record": {"app": "a", "dur": value}, "uploadId": "march"}
        await sender.post(f"{BASE}/calls/update", json=body)
    async with house.database.reading([1]) as tx:
        lines = [str(text) for (text,) in await tx.tuples("SELECT lines FROM journal WHERE kind = 'records.upload'")]
    assert len(lines) == 2
    assert "upload_reused" in lines[1]
    assert not any("secret" in text for text in lines)


async def test_a_key_answers_again_as_it_did_and_not_for_other_records(sender: httpx.AsyncClient) -> None:
    once = {"Idempotency-Key": "once"}
    for _ in range(2):
        ok(await sender.post(f"{BASE}/calls/update", json={"record": {"app": "a", "dur": 1}}, headers=once))
    assert ok(await sender.get(f"{BASE}/calls"))["output"]["aggregates"] == {"a": {"dur": "1"}}
    other = await sender.post(f"{BASE}/calls/update", json={"record": {"app": "b", "dur": 1}}, headers=once)
    assert told(other) == (422, "SETTLE-02", "key_reused")

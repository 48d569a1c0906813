"""What cannot be read or is not there is refused under a code of the contract, with the place; nothing of it is counted."""

import csv
import io
import json
from collections.abc import AsyncIterator
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
    ("calls", f'{{"record": [{{"app": {"7" * 501}}}]}}', "record 1, app: the primary key has 1 to 500"),
    ("calls", '{"record": [{"app": "a\\u0000"}]}', "record 1, app: the primary key has 1 to 500"),
    ("calls", '{"record": [{"app": "a\\nb"}]}', "record 1, app: the primary key has 1 to 500"),
    ("calls", '{"record": [1]}', "record 1: "),
    ("calls", '{"record": "a"}', "record 1: "),
    ("calls", '{"record": []}', "record: there is none"),
    ("calls", '{"record": {"app": "a"}, "uploadId": ""}', "uploadId: it has 1 to 200"),
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
    (structure(aggregates="[{[]}]"), "aggregates"),
    (structure(primaryKey=""), "primaryKey"),
    (structure(aggregationType="median"), "aggregationType"),
    (structure(settlementType="gross"), "settlementType"),
    (structure(settlementType="1CDR"), "settlementType"),
    (structure(settlementType="net"), "settlementType"),
    (structure(tolerance="-1"), "tolerance"),
    (structure(tolerance="much"), "tolerance"),
    (structure(currency="ABC"), "currency"),
    (structure(aggregationType="1CDR", settlementType="net", currency="ABC"), "currency"),
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


async def test_one_metric_may_be_named_without_a_list(sender: httpx.AsyncClient) -> None:
    made = ok(await sender.post(f"{BASE}/create", json=structure(settleid="one", aggregates="dur")))["output"]
    assert made["aggregationMetrics"] == ["dur"]


async def test_a_cursor_that_no_page_gave_is_refused_and_a_round_that_is_not_there_not_found(
    sender: httpx.AsyncClient,
) -> None:
    for list_ in ("history", "settled", "records"):
        for cursor in ("x", "-1", "9" * 30, "\N{ARABIC-INDIC DIGIT ONE}", "1-2-3"):
            answer = await sender.get(f"{BASE}/calls/{list_}", params={"key": "a", "cursor": cursor})
            assert told(answer) == (400, "SETTLE-01", "malformed"), (list_, cursor)
    assert told(await sender.get(f"{BASE}/calls/lines")) == (404, "SETTLE-02", "round_unknown")
    assert told(await sender.get(f"{BASE}/calls/lines", params={"round": 10**30})) == (404, "SETTLE-02", "round_unknown")


async def test_a_body_beyond_ten_megabytes_is_refused(sender: httpx.AsyncClient) -> None:
    body = b'{"record": [{"app": "a", "dur": "' + b"x" * 10 * 1024 * 1024 + b'"}]}'
    answer = await sender.post(f"{BASE}/calls/update", content=body, headers={"Content-Type": "application/json"})
    assert told(answer) == (413, "SETTLE-01", "too_large")
    await nothing_counted(sender, "calls")


FORMS = [("json", "upload"), ("ndjson", "upload"), ("ndjson", "chunk"), ("csv", "upload"), ("csv", "chunk")]
# A structure, a member of a record that is wrong in it, and its place; what no cell of a table can be is not tried as one.
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("calls", {"app": ""}, "app"),
    ("calls", {"app": None}, "app"),
    ("calls", {"app": {"a": 1}}, "app"),
    ("calls", {"app": 1.5}, "app"),
    ("calls", {"app": "a" * 501}, "app"),
    ("calls", {"app": "a\x00"}, "app"),
    ("calls", {"app": "b", "recordId": "r" * 501}, "recordId"),
    ("calls", {"app": "b", "recordId": ["r"]}, "recordId"),
    ("sums", {"app": "b", "dur": "long"}, "dur"),
    ("sums", {"app": "b", "dur": "NaN"}, "dur"),
    ("sums", {"app": "b", "dur": "9" * 39}, "dur"),
    ("sums", {"app": "b", "dur": {"seconds": 1}}, "dur"),
    ("sums", {"app": "b", "dur": [1]}, "dur"),
    ("sums", {"app": "b", "dur": False}, "dur"),
    ("newest", {"app": "b", "dur": {"seconds": 1}}, "dur"),
    ("newest", {"app": "b", "dur": "x" * 501}, "dur"),
]


def request(how: tuple[str, str], *records: dict[str, Any]) -> dict[str, Any]:
    """Return how records are sent in a form and mode."""
    form, mode = how
    if form == "csv":
        text = io.StringIO()
        table = csv.DictWriter(text, ["app", "dur", "recordId"])
        table.writeheader()
        table.writerows(records)
        return {"content": text.getvalue(), "headers": CSV, "params": {"mode": mode}}
    lines = [json.dumps(each) for each in records]
    if form == "ndjson":
        return {"content": "\n".join(lines), "headers": NDJSON, "params": {"mode": mode}}
    return {"content": f'{{"record": [{", ".join(lines)}]}}', "headers": {"Content-Type": "application/json"}}


def path_of(settleid: str, form: str) -> str:
    return f"{BASE}/{settleid}/{'update' if form == 'json' else 'upload'}"


@pytest.mark.parametrize("how", FORMS, ids="-".join)
async def test_in_every_form_and_mode_a_wrong_record_is_refused_with_its_place_and_nothing_is_counted(
    sender: httpx.AsyncClient, how: tuple[str, str]
) -> None:
    ok(await sender.post(f"{BASE}/create", json=structure(settleid="newest", aggregationType="latest")))
    for settleid, wrong, member in WRONG:
        if how[0] == "csv" and not all(isinstance(each, str) and "\x00" not in each for each in wrong.values()):
            continue
        answer = await sender.post(path_of(settleid, how[0]), **request(how, {"app": "a", "dur": "1"}, wrong))
        assert (told(answer), answer.json()["values"]["place"]) == ((400, "SETTLE-01", "unparsable"), f"record 2, {member}")
    for settleid in ("calls", "sums", "newest"):
        await nothing_counted(sender, settleid)
    nowhere = await sender.post(path_of("nowhere", how[0]), **request(how, {"app": "a", "dur": "1"}))
    assert told(nowhere) == (404, "SETTLE-02", "structure_unknown")


HALVES: list[tuple[str, bytes, str]] = [
    ("json", b'{"record": [{"app": "a", "dur": 1}, {"app": "a", "d', "the body"),
    ("json", b'{"record": [{"app": "a", "dur": 1}]', "the body"),
    ("json", b'\xff{"record": []}', "the body"),
    ("ndjson", b'{"app": "a", "dur": 1}\n{"app": "a", "d', "record 2"),
    ("ndjson", b'{"app": "a", "dur": 1}\n\xff\xfe\n', "record 2"),
    ("ndjson", b'{"app": "a", "dur": 1}\n[1]\n', "record 2"),
    ("ndjson", b'{"app": "a", "dur": 1}\n"' + b"x" * (1024 * 1024 + 1), "line 2"),
    ("csv", b"app,dur\na,1\nb,1,2\n", "record 2"),
    ("csv", b"app,dur\na,1\nb\n", "record 2"),
    ("csv", b'app,dur\na,1\n"b,1\n', "record 2"),
    ("csv", b"app,dur\na,1\n\xff,1\n", "record 2"),
    ("csv", b"app,dur,app\na,1,b\n", "the header"),
    ("csv", b"dur\n1\n", "record 1, app"),
]


@pytest.mark.parametrize("mode", ["upload", "chunk"])
async def test_half_a_line_counts_nothing_of_its_upload(sender: httpx.AsyncClient, mode: str) -> None:
    for form, body, place in HALVES:
        headers = {"json": {"Content-Type": "application/json"}, "ndjson": NDJSON, "csv": CSV}[form]
        answer = await sender.post(path_of("calls", form), content=pieces(body), headers=headers, params={"mode": mode})
        assert (told(answer), answer.json()["values"]["place"]) == ((400, "SETTLE-01", "unparsable"), place), body[:99]
    await nothing_counted(sender, "calls")


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Send a body as a network does."""
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


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

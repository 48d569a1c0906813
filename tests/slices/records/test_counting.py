"""What is counted, and how: aggregations, settlements, uploads that come twice, streams in parts, and past states."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from clearhouse import clock
from clearhouse.slices.records import states, streams, structures
from clearhouse.slices.records.bookings import account_of, book_due
from clearhouse.slices.records.staging import forget_all
from house import House, balance, ok

BASE = "/settlement"
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}

VALUES: list[tuple[str, list[Any], str]] = [
    ("mcCounter", [1, "x", {"nested": 1}, [], None, False], "5"),
    ("sum", [1, "2.50", 0.1, None, -1], "2.60"),
    ("sum", ["0." + "0" * 37 + "1", "9" * 38], "9" * 38 + "." + "0" * 37 + "1"),
    ("min", [3, "2.50", 7], "2.50"),
    ("max", [3, "2.50", 7], "7"),
    ("latest", [3, "green", True, None], "true"),
]


@pytest.fixture
async def sender(house: House) -> httpx.AsyncClient:
    return await house.caller("operator", name="sender")


async def sender_of(house: House, organisation: str) -> httpx.AsyncClient:
    return await house.caller("operator", name=f"of {organisation}", organisation=organisation)


async def made(sender: httpx.AsyncClient, aggregation: str = "mcCounter", settlement: str = "none", **more: Any) -> None:
    body = {
        "settleid": "calls", "aggregates": ["dur"], "aggregationType": aggregation, "settlementType": settlement,
        "primaryKey": "app", **more,
    }  # fmt: skip
    ok(await sender.post(f"{BASE}/create", json=body))


async def sent(sender: httpx.AsyncClient, *records: dict[str, Any], **more: Any) -> Any:
    return ok(await sender.post(f"{BASE}/calls/update", json={"record": list(records), **more}))["output"]


async def shown(sender: httpx.AsyncClient, **query: Any) -> Any:
    return ok(await sender.get(f"{BASE}/calls", params=query))["output"].get("aggregates", {})


@pytest.mark.parametrize(("aggregation", "values", "wanted"), VALUES)
async def test_an_aggregation_makes_of_values_what_it_says(
    sender: httpx.AsyncClient, aggregation: str, values: list[Any], wanted: str
) -> None:
    await made(sender, aggregation)
    await sent(sender, *({"app": "a", "dur": value} for value in values))
    assert await shown(sender) == {"a": {"dur": wanted}}
    await sent(sender, {"app": "b", "dur": values[0]}, {"app": "a", "other": 1})
    assert (await shown(sender))["a"] == {"dur": wanted}
    past = ok(await sender.get(f"{BASE}/calls/history"))["output"]
    assert [each.get("aggregates", {}).get("a") for each in past] == [{"dur": wanted}, {"dur": wanted}, None]


async def test_a_record_without_a_metric_is_kept_and_makes_no_key(sender: httpx.AsyncClient) -> None:
    await made(sender)
    await sent(sender, {"app": "a"}, {"app": "b", "dur": None}, {"app": 7, "dur": 1})
    assert await shown(sender) == {"7": {"dur": "1"}}


async def test_an_upload_that_comes_twice_under_its_id_is_counted_once(sender: httpx.AsyncClient) -> None:
    await made(sender)
    for _ in range(2):
        await sent(sender, {"app": "a", "dur": 1}, uploadId="march")
    assert await shown(sender) == {"a": {"dur": "1"}}
    other = await sender.post(f"{BASE}/calls/update", json={"record": {"app": "b", "dur": 1}, "uploadId": "march"})
    assert (other.status_code, other.json()["code"], other.json()["reason"]) == (422, "SETTLE-02", "upload_reused")


async def test_a_record_with_an_id_of_its_own_is_counted_once_in_whatever_upload(sender: httpx.AsyncClient) -> None:
    await made(sender)
    first, second = ({"app": "a", "dur": 1, "recordId": name} for name in ("first", "second"))
    await sent(sender, first, first)
    await sent(sender, first, second, {"app": "a", "dur": 1})
    assert await shown(sender) == {"a": {"dur": "3"}}


async def test_organisations_are_compared_and_their_differences_told(house: House) -> None:
    payer, payee = await sender_of(house, "org1"), await sender_of(house, "org2")
    await made(payer, "1CDR", "1CDR", tolerance="0.5")
    await sent(payer, {"app": "A", "dur": 90}, {"app": "B", "dur": "10.5"}, {"app": "C", "dur": 1})
    await sent(payee, {"app": "A", "dur": 45}, {"app": "A", "dur": 50}, {"app": "B", "dur": "10"})
    assert ok(await payer.post(f"{BASE}/calls/settle"))["output"] == {
        "A": {"dur": {"values": {"org1": "90", "org2": "95"}, "difference": "5", "status": "MISMATCH"}},
        "B": {"dur": {"values": {"org1": "10.5", "org2": "10"}, "difference": "0.5", "status": "MATCHED"}},
        "C": {"dur": {"values": {"org1": "1"}, "difference": "0", "status": "PARTIAL"}},
    }


async def test_what_organisations_owe_each_other_is_set_off(house: House) -> None:
    north, south = await sender_of(house, "north"), await sender_of(house, "south")
    await made(north, "1CDR", "net")
    await sent(north, {"app": "south", "dur": "100.00"}, {"app": "west", "dur": "7"}, {"app": "north", "dur": "1"})
    await sent(south, {"app": "north", "dur": "60.00"})
    large = "9" * 38
    await sent(north, {"app": "south", "dur": large})
    await sent(south, {"app": "north", "dur": large})
    settled = ok(await south.post(f"{BASE}/calls/settle"))["output"]
    assert settled == {"south": {"dur": {"north": "40.00"}}, "west": {"dur": {"north": "7"}}}


async def test_a_line_leads_to_its_records_page_by_page_also_after_its_round(sender: httpx.AsyncClient) -> None:
    await made(sender)
    for number in range(3):
        await sent(sender, {"app": "a", "dur": number}, {"app": "b", "dur": 0}, {"app": "a", "dur": number})
    ok(await sender.post(f"{BASE}/calls/settle"))
    await sent(sender, {"app": "a", "dur": 99})
    found: list[int] = []
    path: str | None = f"{BASE}/calls/records?key=a&round=1&limit=4"
    while path is not None:
        answer = await sender.get(path)
        found += [each["record"]["dur"] for each in ok(answer)["output"]]
        path = answer.headers["Link"].partition("<")[2].partition(">")[0] if "Link" in answer.headers else None
    assert found == [0, 0, 1, 1, 2, 2]


async def test_the_history_is_paged_and_any_past_state_can_be_asked_for(sender: httpx.AsyncClient) -> None:
    begin = 1_700_000_000
    for step in range(6):
        with time_machine.travel(datetime.fromtimestamp(begin + step, UTC), tick=False):
            if step == 0:
                await made(sender)
            elif step == 4:
                ok(await sender.post(f"{BASE}/calls/settle"))
            else:
                await sent(sender, {"app": "a", "dur": 1}, {"app": f"b{step}", "dur": 1})
    whole = ok(await sender.get(f"{BASE}/calls/history"))["output"]
    parts: list[Any] = []
    path: str | None = f"{BASE}/calls/history?limit=2"
    while path is not None:
        answer = await sender.get(path)
        parts += ok(answer)["output"]
        path = answer.headers["Link"].partition("<")[2].partition(">")[0] if "Link" in answer.headers else None
    assert parts == whole
    counts = [each.get("aggregates", {}).get("a", {}).get("dur") for each in reversed(whole)]
    assert counts == [None, "1", "2", "3", None, "1"]
    for step, entry in enumerate(reversed(whole)):
        at = datetime.fromtimestamp(begin + step, UTC).isoformat()
        assert ok(await sender.get(f"{BASE}/calls", params={"at": at}))["output"] == entry
    early = await sender.get(f"{BASE}/calls", params={"at": "2020-01-01T00:00:00Z"})
    assert early.json()["code"] == "SETTLE-02"


async def test_of_many_keys_an_update_answers_with_those_that_it_touched(
    sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "KEYS_SHOWN_MAX", 2)
    await made(sender)
    assert "partial" not in await sent(sender, {"app": "a", "dur": 1}, {"app": "b", "dur": 1})
    answer = await sent(sender, {"app": "b", "dur": 1}, {"app": "c", "dur": 1})
    assert (answer["partial"], answer["aggregates"]) == (True, {"b": {"dur": "2"}, "c": {"dur": "1"}})
    newest = ok(await sender.get(f"{BASE}/calls/history"))["output"][0]
    assert newest == answer
    assert set(await shown(sender)) == {"a", "b", "c"}


@pytest.mark.parametrize("mode", ["upload", "chunk"])
@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_a_stream_is_counted_once_however_often_it_comes_under_its_id(
    sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, mode: str, form: str
) -> None:
    monkeypatch.setattr(streams, "LINES", 3)
    await made(sender)
    if form == "csv":
        body, headers = b'app,dur,note\na,1,\n\nb,2,"two\nlines"\na,,"no ""dur"""\n' + b"a,1,\n" * 7, CSV
    else:
        body, headers = b'{"app":"a","dur":1}\r\n\n{"app":"b","dur":2}\n{"app":"a"}\n' + b'{"app":"a","dur":1}\n' * 7, NDJSON
    answer: Any = {}
    for _ in range(2):
        query = {"mode": mode, "uploadId": "march"}
        answer = ok(await sender.post(f"{BASE}/calls/upload", params=query, content=body, headers=headers))["output"]
        assert (answer["received"]["records"], answer["received"]["parts"]) == (10, 4)
        assert await shown(sender) == {"a": {"dur": "8"}, "b": {"dur": "1"}}
    assert answer["received"]["repeated"] == 10
    if form == "csv":
        notes = [each["record"].get("note") for each in ok(await sender.get(f"{BASE}/calls/records?key=b"))["output"]]
        assert notes == ["two\nlines"]


async def test_a_stream_that_broke_off_counts_nothing_and_begins_anew_under_its_id(
    sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINES", 2)
    await made(sender)
    lines, query = [b'{"app":"a","dur":1}'] * 5, {"uploadId": "march"}
    broken = b"\n".join([*lines[:4], b"{"])
    assert (await sender.post(f"{BASE}/calls/upload", params=query, content=broken, headers=NDJSON)).status_code == 400
    assert await shown(sender) == {}
    whole = b"\n".join(lines)
    assert ok(await sender.post(f"{BASE}/calls/upload", params=query, content=whole, headers=NDJSON))
    assert await shown(sender) == {"a": {"dur": "5"}}
    assert len(ok(await sender.get(f"{BASE}/calls/records?key=a"))["output"]) == 5


async def test_what_broke_off_is_dropped_after_a_while_and_what_was_counted_stays(
    house: House, sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINES", 2)
    await made(sender)
    line = b'{"app":"a","dur":1}\n'
    ok(await sender.post(f"{BASE}/calls/upload", content=line * 3, headers=NDJSON))
    assert (await sender.post(f"{BASE}/calls/upload", content=line * 3 + b"{", headers=NDJSON)).status_code == 400
    kept = "SELECT (SELECT count(*) FROM records_record), (SELECT count(*) FROM records_staged)"
    for before, dropped, rows in ((timedelta(hours=-1), 0, (5, 2)), (timedelta(hours=1), 1, (3, 1))):
        assert await forget_all(house.database, clock.now() + before) == dropped
        async with house.database.reading([1]) as tx:
            assert await tx.tuples(kept) == [rows]
    assert await shown(sender) == {"a": {"dur": "3"}}


async def test_by_chunks_what_was_read_before_a_bad_line_stays_counted(
    sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINES", 2)
    await made(sender)
    body = b'{"app":"a","dur":1}\n' * 4 + b"{\n"
    answer = await sender.post(f"{BASE}/calls/upload", params={"mode": "chunk"}, content=body, headers=NDJSON)
    assert answer.json()["values"]["place"] == "record 5"
    assert await shown(sender) == {"a": {"dur": "4"}}


async def test_what_is_owed_of_a_settled_round_is_posted_to_the_ledger_once(house: House) -> None:
    north, south = await sender_of(house, "north"), await sender_of(house, "South & Sons")
    await made(north, "1CDR", "net", currency="USD")
    fine = await north.post(f"{BASE}/calls/update", json={"record": {"app": "x", "dur": "0.001"}})
    assert fine.json()["message"].startswith("record 1, dur: the currency has 2 decimals")
    await sent(north, {"app": "South & Sons", "dur": "100.00"}, {"app": "west", "dur": 7})
    await sent(south, {"app": "north", "dur": "60.5"})
    ok(await south.post(f"{BASE}/calls/settle"))
    booked, again = await book_due(house.database), await book_due(house.database)
    assert ([each.round for each in booked], again) == ([1], [])
    async with house.database.reading([1]) as tx:
        structure = await structures.find(tx, "calls")
    held = {name: account_of(structure, name) for name in ("north", "South & Sons", "west")}
    balances = {name: await balance(north, code) for name, code in held.items()}
    assert balances == {"north": "46.50", "South & Sons": "-39.50", "west": "-7.00"}

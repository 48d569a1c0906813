"""Records with an id of their own: counted once in whatever form and mode; another record under the id is refused."""

import csv
import io
import json
from typing import Any

import httpx
import pytest

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.slices.records import commands, streams, structures, uploads
from clearhouse.slices.records.parsing import reader
from clearhouse.slices.records.refusals import RecordReused
from clearhouse.slices.records.staging import Stage
from house import House, ok

BASE = "/settlement"
FORMS = [("json", "upload"), ("ndjson", "upload"), ("ndjson", "chunk"), ("csv", "upload"), ("csv", "chunk")]
Record = dict[str, str]


def line(app: str, own: str, dur: str = "1") -> Record:
    return {"app": app, "dur": dur, "recordId": own}


async def made(sender: httpx.AsyncClient, settleid: str, **more: Any) -> None:
    body = {"settleid": settleid, "aggregates": ["dur"], "aggregationType": "sum", "primaryKey": "app", **more}
    ok(await sender.post(f"{BASE}/create", json=body))


async def sent(
    sender: httpx.AsyncClient, settleid: str, how: tuple[str, str], *records: Record, name: str = ""
) -> httpx.Response:
    form, mode = how
    if form == "json":
        body: dict[str, Any] = {"record": list(records), **({"uploadId": name} if name else {})}
        return await sender.post(f"{BASE}/{settleid}/update", json=body)
    text = io.StringIO()
    if form == "csv":
        table = csv.DictWriter(text, ["app", "dur", "recordId"])
        table.writeheader()
        table.writerows(records)
    else:
        text.write("\n".join(json.dumps(each) for each in records))
    query = {"mode": mode, **({"uploadId": name} if name else {})}
    headers = {"Content-Type": "text/csv" if form == "csv" else "application/x-ndjson"}
    return await sender.post(f"{BASE}/{settleid}/upload", params=query, content=text.getvalue(), headers=headers)


async def sums(sender: httpx.AsyncClient, settleid: str) -> dict[str, str]:
    found = ok(await sender.get(f"{BASE}/{settleid}"))["output"].get("aggregates", {})
    return {key: metrics["dur"] for key, metrics in found.items()}


def refused_at(answer: httpx.Response) -> str:
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["reason"]) == (422, "SETTLE-02", "record_reused")
    return str(problem["values"]["place"])


async def test_a_record_is_counted_once_under_its_id_in_every_form_and_mode(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINES", 2)
    sender = await house.caller("operator", name="sender")
    for how in FORMS:
        name = "-".join(how)
        await made(sender, name)
        ok(await sent(sender, name, how, line("a", "1"), line("a", "2"), line("b", "3"), line("a", "1"), name="first"))
        assert await sums(sender, name) == {"a": "2", "b": "1"}
        again = ok(await sent(sender, name, how, line("b", "4"), line("a", "2"), line("b", "3")))["output"]
        assert await sums(sender, name) == {"a": "2", "b": "2"}
        if how[0] != "json":
            assert (again["received"]["records"], again["received"]["repeated"]) == (1, 2)
        elsewhere = ok(await sender.post(f"{BASE}/{name}/update", json={"record": dict(reversed(line("a", "1").items()))}))
        assert elsewhere["output"]["aggregates"]["a"] == {"dur": "2"}  # in another form, its members in another order
        places = [each["place"] for each in ok(await sender.get(f"{BASE}/{name}/records", params={"key": "b"}))["output"]]
        assert places == ([1, 1] if how[1] == "chunk" else [3, 1])


SAME = [
    ("1.5", "1.50"),
    ("1.5", "15e-1"),
    ("1", "1.0"),
    ("100", "1e2"),
    ("0", "-0.0"),
    ('"1.5"', '"1.5"'),
    ("[1.50]", "[1.5]"),
]
OTHER = [
    ("1.5", '"1.5"'),
    ("1", '"1"'),
    ("1", "true"),
    ('"1.5"', '"1.50"'),
    ("1.5", "1.51"),
    ("null", '""'),
    ("[1]", '["1"]'),
]


async def test_a_number_is_the_same_however_it_is_written_and_never_a_text(house: House) -> None:
    sender = await house.caller("operator", name="sender")
    await made(sender, "calls", aggregationType="mcCounter")
    for place, (one, other) in enumerate(SAME + OTHER):
        answers = [
            await sender.post(
                f"{BASE}/calls/upload", headers={"Content-Type": "application/x-ndjson"},
                content=f'{{"app":"a","dur":{value},"recordId":"{place}"}}',
            )
            for value in (one, other)
        ]  # fmt: skip
        assert ok(answers[0])["output"]["received"]["records"] == 1
        if place < len(SAME):
            assert ok(answers[1])["output"]["received"]["repeated"] == 1, (one, other)
        else:
            assert refused_at(answers[1]) == "record 1, recordId", (one, other)


async def test_another_record_under_an_id_refuses_its_upload_with_the_place_and_nothing_is_counted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINES", 5)
    sender = await house.caller("operator", name="sender")
    for how in FORMS:
        name = "-".join(how)
        await made(sender, name)
        ok(await sent(sender, name, how, line("a", "1")))
        before = ok(await sender.get(f"{BASE}/{name}/history"))
        for wrong in (line("a", "1", "2"), line("b", "1"), line("c", "new", "9")):
            answer = await sent(sender, name, how, line("c", "new"), line("c", "newer"), wrong, name="march")
            assert refused_at(answer) == "record 3, recordId"
        assert ok(await sender.get(f"{BASE}/{name}/history")) == before
        ok(await sent(sender, name, how, line("d", "new", "5"), line("d", "newer"), name="march"))
        assert await sums(sender, name) == {"a": "1", "d": "6"}


async def test_of_a_stream_in_parts_the_place_is_that_in_the_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LINES", 2)
    sender = await house.caller("operator", name="sender")
    for mode, counted in (("upload", {}), ("chunk", {"a": "4"})):
        await made(sender, mode)
        five = [line("a", str(number)) for number in range(4)]
        answer = await sent(sender, mode, ("ndjson", mode), *five, line("a", "0", "2"), name="march")
        assert refused_at(answer) == "record 5, recordId"
        assert await sums(sender, mode) == counted


async def test_where_organisations_are_kept_apart_each_has_ids_of_its_own(house: House) -> None:
    north, south = [await house.caller("operator", name=each, organisation=each) for each in ("north", "south")]
    await made(north, "calls", aggregationType="1CDR", settlementType="1CDR")
    for party, dur in ((north, "90"), (south, "95"), (south, "95")):
        ok(await sent(party, "calls", ("ndjson", "upload"), line("A", "call 1", dur)))
    settled = ok(await north.post(f"{BASE}/calls/settle"))["output"]
    assert settled["A"]["dur"]["values"] == {"north": "90", "south": "95"}


async def test_whoever_brings_a_record_of_an_upload_that_is_never_counted_takes_it_over(house: House) -> None:
    sender = await house.caller("operator", name="sender")
    await made(sender, "calls")
    async with house.database.reading([1]) as tx:
        structure = await structures.find(tx, "calls")
    broken = [json.dumps(line("a", own)).encode() for own in ("1", "2")]
    part = Stage(
        uploads.id_of(structure, "march", organisation=""), "calls", structure.number, apart=False, organisation="",
        before=0, so_far=b"", digest=b"half", parsed=reader(structure).read(broken),
    )  # fmt: skip
    async with house.database.writing(book=1) as tx:
        assert (await commands.STAGE.run(tx, [asked(part)], structure.at))[0] is not None
    ok(await sent(sender, "calls", ("json", "upload"), line("a", "1")))
    assert await sums(sender, "calls") == {"a": "1"}
    later = Stage(
        part.upload, "calls", structure.number, apart=False, organisation="", before=2, so_far=b"half", digest=b"whole",
        parsed=reader(structure).read([json.dumps(line("a", "3")).encode()]),
    )  # fmt: skip
    async with house.database.writing(book=1) as tx:
        assert getattr((await commands.STAGE.run(tx, [asked(later)], structure.at))[0], "code", "") == "upload_overtaken"
    whole = [line("a", own) for own in ("1", "2", "3")]
    ok(await sent(sender, "calls", ("ndjson", "upload"), *whole, name="march"))
    assert await sums(sender, "calls") == {"a": "3"}


def asked(command: Any) -> Any:
    return Asked(command, ids.fresh(), ids.fresh())


async def test_a_refused_upload_leaves_its_ids_to_its_neighbours_of_the_same_batch(house: House) -> None:
    sender = await house.caller("operator", name="sender")
    await made(sender, "calls")
    ok(await sent(sender, "calls", ("json", "upload"), line("a", "old")))
    async with house.database.reading([1]) as tx:
        structure = await structures.find(tx, "calls")

    def upload(*records: Record) -> Any:
        body = b"\n".join(json.dumps(each).encode() for each in records)
        return asked(uploads.uploaded(structure, uploads.read(structure, body), by="x:", organisation=""))

    batch = [
        upload(line("a", "1"), line("a", "old", "2")), upload(line("b", "1", "5")),
        upload(line("b", "1", "5"), line("c", "2")), upload(line("c", "2", "7")),
    ]  # fmt: skip
    async with house.database.writing(book=1) as tx:
        answers: list[Any] = await uploads.upload(tx, batch, structure.at)
    assert [isinstance(each, RecordReused) for each in answers] == [True, False, False, True]
    assert (answers[1].records, answers[2].records, answers[2].repeated) == (1, 1, 1)
    assert await sums(sender, "calls") == {"a": "1", "b": "5", "c": "1"}
    assert refused_at(await sent(sender, "calls", ("json", "upload"), line("a", "1"))) == "record 1, recordId"
    ok(await sent(sender, "calls", ("json", "upload"), line("b", "1", "5")))
    assert await sums(sender, "calls") == {"a": "1", "b": "5", "c": "1"}

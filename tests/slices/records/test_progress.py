"""How far an upload is while it runs; and whose an upload is."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clearhouse.slices.records import streams
from house import House, ok

BASE = "/settlement/calls"
NDJSON = {"Content-Type": "application/x-ndjson"}
PIECE = b'{"app":"A","dur":1}\n' * 3


@pytest.fixture
async def north(house: House, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    monkeypatch.setattr(streams, "LINES", 3)
    return await house.caller("operator", name="of north", organisation="north")


@pytest.fixture
async def south(house: House) -> httpx.AsyncClient:
    return await house.caller("operator", name="of south", organisation="south")


async def made(sender: httpx.AsyncClient, aggregation: str = "sum") -> None:
    body = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": aggregation, "primaryKey": "app"}
    ok(await sender.post("/settlement/create", json=body))


async def streamed(sender: httpx.AsyncClient, body: Any, mode: str = "upload") -> httpx.Response:
    return await sender.post(f"{BASE}/upload", params={"mode": mode, "uploadId": "march"}, content=body, headers=NDJSON)


async def seen(sender: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = await sender.get(f"{BASE}/uploads", params=query)
    return [dict(each) for each in ok(answer)["output"]]


async def broken(sender: httpx.AsyncClient) -> None:
    """Send two parts and a record that cannot be read: the two stay, and nothing is counted."""
    assert (await streamed(sender, PIECE * 2 + b"{")).status_code == 400


async def test_an_upload_is_seen_on_its_way_and_when_it_is_counted(north: httpx.AsyncClient) -> None:
    await made(north)
    told: list[tuple[str, int]] = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield PIECE
            told.extend([(each["state"], each["records"]) for each in await seen(north)])

    assert await seen(north, uploadId="march") == []
    ok(await streamed(north, body()))
    assert told == [("arriving", 3), ("arriving", 6), ("arriving", 9)]
    assert await seen(north) == []
    whole = (await seen(north, uploadId="march"))[0]
    assert (whole["state"], whole["records"], whole["change"]) == ("counted", 9, 2)


async def test_of_an_upload_by_chunks_every_part_that_is_counted_is_seen(north: httpx.AsyncClient) -> None:
    await made(north)
    ok(await streamed(north, PIECE * 4, "chunk"))
    whole = (await seen(north, uploadId="march"))[0]
    assert (whole["state"], whole["records"], whole["change"]) == ("counted", 12, 5)


async def test_uploads_on_their_way_come_page_by_page(north: httpx.AsyncClient) -> None:
    await made(north)
    for name in "abc":
        await north.post(f"{BASE}/upload", params={"uploadId": name}, content=PIECE + b"{", headers=NDJSON)
    pages = [ok(await north.get(f"{BASE}/uploads?limit=2"))["output"]]
    answer = await north.get(f"{BASE}/uploads?limit=2")
    pages.append(ok(await north.get(answer.links["next"]["url"]))["output"])
    assert [len(page) for page in pages] == [2, 1]
    assert len({each["upload"] for page in pages for each in page}) == 3


async def test_nobody_drops_what_another_organisation_has_on_its_way(
    north: httpx.AsyncClient, south: httpx.AsyncClient
) -> None:
    await made(north)
    await broken(north)
    refused = await streamed(south, PIECE)
    assert (refused.status_code, refused.json()["reason"]) == (422, "upload_reused")
    assert (await seen(north))[0]["records"] == 6
    ok(await streamed(north, PIECE * 2))


async def test_where_organisations_are_kept_apart_each_names_its_uploads_as_it_likes(
    north: httpx.AsyncClient, south: httpx.AsyncClient
) -> None:
    await made(north, "1CDR")
    for party in (north, south, south):
        ok(await streamed(party, PIECE))
        ok(await party.post(f"{BASE}/update", json={"record": {"app": "B", "dur": 1}, "uploadId": "april"}))
    sums = ok(await north.get(BASE))["output"]["aggregates"]
    assert {key: {who: its["sum"] for who, its in of["dur"].items()} for key, of in sums.items()} == {
        "A": {"north": "3", "south": "3"},
        "B": {"north": "1", "south": "1"},
    }

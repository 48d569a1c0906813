"""Uploads are counted by one row, seen whole at once, and merged part by part behind everybody's back."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from clearhouse.slices.records import merging, snapshots, states, streams, structures
from house import House, ok
from serving import until

BASE = "/settlement"
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted"
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def sender(house: House, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    monkeypatch.setattr(merging, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(streams, "LINES", 3)
    return await house.caller("operator", name="sender")


async def made(sender: httpx.AsyncClient, aggregation: str) -> None:
    body = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": aggregation, "primaryKey": "app"}
    ok(await sender.post(f"{BASE}/create", json=body))


async def streamed(sender: httpx.AsyncClient, *values: tuple[str, int]) -> Any:
    body = b"\n".join(b'{"app":"%s","dur":%d}' % (key.encode(), dur) for key, dur in values)
    return ok(await sender.post(f"{BASE}/calls/upload", content=body, headers=NDJSON))["output"]


async def seen(sender: httpx.AsyncClient) -> list[Any]:
    """Return everything that can be seen of a structure."""
    paths = ("", "/history", "/settled", "/records?key=b", "/records?key=b&round=1")
    return [ok(await sender.get(f"{BASE}/calls{path}")) for path in paths]


async def rows(house: House, statement: str) -> Any:
    async with house.database.reading([1]) as tx:
        return (await tx.tuples(statement))[0][0]


def waits(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute(WAITING).fetchone() is not None


@pytest.mark.parametrize("aggregation", ["mcCounter", "sum", "min", "max", "latest", "1CDR"])
async def test_what_is_seen_of_a_large_upload_is_the_same_before_while_and_after_it_is_merged(
    house: House, sender: httpx.AsyncClient, aggregation: str
) -> None:
    await made(sender, aggregation)
    large = [(key, number) for number, key in enumerate("abcdef" * 2)]
    shown = await streamed(sender, *large)
    assert set(shown["aggregates"]) == set("abcdef")
    await streamed(sender, ("b", 99), ("g", -1))
    before = await seen(sender)
    assert await rows(house, "SELECT count(*) FROM records_aggregate") == 0
    if aggregation == "latest":
        assert before[0]["output"]["aggregates"]["b"] == {"dur": "99"}
    due = await merging.waiting(house.database)
    sums: list[int] = []
    while await merging.merge_part(house.database, due[0]):
        assert await seen(sender) == before
        sums.append(await rows(house, "SELECT count(*) FROM records_aggregate"))
    assert sums == [2, 4, 6, 6, 7]  # two keys each, one that finds no more of this upload, and the small one after it
    assert await rows(house, "SELECT count(*) FROM records_aggregate") == 7
    assert await merging.merge_due(house.database) == 0


async def test_a_round_that_ends_before_its_uploads_are_merged_settles_all_of_them(
    house: House, sender: httpx.AsyncClient
) -> None:
    await made(sender, "sum")
    await streamed(sender, *((key, 1) for key in "abcdef"))
    settled = ok(await sender.post(f"{BASE}/calls/settle"))["output"]
    assert settled == {key: {"dur": "1"} for key in "abcdef"}
    await streamed(sender, ("b", 5))
    await asyncio.gather(merging.merge_due(house.database), merging.merge_due(house.database))
    found = await seen(sender)
    assert (found[2]["output"]["aggregates"], found[0]["output"]["aggregates"]) == (settled, {"b": {"dur": "5"}})


async def test_of_many_keys_that_are_not_merged_an_update_answers_with_those_that_it_touched(
    sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "KEYS_SHOWN_MAX", 5)
    await made(sender, "sum")
    await streamed(sender, *((key, 1) for key in "abcdef"))
    shown = await streamed(sender, ("b", 5))
    assert (shown["partial"], shown["aggregates"]) == (True, {"b": {"dur": "6"}})


async def test_past_states_are_found_from_snapshots_which_are_fewer_than_what_was_added(
    house: House, sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "CHANGES_BETWEEN", 2)
    await made(sender, "latest")
    taken = 0
    for number in range(12):
        await streamed(sender, ("a", number), (f"k{number % 4}", number))
        taken += await snapshots.take_due(house.database)
    assert 2 <= taken <= 5
    added = await rows(house, "SELECT (SELECT count(*) FROM records_delta) + (SELECT count(*) FROM records_staged)")
    assert await rows(house, "SELECT count(*) FROM records_snapshot_cell") <= added
    history = ok(await sender.get(f"{BASE}/calls/history"))["output"]
    states_ = [each.get("aggregates", {}).get("a", {}).get("dur") for each in reversed(history)]
    assert states_ == [None, *map(str, range(12))]
    async with house.database.reading([1]) as tx:
        structure = await structures.find(tx, "calls")
        there = [
            states.shown(await states.cells(tx, structure, 1, change), structure.aggregating) for change in range(2, 14)
        ]
    assert there == [each["aggregates"] for each in reversed(history[:-1])]


async def test_a_part_of_a_merge_holds_up_neither_who_settles_nor_who_adds_to_the_same_keys(
    house: House, sender: httpx.AsyncClient
) -> None:
    await made(sender, "sum")
    await streamed(sender, ("b", 1))
    await merging.merge_due(house.database)
    await streamed(sender, *((key, 1) for key in "abcdef"))
    due = (await merging.waiting(house.database))[0]
    async with house.database.writing(book=1) as tx:
        await tx.tuples("SELECT FROM records_aggregate WHERE book = 1 AND key = 'b' FOR UPDATE")
        part = asyncio.create_task(merging.merge_part(house.database, due))
        await asyncio.to_thread(until, lambda: waits(house.database.dsn))
        await streamed(sender, ("b", 1), ("z", 1))
        settled = ok(await sender.post(f"{BASE}/calls/settle"))["output"]
        assert not part.done()
    assert await part
    await merging.merge_due(house.database)
    assert settled == {key: {"dur": "3" if key == "b" else "1"} for key in "abcdefz"}
    assert (await seen(sender))[2]["output"]["aggregates"] == settled


async def test_small_uploads_are_merged_together_and_the_latest_of_them_stays_the_latest(
    house: House, sender: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(sender, "latest")
    for number in range(4):
        await streamed(sender, ("a", number), (f"k{number}", number))
    before = await seen(sender)
    monkeypatch.setattr(merging, "ROWS_AT_ONCE", 6)
    assert await merging.merge_due(house.database) == 2  # three uploads of two sums, and the one that is left
    assert await seen(sender) == before
    assert before[0]["output"]["aggregates"]["a"] == {"dur": "3"}

"""The export of the journal: read page by page, so that a slow reader holds nothing here, and yet one and the same text."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import psycopg
import pytest

from clearhouse.kernel.db import database
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import reading
from house import House, movement, ok, post, refused
from trails import AUDIT, COPY, head, replayed, verdict

READERS = 6


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    """Give somebody who has left more than ten rows, all sealed."""
    found = await house.caller("operator")
    await house.open_accounts(found, "shop", "revenue")
    for number in range(8):
        await post(found, movement("shop", "revenue", "1.00"), reference=f"invoice {number}")
    await house.seal()
    return found


async def exported(house: House) -> str:
    return (await house.admin.get(f"{AUDIT}/export")).text


class Slow:
    """Somebody who asks for the export and does something after the first piece; by default never reads on."""

    def __init__(self, house: House, then: Callable[[], Awaitable[object]] | None = None) -> None:
        self.began = asyncio.Event()
        self.heard: list[Any] = []
        self._then = then or asyncio.Event().wait
        credential = house.admin.headers["authorization"].encode()
        scope: Any = {
            "type": "http", "method": "GET", "path": f"{AUDIT}/export", "raw_path": f"{AUDIT}/export".encode(),
            "query_string": b"", "root_path": "", "scheme": "http", "headers": [(b"authorization", credential)],
            "http_version": "1.1", "server": ("clearhouse.test", 80), "client": ("test", 1), "state": {},
        }  # fmt: skip
        self.asking = asyncio.create_task(house.entrance(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self.began.is_set():
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Any) -> None:
        self.heard.append(message)
        if message["type"] == "http.response.body" and message.get("body") and not self.began.is_set():
            self.began.set()
            await self._then()

    async def leave(self) -> None:
        self.asking.cancel()
        await asyncio.wait([self.asking])


@pytest.mark.usefixtures("operator")
async def test_however_many_never_read_on_everybody_else_reads(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS_MAX", 1.0)
    monkeypatch.setattr(reading, "PAGE_ROWS", 2)
    slow = [Slow(house) for _ in range(READERS)]
    for each in slow:
        await each.began.wait()
    assert replayed(await exported(house)) == await head(house.admin)
    for each in slow:
        await each.leave()


@pytest.mark.usefixtures("operator")
async def test_when_the_database_goes_away_on_the_way_nobody_takes_half_an_export_for_the_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_ROWS", 2)
    told = Slow(house, house.database.lines.cut)
    await told.asking
    assert [each.get("status") for each in told.heard] == [200, None]
    assert told.heard[-1]["more_body"]
    assert refused(await house.admin.get(f"{AUDIT}/export"), 503) == "database_away"


@pytest.mark.parametrize(("rows", "size"), [(1, 2**20), (2, 2**20), (3, 2**20), (1_000, 1), (1_000, 700)])
async def test_pages_of_any_size_come_to_the_same_export(
    house: House, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    whole = await exported(house)
    assert operator
    monkeypatch.setattr(reading, "PAGE_ROWS", rows)
    monkeypatch.setattr(reading, "PAGE_BYTES", size)
    assert await exported(house) == whole
    assert replayed(whole) == await head(house.admin)


async def test_what_happens_while_it_is_read_is_not_in_it_and_all_that_was_before_is(
    house: House, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, kept = await exported(house), await head(house.admin)
    monkeypatch.setattr(reading, "PAGE_ROWS", 2)
    pieces: list[bytes] = []
    async for piece in reading.export(lambda: view(house)):
        pieces.append(piece)
        await post(operator, movement("shop", "revenue", "2.00"))
        await house.seal()
    assert len(pieces) > 5
    assert b"".join(pieces).decode() == whole
    assert (await verdict(house.admin, head=kept))["intact"]
    assert replayed(await exported(house)) == await head(house.admin) != kept


def view(house: House) -> AbstractAsyncContextManager[Tx]:
    return house.database.reading([1])


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 1_000])
@pytest.mark.usefixtures("operator")
async def test_a_row_that_somebody_put_in_twice_does_not_fall_between_two_pages(
    house: House, owner_dsn: str, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(reading, "PAGE_ROWS", rows)
    with psycopg.connect(owner_dsn, autocommit=True, options="-c search_path=clearhouse") as owner:
        owner.execute("DROP INDEX journal_number")
        owner.execute(COPY.replace("number + 1", "number").encode())
    numbers = [json.loads(each)["number"] for each in (await exported(house)).splitlines()]
    assert numbers[:5] == [1, 2, 3, 3, 4]
    shown = ok(await house.admin.get(f"{AUDIT}/lines", params={"limit": 1_000}))["items"]
    assert numbers == [each["number"] for each in shown]

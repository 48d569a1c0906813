"""One book of several is broken, or one row of it: all that happens by itself goes on in the others."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from breaking import break_book, cut_connections, mend_book
from clearhouse import clock
from clearhouse.app import worker
from clearhouse.kernel.access import authentication
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import Poison
from clearhouse.kernel.journal import readers
from clearhouse.kernel.journal.readers import Claim, Reader
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.pipelines.stages import Failed
from hooking import WEBHOOKS, Hooks
from house import House, movement, ok, transaction
from parcels import Depot
from receiving import Receiver
from serving import until
from telling import tell

BOOKS = ("main", "second")


async def second_book(house: House) -> None:
    ok(await house.admin.post("/api/v1/access/books", json={"name": "second"}))


async def operators(house: House) -> dict[str, httpx.AsyncClient]:
    """Give somebody who posts in each of two books, with two accounts there."""
    await second_book(house)
    found: dict[str, httpx.AsyncClient] = {}
    for book in BOOKS:
        found[book] = await house.caller("operator", book=book)
        for code in ("payer", "payee"):
            ok(await found[book].post("/api/v1/ledger/accounts", json={"code": code, "asset": "USD"}))
    return found


async def test_holds_expire_in_a_book_whatever_is_wrong_with_the_one_before_it(house: House, owner_dsn: str) -> None:
    soon = clock.text(clock.now() + timedelta(seconds=1))
    held: dict[str, Any] = {}
    for book, operator in (await operators(house)).items():
        leg = movement("payer", "payee", "5.00", pending=True, expires_at=soon)
        held[book] = operator, ok(await operator.post("/api/v1/ledger/transactions", json=transaction(leg)))
    await break_book(owner_dsn, "ledger_hold")

    async def state(book: str) -> str:
        operator, posted = held[book]
        return ok(await operator.get(f"/api/v1/ledger/holds/{posted['transfers'][0]}"))["state"]

    async with asyncio.timeout(30):
        while await state("second") == "pending":
            with suppress(Poison):
                await worker.expire_holds(house.database)
    assert await state("main") == "pending"
    await mend_book(owner_dsn)
    await worker.expire_holds(house.database)
    assert await state("main") == await state("second")


async def test_events_of_a_book_are_sent_whatever_is_wrong_with_the_one_before_it(house: House, owner_dsn: str) -> None:
    await second_book(house)
    async with Hooks.opened(house) as hooks, Receiver.opened() as receiver:
        for book in BOOKS:
            ok(await house.admin.post(WEBHOOKS, params={"book": book}, json={"url": receiver.url, "types": ["a.x"]}))
        await break_book(owner_dsn, "webhook_delivery")
        for book in (1, 2):
            await tell(house.database, Line("a.x", "something"), book=book)
        working = asyncio.create_task(hooks.courier.run())
        await receiver.until(1)
        assert receiver.taken[0].event["source"] == "/books/second"
        await mend_book(owner_dsn)
        await receiver.until(2)
        working.cancel()
        await asyncio.wait([working])


async def test_rows_of_a_book_advance_whatever_is_wrong_with_the_one_before_it(database: Database, owner_dsn: str) -> None:
    Depot.build(owner_dsn)
    depot = Depot(database, owner_dsn)
    depot.ask("INSERT INTO book (name) VALUES ('other')")
    broken, well = await depot.add(), await depot.add(book=2)
    await break_book(owner_dsn, "parcel")
    with pytest.raises(Poison):
        await depot.advancer.run(depot.weigh)
    assert [depot.rows()[each][0] for each in (*broken, *well)] == ["new", "weighed"]


async def test_an_error_that_no_column_can_hold_is_kept_as_far_as_it_can_be(database: Database, owner_dsn: str) -> None:
    Depot.build(owner_dsn)
    depot = Depot(database, owner_dsn)
    (one,) = await depot.add()
    depot.said = {one: Failed("the other side said \ud800\0, whatever that is")}
    await depot.advancer.run(depot.weigh)
    assert depot.rows()[one][3] == "the other side said ?, whatever that is"


async def test_a_reader_that_fails_with_words_that_no_column_can_hold_fails_alone(database: Database) -> None:
    heard = asyncio.Event()

    async def deliver(claimed: Claim, _: Any) -> None:
        if claimed.book == 1:
            raise ConnectionError("\ud800")
        heard.set()

    depot_of_books = "INSERT INTO book (name) VALUES ('other')"
    async with database.writing() as tx:
        await tx.do(depot_of_books)
    for book in (1, 2):
        await tell(database, Line("test.told", "1"), book=book)
    running = asyncio.create_task(readers.run(database, Reader("ear", deliver), Bell()))
    async with asyncio.timeout(30):
        await heard.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def test_what_was_refused_is_written_down_after_a_restart_of_the_database(
    house: House, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "TRACE_SECONDS", 0.05)
    stranger = {"Authorization": "Bearer nobody"}
    assert (await house.admin.get("/api/v1/ledger/accounts", headers=stranger)).status_code == 401
    await cut_connections(owner_dsn)
    tracing = asyncio.create_task(house.gate.trace())
    looked = asyncio.to_thread(
        until, lambda: asked(owner_dsn, "SELECT 1 FROM clearhouse.journal WHERE kind = 'access.refusals'")
    )
    await asyncio.wait({tracing, asyncio.create_task(looked)}, return_when=asyncio.FIRST_COMPLETED)
    assert not tracing.done()
    tracing.cancel()
    await asyncio.wait([tracing])
    assert tracing.cancelled()


def asked(owner_dsn: str, question: str) -> list[Any]:
    with psycopg.connect(owner_dsn) as owner:
        return owner.execute(question.encode()).fetchall()

"""Events as readers get them: envelopes with an id for ever, in order, by pages of any size."""

import msgspec
import pytest

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import events
from clearhouse.kernel.journal.events import Cursor, Event, MalformedPlace, cursor_after, place_before
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.journal.writing import Line
from telling import tell

START = Cursor()


async def read(database: Database, *, most: int = 1_000, book: int = 1, cursor: Cursor = START) -> list[Event]:
    found: list[Event] = []
    async with database.reading([book]) as tx:
        while True:
            page = await events.after(tx, cursor, most=most)
            assert len(page.events) <= most
            if page.cursor == cursor:
                return found
            found, cursor = found + page.events, page.cursor


async def test_an_event_is_an_envelope_of_cloudevents_with_what_the_line_said(database: Database) -> None:
    await tell(database, Line("test.paid", "trx_1", {"amount": "1.00"}, by="prn_2"), Line("test.plain", ""))
    first, second = msgspec.json.decode(msgspec.json.encode(await read(database)))
    time = first.pop("time")
    assert time.endswith("Z")
    assert first == {
        "specversion": "1.0", "id": "1-1-0", "source": "/books/main", "type": "test.paid", "subject": "trx_1",
        "principal": "prn_2", "datacontenttype": "application/json", "data": {"amount": "1.00"},
    }  # fmt: skip
    assert sorted(second) == ["id", "principal", "source", "specversion", "time", "type"]


async def test_a_refused_line_is_no_event_and_leaves_the_ids_of_its_neighbours_alone(database: Database) -> None:
    await tell(database, Line("test.a", "1"), Line("test.b", "2", refused="no"), Line("test.c", "3"))
    await tell(database, Line("test.d", "4", refused="no"))
    await tell(database, Line("test.e", "5"))
    assert [each.id for each in await read(database)] == ["1-1-0", "1-1-2", "1-3-0"]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 1_000])
async def test_pages_of_any_size_give_every_event_once_in_order(database: Database, most: int) -> None:
    for count in (3, 1, 5, 2):
        await tell(database, *(Line("test.told", str(place)) for place in range(count)))
    expected = [f"1-{row}-{place}" for row, count in enumerate((3, 1, 5, 2), 1) for place in range(count)]
    assert [each.id for each in await read(database, most=most)] == expected


async def test_what_has_no_number_yet_is_not_read(database: Database) -> None:
    await tell(database, Line("test.told", "1"), seal=False)
    assert await read(database) == []
    await sweep(database)
    assert [each.id for each in await read(database)] == ["1-1-0"]


async def test_reading_goes_on_after_any_event_by_its_id(database: Database) -> None:
    for _ in range(3):
        await tell(database, Line("test.told", "1"), Line("test.told", "2"))
    everything = await read(database)
    for place, each in enumerate(everything):
        assert await read(database, cursor=cursor_after(each.id, 1)) == everything[place + 1 :]
        assert each.cursor == cursor_after(each.id, 1)


async def test_a_place_before_any_line_leads_to_it_whether_it_is_an_event_or_not(database: Database) -> None:
    for _ in range(3):
        await tell(database, Line("test.a", "1"), Line("test.b", "2", refused="no"), Line("test.c", "3"))
    for cursor in [Cursor(number, place) for number in range(5) for place in range(4)]:
        again = cursor_after(place_before(cursor, 1), 1)
        assert await read(database, cursor=again) == await read(database, cursor=cursor), cursor


async def test_a_page_is_no_longer_than_its_bytes_but_always_moves_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BYTES_MAX", 1_000)
    for number in range(5):
        await tell(database, Line("test.told", str(number), "x" * 900))
    async with database.reading([1]) as tx:
        page = await events.after(tx, Cursor())
    assert len(page.events) == 2
    assert len(await read(database)) == 5


@pytest.mark.parametrize(
    "text", ["", "1", "1-2", "2-2-3", "1-2-x", "1--3", "1-2-3-4", "1-²-3", "1-2-" + "9" * 40, "1-2-3\n"]
)
def test_what_is_no_events_id_in_this_book_is_refused(text: str) -> None:
    with pytest.raises(MalformedPlace):
        cursor_after(text, 1)

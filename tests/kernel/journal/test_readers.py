"""Readers with cursors of their own: at least once, in order, one at a time, and nobody waits for a neighbour."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.listening import listen
from clearhouse.kernel.journal import readers
from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.journal.readers import CHANNEL, Claim, Reader, Standing
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.journal.writing import Line
from telling import tell


class Ear:
    """Somebody who hears events, who may be deaf in some books, and who knows how many spoke to it at once."""

    def __init__(self, *, deaf: Sequence[int] = ()) -> None:
        self.heard: list[str] = []
        self.deaf = set(deaf)
        self.tried = 0
        self.at_once: dict[int, int] = {}
        self.told = asyncio.Condition()

    async def __call__(self, claimed: Claim, events: Sequence[Event]) -> None:
        self.tried += 1
        self.at_once[claimed.book] = self.at_once.get(claimed.book, 0) + 1
        assert self.at_once[claimed.book] == 1
        await asyncio.sleep(0)
        try:
            if claimed.book in self.deaf:
                raise ConnectionError("nobody\0 there")
            self.heard += [each.id for each in events]
        finally:
            self.at_once[claimed.book] -= 1
            async with self.told:
                self.told.notify_all()

    async def until(self, what: Callable[[], bool]) -> None:
        async with self.told:
            await asyncio.wait_for(self.told.wait_for(what), 30)


async def enrolled(database: Database, name: str) -> None:
    async with database.writing() as tx:
        await readers.enrol_everywhere(tx, name)


async def read(database: Database, reader: Reader) -> int:
    """Take turns until there is nothing to read, and return how many that were."""
    turns = 0
    while (claimed := await readers.claim(database, reader)) is not None:
        await readers.turn(database, reader, claimed)
        turns += 1
    return turns


async def standing(database: Database, name: str, book: int = 1) -> Standing:
    async with database.reading([book]) as tx:
        return next(each for each in await readers.standings(tx) if each.name == name)


@asynccontextmanager
async def running(database: Database, *them: Reader, bell: Bell | None = None) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(readers.run(database, each, bell or Bell())) for each in them]
    yield
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def other(database: Database) -> int:
    """Give the number of a second book."""
    async with database.writing() as tx:
        found = await tx.tuples("INSERT INTO book (name) VALUES ('other') RETURNING id")
    return int(str(found[0][0]))


async def test_a_reader_hears_everything_once_and_goes_on_where_it_was(database: Database) -> None:
    ear = Ear()
    reader = Reader("ear", ear)
    await tell(database, Line("test.told", "1"), Line("test.told", "2"))
    await enrolled(database, "ear")
    assert (await read(database, reader), await read(database, reader)) == (1, 0)
    await tell(database, Line("test.told", "3"))
    await read(database, reader)
    assert ear.heard == ["1-1-0", "1-1-1", "1-2-0"]
    assert (await standing(database, "ear")).lag == 0


async def test_one_that_was_away_for_long_catches_up_by_pages_and_turns(database: Database) -> None:
    for number in range(50):
        await tell(database, *(Line("test.told", str(number)) for _ in range(4)), seal=False)
    await sweep(database)
    ear = Ear()
    await enrolled(database, "ear")
    assert (await standing(database, "ear")).lag == 50
    assert await read(database, Reader("ear", ear, most=7)) == 2
    assert ear.heard == [f"1-{row}-{place}" for row in range(1, 51) for place in range(4)]
    assert ear.tried == 29


async def test_one_that_begins_now_hears_only_what_comes(database: Database) -> None:
    await tell(database, Line("test.told", "1"))
    async with database.writing(book=1) as tx:
        await readers.enrol(tx, "ear", from_now=True)
        await readers.enrol(tx, "ear")
    await tell(database, Line("test.told", "2"))
    ear = Ear()
    await read(database, Reader("ear", ear))
    assert ear.heard == ["1-2-0"]


async def test_a_failing_reader_is_left_alone_and_holds_no_other_reader_and_no_other_book_back(
    database: Database, other: int
) -> None:
    deaf, well = Ear(deaf=[1]), Ear()
    await tell(database, Line("test.told", "1"))
    await tell(database, Line("test.told", "1"), book=other)
    for name in ("deaf", "well"):
        await enrolled(database, name)
    await read(database, Reader("deaf", deaf))
    await read(database, Reader("well", well))
    assert deaf.heard == [f"{other}-1-0"]
    assert sorted(well.heard) == ["1-1-0", f"{other}-1-0"]
    failing = await standing(database, "deaf")
    assert (failing.attempts, failing.problem, failing.lag) == (1, "ConnectionError: nobody there", 1)
    assert failing.failing_since is not None
    assert failing.due_at > failing.failing_since


async def test_a_pause_doubles_up_to_a_limit_and_success_ends_it(database: Database, owner_dsn: str) -> None:
    ear = Ear(deaf=[1])
    reader = Reader("ear", ear)
    await tell(database, Line("test.told", "1"))
    await enrolled(database, "ear")
    pauses: list[float] = []
    for _ in range(14):
        hurry(owner_dsn)
        assert await read(database, reader) == 1
        pauses.append(pause(owner_dsn))
    assert all(0.3 < each / 2**place < 0.7 for place, each in enumerate(pauses[:9]))
    assert all(220 < each < 380 for each in pauses[10:])
    ear.deaf.clear()
    hurry(owner_dsn)
    await read(database, reader)
    after = await standing(database, "ear")
    assert (ear.heard, after.attempts, after.failing_since, after.problem) == (["1-1-0"], 0, None, None)


def hurry(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE clearhouse.event_reader SET due_at = clock_timestamp(), moved_at = clock_timestamp()")


def pause(dsn: str) -> float:
    """Return for how long the one reader is left alone from when it was last looked at."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT extract(epoch FROM due_at - moved_at) FROM clearhouse.event_reader").fetchone()
    assert row is not None
    return float(row[0])


async def test_of_many_processes_one_reads_a_book_at_a_time_and_everything_is_heard_in_order(
    database: Database, other: int
) -> None:
    ear = Ear()
    wanted = 40
    async with running(database, *(Reader("ear", ear, most=3) for _ in range(4))):
        for number in range(wanted // 2):
            for book in (1, other):
                await tell(database, Line("test.told", str(number)), book=book)
        await ear.until(lambda: len(ear.heard) >= wanted)
    for book in (1, other):
        assert [each for each in ear.heard if each.startswith(f"{book}-")] == [f"{book}-{n}-0" for n in range(1, 21)]


async def test_a_lease_is_kept_from_others_until_it_runs_out(database: Database, owner_dsn: str) -> None:
    ear = Ear()
    reader = Reader("ear", ear)
    await tell(database, Line("test.told", "1"))
    await enrolled(database, "ear")
    lost = await readers.claim(database, reader)
    assert lost is not None
    assert await readers.claim(database, reader) is None
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("UPDATE clearhouse.event_reader SET leased_until = clock_timestamp()")
    taken = await readers.claim(database, reader)
    assert taken is not None
    await readers.turn(database, reader, lost)  # it comes back from the dead: what it says is heard twice, and moves nothing
    assert (await standing(database, "ear")).number == 0
    await readers.turn(database, reader, taken)
    assert (ear.heard, (await standing(database, "ear")).number) == (["1-1-0", "1-1-0"], 2)


async def test_a_delivery_that_takes_too_long_is_given_up_before_somebody_else_begins(database: Database) -> None:
    async def never(_: Claim, __: Sequence[Event]) -> None:
        await asyncio.Event().wait()

    reader = Reader("slow", never, seconds=0.01)
    await tell(database, Line("test.told", "1"))
    await enrolled(database, "slow")
    await read(database, reader)
    assert (await standing(database, "slow")).problem == "TimeoutError: "
    assert reader.seconds < reader.lease_seconds


async def test_a_page_that_is_too_much_for_the_time_comes_in_smaller_parts(database: Database, owner_dsn: str) -> None:
    heard: list[str] = []

    async def slow(_: Claim, events: Sequence[Event]) -> None:
        if len(events) > 2:
            await asyncio.Event().wait()
        heard.extend(each.id for each in events)

    reader = Reader("slow", slow, most=100, seconds=0.01)
    await tell(database, *(Line("test.told", str(place)) for place in range(10)))
    await enrolled(database, "slow")
    while await read(database, reader):
        hurry(owner_dsn)
    assert heard == [f"1-1-{place}" for place in range(10)]


async def test_one_that_is_stopped_gives_its_lease_back(database: Database) -> None:
    begun = asyncio.Event()

    async def never(_: Claim, __: Sequence[Event]) -> None:
        begun.set()
        await asyncio.Event().wait()

    await tell(database, Line("test.told", "1"))
    async with running(database, Reader("ear", never)):
        await begun.wait()
    assert await readers.claim(database, Reader("ear", never)) is not None


async def test_a_family_of_readers_is_read_together_each_by_its_own_cursor(database: Database, other: int) -> None:
    heard: list[tuple[str, str]] = []

    async def hear(claimed: Claim, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)
        heard.extend((claimed.name, each.id) for each in events)

    async with database.writing(book=1) as tx:
        await readers.enrol(tx, "hook:a")
        await readers.enrol(tx, "hook:b")
        await readers.enrol(tx, "hooked")
    async with database.writing(book=other) as tx:
        await readers.enrol(tx, "hook:c")
    for book in (1, other):
        await tell(database, Line("test.told", "1"), book=book)
    assert await read(database, Reader("hook:", hear)) == 3
    assert sorted(heard) == [("hook:a", "1-1-0"), ("hook:b", "1-1-0"), ("hook:c", f"{other}-1-0")]
    async with database.writing(book=1) as tx:
        assert (await readers.dismiss(tx, "hook:a"), await readers.dismiss(tx, "hook:a")) == (True, False)


async def test_whoever_listens_is_woken_by_the_sequencer_and_after_a_lost_connection(
    database: Database, owner_dsn: str
) -> None:
    bell = Bell()
    listening = asyncio.create_task(listen(database, CHANNEL, bell))
    await bell.after(0, 30)
    strokes = bell.strokes
    await tell(database, Line("test.told", "1"))
    await bell.after(strokes, 30)
    assert bell.strokes > strokes
    strokes = bell.strokes
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await bell.after(strokes, 30)
    assert bell.strokes > strokes
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening


async def test_a_stroke_between_a_look_and_the_wait_is_not_missed() -> None:
    bell = Bell()
    strokes = bell.strokes
    bell.strike()
    await asyncio.wait_for(bell.after(strokes, 1_000), 5)


async def test_an_event_arrives_by_the_bell_and_not_by_the_sweep(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "SWEEP_SECONDS", 1_000)
    bell, ear = Bell(), Ear()
    await enrolled(database, "ear")
    listening = asyncio.create_task(listen(database, CHANNEL, bell))
    async with running(database, Reader("ear", ear), bell=bell):
        for number in range(3):
            await tell(database, Line("test.told", str(number)))
            await ear.until(lambda: len(ear.heard) > number)  # noqa: B023 - it is waited for in this turn
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening

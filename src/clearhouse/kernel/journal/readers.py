"""Readers of the events, each with a cursor of its own in every book.

Promise: every event reaches a reader at least once and in order; a reader works at one place at a time in a book, whatever
the number of processes; one that fails is tried again later and holds nobody back; one that was away goes on where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import msgspec
import structlog

from clearhouse import ids
from clearhouse.kernel.db.arrays import holdable
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.kernel.db.loops import Loop, heed
from clearhouse.kernel.journal.events import Cursor, Event, after, sql

CHANNEL = "clearhouse_sealed"
SWEEP_SECONDS = 1.0
GATHER_SECONDS = 0.01
PAGE_EVENTS = 2_000
PAGES_A_TURN = 20
DELIVERY_SECONDS = 10.0
LEASE_SECONDS_BEYOND = 5.0  # a delivery is given up so long before somebody else may begin it
BACK_OFF_SECONDS = 0.5
BACK_OFF_SECONDS_MAX = 300.0
LANES = 4
PROBLEM_LENGTH_MAX = 500
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to move a reader of one book, for a while."""

    book: int
    name: str
    lease: UUID
    number: int
    place: int
    attempts: int = 0

    @property
    def cursor(self) -> Cursor:
        """Where it stands."""
        return Cursor(self.number, self.place)


Deliver = Callable[[Claim, Sequence[Event]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: `deliver` returns when the events have arrived, and raises if any of them has not.

    A reader is known in every book. A name that ends with a colon stands for all readers whose names begin with it; each of
    those was enrolled in a book of its own.
    """

    name: str
    deliver: Deliver
    most: int = PAGE_EVENTS
    seconds: float = DELIVERY_SECONDS
    lanes: int = LANES
    close: Callable[[], Awaitable[None]] | None = None

    @property
    def is_family(self) -> bool:
        """Whether the name stands for many."""
        return self.name.endswith(":")

    @property
    def last_name(self) -> str:
        """The end of the range of names that are meant."""
        return self.name + "~" if self.is_family else self.name

    @property
    def lease_seconds(self) -> float:
        """How long nobody else may begin."""
        return self.seconds + LEASE_SECONDS_BEYOND


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a reader has come in a book: the journal row it reads next, and how many there are from there on."""

    name: str
    number: int
    place: int
    lag: int
    moved_at: datetime
    due_at: datetime
    attempts: int = 0
    failing_since: datetime | None = None
    problem: str | None = None


async def enrol(tx: Tx, name: str, *, from_now: bool = False) -> None:
    """Make a reader of the transaction's book known, once; it begins with the first event, or with the next one."""
    await tx.do(sql["enrol"], book=tx.book, name=name, from_now=from_now)


async def enrol_everywhere(tx: Tx, name: str) -> None:
    """Make a reader of every book known; it begins with the first event."""
    await tx.do(sql["enrol_everywhere"], name=name)


async def dismiss(tx: Tx, name: str) -> bool:
    """Forget a reader of the transaction's book, and tell whether there was one."""
    return bool(await tx.do(sql["dismiss"], book=tx.book, name=name))


async def standings(tx: Tx, *, after: str = "", most: int = 100) -> list[Standing]:
    """Return the readers of the transaction's book in the order of their names."""
    return await tx.rows(sql["standings"], Standing, book=tx.book, after=after, most=most)


async def claim(database: Database, reader: Reader) -> Claim | None:
    """Take the lease of a reader in a book where it has something to read, if there is one that nobody has."""
    async with database.writing() as tx:
        return await tx.row(
            sql["claim"], Claim, first=reader.name, last=reader.last_name, lease=ids.fresh(), seconds=reader.lease_seconds
        )


async def turn(database: Database, reader: Reader, claimed: Claim) -> None:
    """Deliver what there is, page by page, and give the lease back; a failure is written down and tried again later."""
    try:
        problem = await _tried(database, reader, claimed)
        await (_give_back(database, claimed) if problem is None else _fail(database, claimed, problem))
    except DatabaseFault as fault:
        _log.warning("not done, tried again when the lease has run out", reader=claimed.name, reason=str(fault))
    except asyncio.CancelledError:
        with suppress(DatabaseFault):
            await _give_back(database, claimed)
        raise


async def _tried(database: Database, reader: Reader, claimed: Claim) -> str | None:
    try:
        await _drain(database, reader, claimed)
    except DatabaseFault:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the other side does, it is this reader's affair alone
        _log.warning("events were not delivered", reader=claimed.name, book=claimed.book, reason=repr(error))
        return f"{type(error).__name__}: {error}"
    return None


async def _drain(database: Database, reader: Reader, claimed: Claim) -> None:
    cursor, most = claimed.cursor, max(1, reader.most >> 2 * claimed.attempts)  # what was too much in time comes in parts
    for _ in range(PAGES_A_TURN):
        async with database.reading([claimed.book]) as tx:
            page = await after(tx, cursor, most=most)
        if page.cursor == cursor:
            return
        if page.events:
            async with asyncio.timeout(reader.seconds):
                await reader.deliver(claimed, page.events)
        if not await _move(database, claimed, page.cursor, seconds=reader.lease_seconds):
            return  # it was dismissed, or somebody else has it by now
        cursor = page.cursor


async def _move(database: Database, claimed: Claim, cursor: Cursor, *, seconds: float) -> bool:
    async with database.writing() as tx:
        tx.later(sql["unhurried"])
        return bool(await tx.do(
            sql["move"], book=claimed.book, name=claimed.name, lease=claimed.lease, number=cursor.number, place=cursor.place,
            seconds=seconds,
        ))  # fmt: skip


async def _give_back(database: Database, claimed: Claim) -> None:
    async with database.writing() as tx:
        tx.later(sql["unhurried"])
        tx.later(sql["give_back"], book=claimed.book, name=claimed.name, lease=claimed.lease)


async def _fail(database: Database, claimed: Claim, problem: str) -> None:
    async with database.writing() as tx:
        await tx.do(
            sql["fail"], book=claimed.book, name=claimed.name, lease=claimed.lease, seconds=BACK_OFF_SECONDS,
            seconds_max=BACK_OFF_SECONDS_MAX, problem=holdable(problem)[:PROBLEM_LENGTH_MAX],
        )  # fmt: skip


async def run(database: Database, reader: Reader, bell: Bell) -> None:
    """Read whenever something was numbered, and now and then; in several books at once, until cancelled."""
    try:
        await _run(database, reader, bell)
    finally:
        if reader.close is not None:
            await reader.close()


async def _run(database: Database, reader: Reader, bell: Bell) -> None:
    free, loops = asyncio.Semaphore(reader.lanes), database.loops
    with loops.counted(f"reader_{reader.name}") as turning:
        async with asyncio.TaskGroup() as turns:
            if not reader.is_family:
                turns.create_task(loops.forever(f"enrol_{reader.name}", partial(_enrol, database, reader), SWEEP_SECONDS))
            while True:
                heed()
                strokes = bell.strokes
                await free.acquire()
                claimed = await _claimed(database, reader, turning)
                if claimed is not None:
                    turns.create_task(turn(database, reader, claimed)).add_done_callback(lambda _: free.release())
                    continue
                free.release()
                await bell.after(strokes, SWEEP_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)  # let a few more be numbered: one page takes them all


async def _claimed(database: Database, reader: Reader, turning: Loop) -> Claim | None:
    try:
        found = await claim(database, reader)
    except DatabaseFault as fault:
        _log.warning("not done, tried again soon", reader=reader.name, reason=str(fault))
        return None
    turning.came_round()
    return found


async def _enrol(database: Database, reader: Reader) -> None:
    """Make the reader known in books that are new."""
    async with database.writing() as tx:
        await enrol_everywhere(tx, reader.name)

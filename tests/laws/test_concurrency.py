"""The laws of many at once: writers and sequencers in several processes, and days closed under their feet.

As a script this file is one of those processes: it opens its own doors, does what its job says, and tells what was answered.
"""

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from clearhouse import clock, ids
from clearhouse.app import logs, worker
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.roles import scopes_of
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal import reading
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.ledger import verification
from clearhouse.kernel.ledger.accounts import OpenAccount
from clearhouse.kernel.ledger.days import CloseDay
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction
from clearhouse.money import minor_units
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from serving import libraries
from trying import SOAK

ACCOUNTS = [f"account:{number}" for number in range(20)]
BATCH = 5
BETWEEN_CLOSINGS = 5
DAYS = 100 if SOAK else 14
HOT = "hot"
MAIN = 1
PROCESSES = 4
ROUNDS = 200 if SOAK else 10
PURSES = [f"purse:{number}" for number in range(4)]
ROWS = 4_000 if SOAK else 150
SECONDS_MAX = 110.0 if not SOAK else 3_000.0
WRITERS = 8

Counters = tuple[int, int, int, int]


class Job(msgspec.Struct):
    """What a process does until it is told to stop: post on the first of these days that is open, or only seal."""

    dsn: str
    number: int = 0
    shared: list[str] = []
    days: tuple[date | None, ...] = (None,)
    seals: bool = False


class Told(msgspec.Struct):
    """A transaction that was asked for, and its answer: its transfers, or why not."""

    command: PostTransaction
    transfers: list[str] = []
    effective: date | None = None
    refused: str = ""


# One of the processes --------------------------------------------------------------------------------------------------


def caller(number: int) -> Caller:
    scopes = {MAIN: scopes_of(["operator"])}
    return Caller(ids.derived("writer", str(number)), f"process {number}", books={"main": MAIN}, scopes=scopes)


@asynccontextmanager
async def doors(dsn: str) -> AsyncGenerator[Door]:
    database = await Database.open(dsn)
    door = Door(database)
    yield door
    await door.close()
    await database.close()


async def told_to_go() -> None:
    """Say that everything is open, and wait until the others are as far."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


async def work(job: Job) -> list[Told] | int:
    async with doors(job.dsn) as door:
        await told_to_go()
        if job.seals:
            return await sealed(door.database)
        working = asyncio.create_task(worker.work(door.database, door.committed))
        stop = asyncio.create_task(told_to_go())
        answers = await asyncio.gather(*(written(door, job, place, stop) for place in range(WRITERS)))
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return [each for its in answers for each in its]


async def sealed(database: Database) -> int:
    """Number and chain whatever comes; return how many rows that were."""
    stop, count = asyncio.create_task(told_to_go()), 0
    while not stop.done():
        count += await sweep(database)
        await asyncio.sleep(0)
    return count


async def written(door: Door, job: Job, place: int, stop: "asyncio.Task[None]") -> list[Told]:
    """Post one transaction after another, at times several at once, and remember every answer."""
    told: list[Told] = []
    own: list[str] = []
    days = list(job.days)
    while not stop.done():
        asked = [command(job, own, days[0]) for _ in range(random.choice([1, 1, 1, BATCH]))]
        answers = await door.submit(commands.POST, asked, caller=caller(job.number), book=MAIN, key=f"{place}-{len(told)}")
        told += [told_of(*each) for each in zip(asked, answers, strict=True)]
        for each in told[-len(asked) :]:
            leg = each.command.transfers[0]
            if leg.pending and leg.expires_at is None:
                own += each.transfers
            if each.refused == "day_closed" and each.command.effective == days[0]:
                days.pop(0)
    return told


def told_of(asked: PostTransaction, answer: Posted | Refusal) -> Told:
    if isinstance(answer, Refusal):
        return Told(asked, refused=answer.code)
    return Told(asked, answer.transfers, answer.effective)


def command(job: Job, own: list[str], day: date | None) -> PostTransaction:
    """Return one of everything that can be asked; a hold of one's own is ended by one who takes it from the list."""
    hold, paid = random.choice(job.shared[::2]), random.choice(job.shared[1::2])
    legs = random.choice([
        [movement(*random.sample(ACCOUNTS, 2))],
        [movement(*random.sample([HOT, random.choice(ACCOUNTS)], 2))],
        [movement(*random.sample(PURSES, 2))],
        [movement(*random.sample(PURSES, 2)), movement(*random.sample([HOT, *ACCOUNTS], 2))],
        [movement(*random.sample([*PURSES, *ACCOUNTS], 2), pending=True)],
        [expiring(*random.sample(ACCOUNTS, 2))],
        [Leg(capture=hold, amount="0.01")],
        [Leg(reverse=paid, amount="0.01")],
        [ending(own.pop(0)) if own else movement(*random.sample(ACCOUNTS, 2))],
    ])  # fmt: skip
    return PostTransaction(legs, effective=random.choice([day, day, None]))


def movement(debit: str, credit: str, *, pending: bool = False) -> Leg:
    return Leg(debit=debit, credit=credit, amount=f"{random.randrange(1, 10)}.00", currency="USD", pending=pending)


def expiring(debit: str, credit: str) -> Leg:
    soon = clock.now() + timedelta(seconds=1 + random.random())
    return Leg(debit=debit, credit=credit, amount="1.00", currency="USD", pending=True, expires_at=soon)


def ending(hold: str) -> Leg:
    return random.choice([Leg(capture=hold), Leg(capture=hold, amount="0.50", final=True), Leg(release=hold)])


# All of them ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Others:
    """The other processes."""

    running: Sequence[asyncio.subprocess.Process]

    async def go(self) -> None:
        """Wait until all of them are as far, and let them go on together."""
        for each in self.running:
            assert each.stdin is not None
            assert each.stdout is not None
            assert await each.stdout.readline() == b"ready\n"
        for each in self.running:
            assert each.stdin is not None
            each.stdin.write(b"go\n")

    async def told(self) -> list[bytes]:
        """Return what each of them says in the end; none may say that anything went wrong."""
        said = await asyncio.gather(*(each.communicate() for each in self.running))
        assert [(each.returncode, complaint) for each, (_, complaint) in zip(self.running, said, strict=True)] == [
            (0, b"") for _ in self.running
        ]
        return [text for text, _ in said]


@asynccontextmanager
async def others(jobs: Sequence[Job]) -> AsyncGenerator[Others]:
    """Run a process for each job, and leave none behind."""
    environment = os.environ | {"PYTHONPATH": f"{libraries()}{os.pathsep}{Path(__file__).parent.parent}"}
    pipe = asyncio.subprocess.PIPE
    arguments = [(sys.executable, "-P", __file__, msgspec.json.encode(job).decode()) for job in jobs]
    running = [
        await asyncio.create_subprocess_exec(*each, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
        for each in arguments
    ]
    try:
        async with asyncio.timeout(SECONDS_MAX):
            yield Others(running)
    finally:
        for each in running:
            if each.returncode is None:
                each.kill()
                await each.wait()


async def asked(door: Door, *wanted: PostTransaction) -> list[Told]:
    answers = await door.submit(commands.POST, wanted, caller=caller(-1), book=MAIN)
    return [told_of(*each) for each in zip(wanted, answers, strict=True)]


@pytest.fixture
async def door(app_dsn: str) -> AsyncGenerator[Door]:
    async with doors(app_dsn) as opened:
        wanted = [OpenAccount(code=code, asset="USD") for code in (HOT, *ACCOUNTS)]
        wanted += [OpenAccount(code=code, asset="USD", floor="0.00") for code in PURSES]
        await opened.submit(commands.OPEN_ACCOUNT, wanted, caller=caller(-1), book=MAIN)
        yield opened


@pytest.fixture
async def shared(door: Door) -> list[Told]:
    """Give every purse a little, and make holds and payments that everybody captures and reverses."""
    filled = [movement(HOT, purse) for purse in PURSES]
    large = [Leg(debit=HOT, credit=each, amount="99999.00", currency="USD", pending=True) for each in ACCOUNTS[:2]]
    paid = [msgspec.structs.replace(each, pending=False) for each in large]
    both = [leg for pair in zip(large, paid, strict=True) for leg in pair]
    return await asked(door, PostTransaction(filled), PostTransaction(both))


def jobs(dsn: str, shared: Sequence[Told], count: int, days: tuple[date | None, ...] = (None,)) -> list[Job]:
    return [Job(dsn, number, shared=shared[-1].transfers, days=days) for number in range(count)]


def answered(texts: Sequence[bytes]) -> list[Told]:
    return [each for text in texts for each in msgspec.json.decode(text, type=list[Told])]


# What the answers come to --------------------------------------------------------------------------------------------


def booked(told: Sequence[Told]) -> dict[str, int]:
    """Return how many transfers each transaction has, as was answered."""
    return {each.transfers[0].replace("trf", "trx"): len(each.transfers) for each in told if each.transfers}


def replayed(told: Sequence[Told]) -> dict[str, Counters]:
    """Return the four counters of each account as the answers make them, once what expires has expired."""
    legs = {name: leg for each in told for name, leg in zip(each.transfers, each.command.transfers, strict=False)}
    sums = {code: [0, 0, 0, 0] for code in (HOT, *ACCOUNTS, *PURSES)}
    for leg in legs.values():
        first = legs[leg.capture or leg.release or leg.reverse or ""] if leg.debit is None else leg
        posted, held = effect(leg, first)
        sides = (first.credit, first.debit) if leg.reverse else (first.debit, first.credit)
        for place, code in enumerate(sides):
            sums[code or ""][place] += posted
            sums[code or ""][place + 2] += held
    return {code: (a, b, c, d) for code, (a, b, c, d) in sums.items()}


def effect(leg: Leg, first: Leg) -> tuple[int, int]:
    """Return what a leg adds to what is posted and to what is held, given the one that it aims at."""
    whole = minor_units(first.amount or "", 2)
    amount = minor_units(leg.amount, 2) if leg.amount else whole
    if leg.capture:
        return amount, -(whole if leg.final else amount)
    if leg.release:
        return 0, -whole
    if leg.expires_at:
        return 0, 0
    return (0, amount) if leg.pending else (amount, 0)


@dataclass(frozen=True, slots=True)
class Standings:
    """An account's counters as they are stored."""

    code: str
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    @property
    def counters(self) -> Counters:
        return self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending


async def stored(door: Door) -> dict[str, Counters]:
    statement = "SELECT code, debits_posted, credits_posted, debits_pending, credits_pending FROM ledger_account"
    async with door.database.reading([MAIN]) as tx:
        return {each.code: each.counters for each in await tx.rows(statement, Standings)}


async def transactions(door: Door) -> dict[str, int]:
    """Return how many transfers each transaction has, but for those that let holds expire."""
    statement = "SELECT transaction, count(*) FROM ledger_transfer WHERE kind <> 4 GROUP BY transaction"
    async with door.database.reading([MAIN]) as tx:
        rows = msgspec.convert(await tx.tuples(statement), list[tuple[UUID, int]])
    return {ids.text("trx", transaction): count for transaction, count in rows}


async def settled(door: Door) -> None:
    """Wait until all that expires has expired, and everything is numbered."""
    open_holds = "SELECT 1 FROM ledger_hold WHERE state = 'pending' AND expires_at IS NOT NULL LIMIT 1"
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            await worker.expire_holds(door.database)
            await worker.total_days(door.database)
            async with door.database.reading([MAIN]) as tx:
                if not await tx.tuples(open_holds):
                    break
        while await sweep(door.database):
            pass


async def whole(door: Door) -> list[reading.Entry]:
    """See that ledger and journal verify and that no number is missing or twice; return the journal."""
    async with door.database.reading([MAIN]) as tx:
        ledger, verdict = await verification.verify(tx), await reading.verify(tx)
        rows = await reading.page(tx, most=10**9)
    assert ledger.intact, ledger
    assert verdict.intact, verdict
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert (verdict.rows, verdict.unsealed) == (len(rows), 0)
    return rows


class Line(msgspec.Struct):
    """A line of the journal, as far as it is asked here."""

    event: str
    subject: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class Dated(msgspec.Struct):
    """On which day something counts."""

    effective: date


def lines(rows: Sequence[reading.Entry]) -> list[Line]:
    return [line for row in rows for line in msgspec.json.decode(row.lines, type=list[Line])]


def booked_too_late(journal: Sequence[Line]) -> list[Line]:
    """Return what was posted on a day after the line that tells of its closing."""
    sealed_to = date.min
    late: list[Line] = []
    for line in journal:
        if line.event == "ledger.day_closed":
            sealed_to = date.fromisoformat(line.subject)
        elif line.event == "ledger.posted" and msgspec.json.decode(line.data, type=Dated).effective <= sealed_to:
            late.append(line)
    return late


async def more(door: Door, rows: int) -> None:
    """Wait until others have written so many rows more into the journal, each of a batch."""
    async with door.database.reading([MAIN]) as tx:
        before = await last_row(tx)
    while True:
        async with door.database.reading([MAIN]) as tx:
            if await last_row(tx) >= before + rows:
                return


async def last_row(tx: Tx) -> int:
    return msgspec.convert(await tx.tuples("SELECT max(id) FROM journal"), list[tuple[int]])[0][0]


async def close_in_turn(door: Door, days: Sequence[date]) -> list[str]:
    """Close one day after another, each once the others have posted some more; return what could not be closed."""
    refused: list[str] = []
    for day in days:
        await more(door, BETWEEN_CLOSINGS)
        answer = await door.submit(commands.CLOSE_DAY, [CloseDay(day)], caller=caller(-1), book=MAIN)
        refused += [each.code for each in answer if isinstance(each, Refusal)]
        await worker.total_days(door.database)
    return refused


async def wrong_totals(door: Door) -> list[tuple[object, ...]]:
    """Return the closings whose sums are not those of what counts on their days."""
    statement = """
        SELECT s.day, t.transfers, e.transfers, t.debits, e.amount FROM ledger_seal AS s
        LEFT JOIN ledger_seal_total AS t ON t.book = s.book AND t.day = s.day
        CROSS JOIN LATERAL (
            SELECT count(*) AS transfers, sum(amount) AS amount FROM ledger_transfer
            WHERE kind IN (0, 2, 5) AND effective > s.since AND effective <= s.day
        ) AS e
        WHERE s.totalled_at IS NULL
            OR (coalesce(t.transfers, 0), t.debits, t.credits) IS DISTINCT FROM (e.transfers, e.amount, e.amount)
    """
    async with door.database.reading([MAIN]) as tx:
        return await tx.tuples(statement)


# The laws ------------------------------------------------------------------------------------------------------------


async def test_what_32_writers_in_4_processes_were_answered_is_what_the_books_hold(
    door: Door, app_dsn: str, shared: list[Told]
) -> None:
    async with others(jobs(app_dsn, shared, PROCESSES)) as writers:
        await writers.go()
        await more(door, ROWS)
        await writers.go()
        told = shared + answered(await writers.told())
    await settled(door)
    assert {each.refused for each in told} <= {"", "insufficient_funds"}
    assert await transactions(door) == booked(told)
    assert await stored(door) == replayed(told)
    posted = [line.subject for line in lines(await whole(door)) if line.event == "ledger.posted"]
    assert sorted(posted) == sorted(booked(told))


async def test_two_sequencers_at_once_number_every_row_once_and_leave_no_gap(door: Door, app_dsn: str) -> None:
    async with others([Job(app_dsn, seals=True) for _ in range(2)]) as sequencers:
        await sequencers.go()
        for _ in range(ROUNDS):
            for code in ACCOUNTS:
                assert not (await asked(door, PostTransaction([movement(HOT, code)])))[0].refused
        await sequencers.go()
        counts = [int(text) for text in await sequencers.told()]
    last = 0
    while count := await sweep(door.database):
        last += count
    assert sum(counts) + last == len(await whole(door))


async def test_nothing_is_booked_into_a_day_once_it_is_closed_and_its_totals_are_right(
    door: Door, app_dsn: str, shared: list[Told]
) -> None:
    today = clock.now().date()
    days = [today - timedelta(days=back) for back in range(DAYS, -1, -1)]
    async with others(jobs(app_dsn, shared, 2, (*days, None))) as writers:
        await writers.go()
        assert await close_in_turn(door, days) == []
        await writers.go()
        told = shared + answered(await writers.told())
    await settled(door)
    assert {each.refused for each in told} - {"insufficient_funds"} == {"", "day_closed"}
    assert booked_too_late(lines(await whole(door))) == []
    assert await wrong_totals(door) == []
    assert await stored(door) == replayed(told)


if __name__ == "__main__":
    logs.configure("info")
    found = asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Job)))
    sys.stdout.buffer.write(msgspec.json.encode(found))

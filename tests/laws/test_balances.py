"""The law of balances in time: after any instant and at the end of any day they are what was posted until then."""

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import clock, ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.ledger import accounts, balances
from clearhouse.kernel.ledger.accounts import Account, OpenAccount
from clearhouse.kernel.ledger.balances import Balance
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.money import decimal_text
from clearhouse.slices.operations import commands
from trying import tried

MAIN = 1
NAMES = ("bank", "shop", "till")
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
SCOPES = frozenset({"ledger:post", "ledger:accounts"})


class Wish(NamedTuple):
    """What is asked for: money that moves or is held, or (with no amount) the capture of what was held first."""

    debit: int
    step: int
    amount: int
    pending: bool
    days_back: int


class Entry(NamedTuple):
    """A line of the paper: what was booked when, for which day, between whom, and how much of it pends."""

    booked: datetime
    effective: date
    debit: str
    credit: str
    posted: int
    pending: int


@dataclass
class Paper:
    """Everything that was booked, and the holds that are still there."""

    entries: list[Entry] = field(default_factory=list[Entry])
    holds: list[tuple[str, Entry]] = field(default_factory=list[tuple[str, Entry]])

    def figures(self, code: str, entries: Sequence[Entry]) -> tuple[str, str, str, str]:
        out, into = [e for e in entries if e.debit == code], [e for e in entries if e.credit == code]
        sums = (sum(getattr(e, what) for e in side) for what in ("posted", "pending") for side in (out, into))
        return tuple(decimal_text(each, 2) for each in sums)  # type: ignore[return-value] # four of them

    def until(self, code: str, instant: datetime) -> tuple[str, str, str, str]:
        return self.figures(code, [each for each in self.entries if each.booked <= instant])

    def on(self, code: str, day: date) -> tuple[str, str]:
        return self.figures(code, [each for each in self.entries if each.effective <= day])[:2]


@dataclass(frozen=True)
class World:
    """A database with its door, on a loop of its own."""

    runner: asyncio.Runner
    database: Database
    door: Door
    numbers: "count[int]"

    async def submit(self, kind: Any, asked: Any) -> Any:
        caller = Caller(ids.fresh(), "law", books={"main": MAIN}, scopes={MAIN: SCOPES})
        return (await self.door.submit(kind, [asked], caller=caller, book=MAIN))[0]

    async def play(self, wishes: Sequence[Wish]) -> tuple[Paper, dict[str, Account]]:
        """Post what is wished, in accounts of its own, and write it down."""
        number = next(self.numbers)
        codes = [f"{name}:{number}" for name in NAMES]
        opened = {code: await self.submit(commands.OPEN_ACCOUNT, OpenAccount(code, "USD")) for code in codes}
        paper = Paper()
        for wish in wishes:
            await self.move(paper, codes, wish)
        return paper, opened

    async def move(self, paper: Paper, codes: Sequence[str], wish: Wish) -> None:
        """Post one wish."""
        effective = (clock.today() - wish.days_back * DAY) if wish.days_back else None
        if wish.amount:
            debit, credit = codes[wish.debit], codes[(wish.debit + wish.step) % len(codes)]
            leg, amount = Leg(debit, credit, decimal_text(wish.amount, 2), "USD", pending=wish.pending), wish.amount
            posted, pending = (0, amount) if wish.pending else (amount, 0)
        elif paper.holds:
            name, held = paper.holds.pop(0)
            leg, debit, credit = Leg(capture=name), held.debit, held.credit
            posted, pending = held.pending, -held.pending
        else:
            return
        answer = await self.submit(commands.POST, PostTransaction([leg], effective=effective))
        entry = Entry(answer.booked, answer.effective, debit, credit, posted, pending)
        paper.entries.append(entry)
        if wish.amount and wish.pending:
            paper.holds.append((answer.transfers[0], entry))

    async def shown(self, account: Account, *, at: datetime | None = None, on: date | None = None) -> Balance:
        async with self.database.reading([MAIN]) as tx:
            found = await accounts.find(tx, account.id, None)
            if at is not None:
                return await balances.balance_at(tx, found, at)
            return balances.balance_now(found) if on is None else await balances.balance_on(tx, found, on)


@pytest.fixture
def world(app_dsn: str) -> Generator[World]:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(app_dsn))
        door = Door(database)
        yield World(runner, database, door, count())
        runner.run(door.close())
        runner.run(database.close())


def told(balance: Balance) -> tuple[str | None, ...]:
    return balance.debits_posted, balance.credits_posted, balance.debits_pending, balance.credits_pending


wishes = st.lists(
    st.builds(Wish, st.integers(0, 2), st.integers(1, 2), st.integers(0, 5_000), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


async def look_back(world: World, asked: Sequence[Wish]) -> None:
    paper, opened = await world.play(asked)
    instants = {each.booked for each in paper.entries} | {each.booked - TICK for each in paper.entries}
    days = [clock.today() - back * DAY for back in range(-1, 5)]
    for code, account in opened.items():
        assert told(await world.shown(account)) == paper.figures(code, paper.entries)
        for instant in sorted(instants):
            assert told(await world.shown(account, at=instant)) == paper.until(code, instant), (code, instant)
        for day in days:
            shown = await world.shown(account, on=day)
            assert (shown.debits_posted, shown.credits_posted) == paper.on(code, day), (code, day)


@pytest.mark.timeout(3_600)
def test_a_balance_at_any_time_is_what_was_booked_until_then(world: World) -> None:
    @given(wishes)
    @tried(25, many=3_000)
    def law(asked: list[Wish]) -> None:
        world.runner.run(look_back(world, asked))

    law()

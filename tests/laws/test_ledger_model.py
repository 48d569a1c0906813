"""The law of the whole ledger: whatever is asked, in whatever order, it answers and stands as a small model of it does."""

import asyncio
from collections.abc import Coroutine
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import permutations
from typing import Any, ClassVar, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pytest
import time_machine
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from clearhouse import clock, ids
from clearhouse.kernel.access.books import OpenBook
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.ledger import accounts, balances, holds, posting, verification
from clearhouse.kernel.ledger.accounts import ChangeAccount, OpenAccount
from clearhouse.kernel.ledger.days import CloseDay
from clearhouse.kernel.ledger.standing import Normal, State
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction
from clearhouse.money import decimal_text
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from trying import tried

ACCOUNTS = """
    code      asset   normal   floor   ceiling
    bank      USD     debit    -       -
    till      USD     credit   0       -
    wallet    USD     credit   0       40
    loan      USD     debit    0       50
    shop      USD     credit   -       30
    bank      JPY     debit    -       -
    wallet    JPY     credit   0       40
"""
DECIMALS = {"USD": 2, "JPY": 0}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAIN = 1
Result = TypeVar("Result")


# The model: transactions are tried on a copy, and the copy is kept if nothing was wrong --------------------------------


@dataclass
class Purse:
    """An account on paper: what it has on its normal side, and what is held for leaving and for arriving."""

    normal: Normal
    floor: int | None
    ceiling: int | None
    state: str = "open"
    balance: int = 0
    leaving: int = 0
    arriving: int = 0

    def move(self, side: str, posted: int, pending: int) -> set[str]:
        """Move, and say what is wrong with it; a capture has kept the limits when its hold was made."""
        if side == self.normal:
            self.balance, self.arriving = self.balance + posted, self.arriving + pending
            over = self.ceiling is not None and self.balance + self.arriving > self.ceiling
            return self.shut() | ({"above_ceiling"} if over and pending >= 0 else set())
        self.balance, self.leaving = self.balance - posted, self.leaving + pending
        short = self.floor is not None and self.balance - self.leaving < self.floor
        return self.shut() | ({"insufficient_funds"} if short and pending >= 0 else set())

    def shut(self) -> set[str]:
        return set() if self.state == "open" else {f"account_{self.state}"}


@dataclass
class Transfer:
    """A transfer on paper: `left` is what can still be captured of a hold, or reversed of anything posted."""

    kind: str
    debit: tuple[str, str]
    credit: tuple[str, str]
    left: int = 0
    expires: datetime | None = None
    pinned: bool = False


@dataclass
class Paper:
    """A ledger on paper."""

    purses: dict[tuple[str, str], Purse] = field(default_factory=dict[tuple[str, str], Purse])
    transfers: dict[str, Transfer] = field(default_factory=dict[str, Transfer])
    kept: dict[str, PostTransaction] = field(default_factory=dict[str, PostTransaction])
    sealed: date = date.min
    expired: int = 0

    def post(self, command: PostTransaction, at: datetime) -> "Paper | set[str]":
        """Return the ledger with a transaction written down, or what is wrong with the first leg that cannot be."""
        copy = deepcopy(self)
        if (command.id or "") in self.kept:
            return copy if self.kept[command.id or ""] == command else {"exists_with_different_content"}
        if command.effective is not None and command.effective <= self.sealed:
            return {"day_closed"}
        for name, leg in zip(transfer_ids(command), command.transfers, strict=True):
            faults = {"transfer_id_taken"} if name in copy.transfers else copy.leg(name, leg, at)
            if faults:
                return faults
        copy.kept[command.id or ""] = command
        return copy

    def leg(self, name: str, leg: Leg, at: datetime) -> set[str]:
        if leg.debit is not None:
            return self.movement(name, leg, at)
        aim = leg.capture or leg.release or leg.reverse or ""
        if aim not in self.transfers:
            return {"transfer_unknown"}
        if leg.reverse is not None:
            return self.reversal(name, leg, self.transfers[aim])
        return self.ending(self.transfers[aim], at) or self.freeing(name, leg, self.transfers[aim])

    def movement(self, name: str, leg: Leg, at: datetime) -> set[str]:
        debit, credit = (leg.debit or "", leg.currency or ""), (leg.credit or "", leg.currency or "")
        if debit == credit:
            return {"same_account"}
        amount = units(leg.amount, debit)
        faults = {"expiry_in_the_past"} if leg.expires_at is not None and leg.expires_at <= at else set[str]()
        self.transfers[name] = Transfer("hold" if leg.pending else "posted", debit, credit, amount, leg.expires_at)
        return faults | self.moved(debit, credit, *((0, amount) if leg.pending else (amount, 0)))

    def reversal(self, name: str, leg: Leg, original: Transfer) -> set[str]:
        if original.kind not in {"posted", "capture"}:
            return {"not_reversible"}
        amount = original.left if leg.amount is None else units(leg.amount, original.debit)
        if amount > original.left or not original.left:
            return {"above_original"}
        original.left -= amount
        self.transfers[name] = Transfer("reversal", original.credit, original.debit)
        return self.moved(original.credit, original.debit, amount, 0)

    def ending(self, hold: Transfer, at: datetime) -> set[str]:
        if hold.kind != "hold":
            return {"not_a_hold"}
        over = hold.expires is not None and hold.expires <= at
        faults = {"hold_pinned"} if hold.pinned else set[str]()
        return {"hold_ended"} if not hold.left else faults | ({"hold_expired"} if over else set())

    def freeing(self, name: str, leg: Leg, hold: Transfer) -> set[str]:
        amount = hold.left if leg.amount is None else units(leg.amount, hold.debit)
        if amount > hold.left:
            return {"above_hold"} | self.purses[hold.debit].shut() | self.purses[hold.credit].shut()
        freed = hold.left if leg.final or leg.release else amount
        hold.left -= freed
        self.transfers[name] = Transfer("release" if leg.release else "capture", hold.debit, hold.credit, amount)
        faults = self.moved(hold.debit, hold.credit, 0 if leg.release else amount, -freed)
        return set() if leg.release else faults

    def moved(self, debit: tuple[str, str], credit: tuple[str, str], posted: int, pending: int) -> set[str]:
        return self.purses[debit].move("debit", posted, pending) | self.purses[credit].move("credit", posted, pending)

    def expire(self, at: datetime) -> int:
        """Free what has run out and is not pinned."""
        due = [each for each in self.transfers.values() if each.kind == "hold" and each.left and not each.pinned]
        over = [each for each in due if each.expires is not None and each.expires <= at]
        for each in over:
            self.moved(each.debit, each.credit, 0, -each.left)
            each.left = 0
        self.expired += len(over)
        return len(over)


def units(text: str | None, account: tuple[str, str]) -> int:
    assert text is not None
    return int(text.replace(".", "")) if "." in text else int(text) * 10 ** DECIMALS[account[1]]


def transfer_ids(command: PostTransaction) -> list[str]:
    first = ids.parse("trx", command.id or "")
    return [
        (leg.id if place else None) or ids.text("trf", ids.after(first, place))
        for place, leg in enumerate(command.transfers)
    ]


# What is asked -------------------------------------------------------------------------------------------------------


class Movement(NamedTuple):
    """A wish to move, or to hold, so much from one account of an asset to another."""

    asset: str
    sides: tuple[str, str]
    amount: int
    pending: bool
    hours: int | None

    def leg(self, paper: Paper, own: dict[str, str], at: datetime) -> Leg:
        del paper, own
        amount = decimal_text(self.amount, DECIMALS[self.asset])
        expires = at + self.hours * HOUR if self.pending and self.hours is not None else None
        return Leg(*self.sides, amount, self.asset, pending=self.pending, expires_at=expires)


class Aimed(NamedTuple):
    """A wish to capture, release or reverse one of the transfers that are there, or should be, mostly one fit for it."""

    what: str
    which: int
    amount: int | None
    wild: bool

    def leg(self, paper: Paper, own: dict[str, str], at: datetime) -> Leg:
        del at
        kinds = {"posted", "capture"} if self.what == "reverse" else {"hold"}
        fit = [name for name, each in paper.transfers.items() if self.wild or (each.kind in kinds and each.left)]
        aims = [*fit, *own] or [ids.text("trf", ids.derived("nothing"))]
        aim = aims[self.which % len(aims)]
        asset = asset_of(aim, paper, own)
        amount = None if self.amount is None else decimal_text(self.amount, DECIMALS[asset])
        if self.what == "release":
            return Leg(release=aim)
        if self.what == "reverse":
            return Leg(reverse=aim, amount=amount)
        return Leg(capture=aim, amount=amount, final=self.what == "capture the last of")


def asset_of(aim: str, paper: Paper, own: dict[str, str]) -> str:
    return paper.transfers[aim].debit[1] if aim in paper.transfers else own.get(aim, "USD")


class New(NamedTuple):
    """A wish for a transaction of some legs, effective so many days ago; a last leg may bring an id of its own."""

    legs: list[Movement | Aimed]
    days: int | None
    own: int | None


class Again(NamedTuple):
    """A wish to send an earlier transaction once more, as it was or with something else in it."""

    which: int
    change: str | None


amounts = st.integers(1, 9) | st.integers(1, 45)
hours = st.none() | st.integers(0, 9)


def moving(asset: str, *codes: str) -> st.SearchStrategy[Movement | Aimed]:
    sides = st.sampled_from([*permutations(codes, 2), (codes[0], codes[0])])
    return st.builds(Movement, st.just(asset), sides, amounts, st.booleans(), hours)


movements = moving("USD", "bank", "till", "wallet", "loan", "shop") | moving("JPY", "bank", "wallet")
aims = st.sampled_from(["capture", "capture the last of", "release", "reverse"])
aimed = st.builds(Aimed, aims, st.integers(0, 999), st.none() | amounts, st.integers(0, 7).map(lambda each: each == 7))
legs = st.lists(movements | aimed, min_size=1, max_size=3)
new = st.builds(New, legs, st.none() | st.none() | st.integers(0, 4), st.none() | st.none() | st.integers(0, 9))
again = st.builds(Again, st.integers(0, 999), st.sampled_from([None, None, "reference", "transfers", "amount"]))


# The machine ---------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A database with its door, on a loop of its own, and the time it is there."""

    runner: asyncio.Runner
    database: Database
    door: Door
    person: UUID
    books: int = 0

    def run(self, work: Coroutine[Any, Any, Result], at: datetime) -> Result:
        with time_machine.travel(at, tick=False):
            return self.runner.run(work)


class LedgerMachine(RuleBasedStateMachine):
    """The ledger and the paper beside it."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.paper = Paper()
        self.at = self.began = clock.now()
        self.made = 0
        self.ids: dict[tuple[str, str], str] = {}

    def submit(self, kind: Kind[Any, Any], *asked: Any) -> list[Any]:
        work = self.world.door.submit(kind, asked, caller=self.caller, book=self.caller.book())
        return self.world.run(work, self.at)

    @initialize()
    def open_a_book(self) -> None:
        self.world.books += 1
        name = f"law-{self.world.books}"
        scopes = frozenset({"access:write", "ledger:post", "ledger:accounts", "ledger:close"})
        self.caller = Caller(self.world.person, "law", books={"main": MAIN}, scopes={MAIN: scopes})
        self.submit(commands.OPEN_BOOK, OpenBook(name))
        book = self.world.run(number(self.world.database, name), self.at)
        self.caller = Caller(self.world.person, "law", books={name: book}, scopes={book: scopes})
        for line in ACCOUNTS.split("\n")[2:-1]:
            self.open_an_account(*line.split())
        gifts = [("USD", "till", False), ("USD", "wallet", True), ("USD", "loan", True), ("JPY", "wallet", False)]
        self.post([New([Movement(asset, ("bank", to), 30, held, None)], None, None) for asset, to, held in gifts])

    def open_an_account(self, code: str, asset: str, normal: str, *limits: str) -> None:
        floor, ceiling = (None if each == "-" else each for each in limits)
        side: Normal = "credit" if normal == "credit" else "debit"
        opened = self.submit(commands.OPEN_ACCOUNT, OpenAccount(code, asset, side, floor, ceiling))[0]
        self.ids[code, asset] = opened.id
        low, high = (None if each is None else units(each, (code, asset)) for each in (floor, ceiling))
        self.paper.purses[code, asset] = Purse(side, low, high)

    @rule(batch=st.lists(new | new | again, min_size=2, max_size=8))
    def post(self, batch: list[New | Again]) -> None:
        asked: list[PostTransaction] = []
        expected: list[list[str] | set[str]] = []
        for wish in batch:
            command = self.command(wish)
            if command is None:
                continue
            outcome = self.paper.post(command, self.at)
            if isinstance(outcome, Paper):
                self.paper = outcome
            asked.append(command)
            expected.append(outcome if isinstance(outcome, set) else transfer_ids(command))
        answers = self.submit(commands.POST, *asked) if asked else []
        for command, answer, wanted in zip(asked, answers, expected, strict=True):
            answered(command, answer, wanted)

    def command(self, wish: New | Again) -> PostTransaction | None:
        if isinstance(wish, Again):
            kept = list(self.paper.kept.values())
            return changed(kept[wish.which % len(kept)], wish.change) if kept else None
        self.made += 1
        name = ids.derived("law", str(self.made))
        written: list[Leg] = []
        own = {ids.text("trf", ids.derived("law", str(self.made - 1))): "USD"}  # of the one before, even if it was refused
        for place, each in enumerate(wish.legs):
            leg = each.leg(self.paper, own, self.at)
            aim = leg.capture or leg.release or leg.reverse or ""
            own[ids.text("trf", ids.after(name, place))] = leg.currency or asset_of(aim, self.paper, own)
            written.append(leg)
        if wish.own is not None:
            brought = ids.text("trf", ids.derived("own", str(wish.own)))
            written[1:] = [msgspec.structs.replace(written[-1], id=brought)] if len(written) > 1 else []
        day = None if wish.days is None else (self.began - wish.days * DAY).date()
        return PostTransaction(written, id=ids.text("trx", name), effective=day)

    @rule(
        batch=st.lists(st.builds(New, st.lists(aimed | movements, min_size=1, max_size=2), st.none(), st.none()), min_size=2)
    )
    def post_what_ends_holds_and_reverses(self, batch: list[New | Again]) -> None:
        self.post(batch)

    @rule(which=st.integers(0, 99), state=st.sampled_from(["frozen", "open", "open", "closed"]))
    def become(self, which: int, state: State) -> None:
        name = list(self.ids)[which % len(self.ids)]
        purse = self.paper.purses[name]
        idle = purse.balance == purse.leaving == purse.arriving == 0
        answer = self.submit(commands.CHANGE_ACCOUNT, ChangeAccount(self.ids[name], state))[0]
        if purse.state == "closed":
            assert refusal(answer) == "account_state"
        elif state == "closed" and not idle:
            assert refusal(answer) == "account_in_use"
        else:
            assert answer.state == state
            purse.state = state

    @rule(which=st.integers(0, 99), floor=st.none() | st.integers(-20, 20))
    def limit(self, which: int, floor: int | None) -> None:
        name = list(self.ids)[which % len(self.ids)]
        purse = self.paper.purses[name]
        text = None if floor is None else decimal_text(floor, DECIMALS[name[1]])
        answer = self.submit(commands.CHANGE_ACCOUNT, ChangeAccount(self.ids[name], floor=text))[0]
        if purse.state == "closed":
            assert refusal(answer) == "account_state"
        elif None not in {floor, purse.ceiling} and (floor or 0) > (purse.ceiling or 0):
            assert refusal(answer) == "limits_crossed"
        else:
            assert answer.floor == text
            purse.floor = floor

    @rule(hours=st.integers(1, 6))
    def pass_the_time(self, hours: int) -> None:
        self.at += hours * HOUR
        assert self.world.run(expire(self.world.database, self.caller.book()), self.at) == self.paper.expire(self.at)

    @rule(hours=st.integers(1, 6))
    def pass_the_time_while_no_worker_comes(self, hours: int) -> None:
        self.at += hours * HOUR

    @rule(which=st.integers(0, 99))
    def pin_or_unpin_a_hold(self, which: int) -> None:
        made = [name for name, each in self.paper.transfers.items() if each.kind == "hold" and each.left]
        if not made:
            return
        name = made[which % len(made)]
        hold = self.paper.transfers[name]
        over = hold.expires is not None and hold.expires <= self.at
        done = self.world.run(pin(self.world.database, self.caller.book(), name, freeing=hold.pinned), self.at)
        assert done == (hold.pinned or not over)
        hold.pinned = not hold.pinned if done else hold.pinned

    @rule(days=st.integers(1, 4))
    def close_a_day(self, days: int) -> None:
        day = (self.began - days * DAY).date()
        answer = self.submit(commands.CLOSE_DAY, CloseDay(day))[0]
        if day <= self.paper.sealed:
            assert refusal(answer) == "day_already_closed"
        else:
            assert (answer.day, answer.since) == (day, max(self.paper.sealed, date.min))
            self.paper.sealed = day

    @invariant()
    def the_ledger_stands_as_the_paper_does(self) -> None:
        if not self.ids:
            return
        accounts_there, trial, verified = self.world.run(look(self.world.database, self.caller.book()), self.at)
        for each in accounts_there:
            purse = self.paper.purses[each.code, each.asset]
            shown = (each.balance, each.available, each.debits_pending, each.credits_pending)
            pending = (purse.arriving, purse.leaving)[:: 1 if purse.normal == "debit" else -1]
            figures = (purse.balance, purse.balance - purse.leaving, *pending)
            assert shown == tuple(decimal_text(figure, DECIMALS[each.asset]) for figure in figures), (each, purse)
        assert all(line.difference.strip("0.") == "" and line.debits_pending == line.credits_pending for line in trial)
        assert verified.intact, verified.fault
        assert verified.transfers == len(self.paper.transfers) + self.paper.expired


def answered(command: PostTransaction, answer: object, wanted: list[str] | set[str]) -> None:
    if isinstance(wanted, set):
        assert refusal(answer) in wanted, (command, answer)
        return
    assert isinstance(answer, Posted), (command, answer)
    assert (answer.id, answer.transfers) == (command.id, wanted)


def refusal(answer: object) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


def changed(command: PostTransaction, change: str | None) -> PostTransaction:
    first = command.transfers[0]
    if change == "reference":
        return msgspec.structs.replace(command, reference="another")
    if change == "transfers":
        return msgspec.structs.replace(command, transfers=[*command.transfers, first])
    if change == "amount" and first.debit is not None:
        other = "7" if first.currency == "JPY" else "0.07"
        return msgspec.structs.replace(
            command, transfers=[msgspec.structs.replace(first, amount=other), *command.transfers[1:]]
        )
    return command


async def number(database: Database, name: str) -> int:
    async with database.writing() as tx:
        return int(str((await tx.tuples("SELECT id FROM book WHERE name = %s", [name]))[0][0]))


async def expire(database: Database, book: int) -> int:
    async with database.writing(book=book) as tx:
        return len(await posting.expire_holds(tx, clock.now()))


async def pin(database: Database, book: int, name: str, *, freeing: bool) -> bool:
    async with database.writing(book=book) as tx:
        chosen = [ids.parse("trf", name)]
        return bool(await holds.unpin(tx, chosen) if freeing else await holds.pin(tx, chosen, clock.now()))


async def look(database: Database, book: int) -> tuple[list[accounts.Account], list[Any], verification.Verified]:
    async with database.reading([book]) as tx:
        return await accounts.listed(tx), await balances.trial_balance(tx), await verification.verify(tx)


@pytest.mark.timeout(3_600)
def test_the_ledger_answers_and_stands_as_its_model_does(app_dsn: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(app_dsn))
        door = Door(database)
        world = World(runner, database, door, ids.fresh())
        try:
            machine = type("MachineHere", (LedgerMachine,), {"world": world})
            run_state_machine_as_test(machine, settings=tried(25, many=2_000, steps=20))
        finally:
            runner.run(door.close())
            runner.run(database.close())

"""The law of approvals: whatever people say in whatever order, it answers and stands as a small model of it does."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import pytest
import time_machine
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from clearhouse import clock, ids
from clearhouse.app import worker
from clearhouse.kernel.access.books import OpenBook
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.principals import AddPrincipal
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals import inbox
from clearhouse.kernel.approvals.decisions import Approve, Reject, Withdraw
from clearhouse.kernel.approvals.policies import Level, SetPolicy, Sum
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from papers import PAPER, RELEASE, STRIKE, WRITE, Release, Strike, Write
from trying import tried

MAIN, HOURS, SMALL, LARGE = 1, 10, "99.99", "100.00"
PEOPLE: tuple[str, ...] = ("ann", "ben", "cid", "dot", "eve", "fay")
AUDITORS = ("dot", "eve")
LEVELS = ((2, PEOPLE), (1, AUDITORS))
SCOPES = frozenset({"test:paper", "approvals:decide", "approvals:withdraw", "approvals:policies", "access:write"})
Result = TypeVar("Result")
people, papers, texts = st.sampled_from(PEOPLE), st.sampled_from(["1", "2"]), st.sampled_from(["a", "b"])
turns = st.integers(0, 5)


# The model -----------------------------------------------------------------------------------------------------------


@dataclass
class Sheet:
    """A request on paper."""

    paper: str
    text: str
    levels: int
    until: datetime
    state: str = "pending"
    level: int = 1
    given: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def live(self) -> bool:
        return self.state in {"pending", "approved"}


def fills(level: int, levels: int, given: int, free: set[str]) -> bool:
    """Tell whether those who are free can fill what is left: auditors are people too, so the second level takes its own."""
    places = LEVELS[0][0] - given if level == 1 else 0
    audit = 1 if levels > 1 else 0
    return len(free) >= places + audit and len(free & set(AUDITORS)) >= audit


@dataclass
class Ledger:
    """All requests on paper, and who had a hand in what."""

    sheets: list[Sheet] = field(default_factory=list[Sheet])
    hands: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def live(self, paper: str) -> Sheet | None:
        return next((each for each in self.sheets if each.paper == paper and each.live), None)

    def end(self, sheet: Sheet, at: datetime) -> None:
        sheet.state = "expired" if sheet.state == "pending" and at >= sheet.until else "voided"

    def write(self, who: set[str], paper: str, text: str, levels: int, at: datetime) -> str:
        hands, live = self.hands.get(paper, set()) | who, self.live(paper)
        if live is None or live.text != text or at >= live.until or not hands.isdisjoint(live.given):
            if not fills(1, levels, 0, set(PEOPLE) - hands):
                return "nobody_can_approve"
            if live is not None:
                self.end(live, at)
            live = Sheet(paper, text, levels, at + timedelta(hours=HOURS))
            self.sheets.append(live)
        self.hands[paper] = hands
        return live.state

    def strike(self, who: str, paper: str, at: datetime) -> None:
        live = self.live(paper)
        if live is not None:
            self.end(live, at)
        self.hands.setdefault(paper, set()).add(who)

    def closed(self, sheet: Sheet, at: datetime) -> str:
        return "not_pending" if sheet.state != "pending" else "approval_expired" if at >= sheet.until else ""

    def approve(self, who: str, sheet: Sheet, level: int, at: datetime) -> str:
        hands = self.hands[sheet.paper]
        refusal = self.closed(sheet, at) or ("own_work" if who in hands else "")
        refusal = refusal or ("already_approved" if who in sheet.given else "")
        refusal = refusal or ("other_level" if level != sheet.level else "")
        refusal = refusal or ("not_approver" if who not in LEVELS[sheet.level - 1][1] else "")
        if refusal:
            return refusal
        given = sum(each == sheet.level for each in sheet.given.values())
        free = set(PEOPLE) - hands - set(sheet.given)
        could, can = (
            fills(sheet.level, sheet.levels, count, left) for count, left in ((given, free), (given + 1, free - {who}))
        )
        if sheet.level == 1 and could and not can:
            return "needed_later"
        sheet.given[who] = sheet.level
        if given + 1 == LEVELS[sheet.level - 1][0]:
            if sheet.level < sheet.levels:
                sheet.level += 1
            else:
                sheet.state, sheet.until = "approved", at + timedelta(hours=HOURS)
        return sheet.state

    def reject(self, who: str, sheet: Sheet, at: datetime) -> str:
        refusal = self.closed(sheet, at) or ("own_work" if who in self.hands[sheet.paper] else "")
        if not refusal:
            sheet.state = "rejected"
        return refusal or "rejected"

    def withdraw(self, who: str, sheet: Sheet, at: datetime) -> str:
        refusal = self.closed(sheet, at) or ("" if who in self.hands[sheet.paper] else "not_asker")
        if not refusal:
            sheet.state = "withdrawn"
        return refusal or "withdrawn"

    def waits(self, who: str, at: datetime) -> list[str]:
        """Return which requests wait for somebody."""
        return [
            str(place)
            for place, each in enumerate(self.sheets)
            if each.state == "pending" and at < each.until and who in LEVELS[each.level - 1][1]
            if who not in self.hands[each.paper] and who not in each.given
        ]


# The house -----------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A database and a door to it, for as many histories as there are: each has a book of its own."""

    runner: asyncio.Runner
    database: Database
    door: Door
    people: dict[str, UUID] = field(default_factory=dict[str, UUID])
    books: int = 0

    def run(self, work: Coroutine[Any, Any, Result], at: datetime) -> Result:
        with time_machine.travel(at, tick=False):
            return self.runner.run(work)


class ApprovalsMachine(RuleBasedStateMachine):
    """Approvals and the paper beside them."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.model = Ledger()
        self.at = clock.now()
        self.ids: list[str] = []
        self.book = MAIN
        self.who: dict[str, UUID] = {}

    def submit(self, who: UUID, kind: Kind[Any, Any], *asked: Any, book: int = 0) -> list[Any]:
        book = book or self.book
        caller = Caller(who, "somebody", books={"here": book}, scopes={book: SCOPES})
        self.at += timedelta(microseconds=1)
        return self.world.run(self.world.door.submit(kind, asked, caller=caller, book=book), self.at)

    @initialize()
    def open_book(self) -> None:
        self.world.books += 1
        name = f"book-{self.world.books}"
        self.submit(ids.fresh(), commands.OPEN_BOOK, OpenBook(name), book=MAIN)
        self.book = self.world.run(number(self.world.database, name), self.at)
        for each in PEOPLE:
            roles: list[Role] = ["approver", "auditor"] if each in AUDITORS else ["approver"]
            added = self.submit(ids.fresh(), commands.ADD_PRINCIPAL, AddPrincipal(each, roles=roles))[0]
            self.who[each] = ids.parse("prn", added.id)
        levels = [Level("approver", count=2), Level("auditor", at_least=[Sum(LARGE, "USD")])]
        assert self.submit(self.who["ann"], commands.SET_POLICY, SetPolicy(PAPER, levels, HOURS))[0].version == 1

    @rule(who=people, creator=people, paper=papers, text=texts, large=st.booleans())
    def write(self, who: str, creator: str, paper: str, text: str, *, large: bool) -> None:
        amount = LARGE if large else SMALL
        asked = Write(paper, text + amount, self.who[creator], amounts=((amount, "USD"),))
        answer = self.submit(self.who[who], WRITE, asked)[0]
        count = len(self.model.sheets)
        said = self.model.write({who, creator}, paper, text + amount, 2 if large else 1, self.at)
        assert said == told(answer)
        if len(self.model.sheets) > count:
            self.ids.append(answer.id)

    @rule(who=people, paper=papers)
    def strike(self, who: str, paper: str) -> None:
        self.submit(self.who[who], STRIKE, Strike(paper))
        self.model.strike(who, paper, self.at)

    @rule(turn=turns, words=st.lists(st.tuples(people, st.integers(1, 2)), min_size=1, max_size=4))
    def approve(self, turn: int, words: list[tuple[str, int]]) -> None:
        if not self.ids:
            return
        place = -1 - turn % len(self.ids)
        for who, level in words:
            answer = self.submit(self.who[who], commands.APPROVE, Approve(self.ids[place], level))[0]
            assert told(answer) == self.model.approve(who, self.model.sheets[place], level, self.at)

    @rule(who=people, turn=turns, both=st.lists(st.integers(1, 2), min_size=2, max_size=3))
    def approve_in_one_batch(self, who: str, turn: int, both: list[int]) -> None:
        if not self.ids:
            return
        places = [-1 - (turn + step) % len(self.ids) for step in range(len(both))]
        asked = [Approve(self.ids[place], level) for place, level in zip(places, both, strict=True)]
        answers = [told(each) for each in self.submit(self.who[who], commands.APPROVE, *asked)]
        sheets = [self.model.sheets[place] for place in places]
        said = [self.model.approve(who, sheet, level, self.at) for sheet, level in zip(sheets, both, strict=True)]
        assert answers == said

    @rule(who=people, turn=turns, rejecting=st.booleans())
    def end(self, who: str, turn: int, *, rejecting: bool) -> None:
        if not self.ids:
            return
        place = -1 - turn % len(self.ids)
        sheet, own = self.model.sheets[place], self.ids[place]
        if rejecting:
            answer = self.submit(self.who[who], commands.REJECT, Reject(own, "no"))[0]
            assert told(answer) == self.model.reject(who, sheet, self.at)
        else:
            answer = self.submit(self.who[who], commands.WITHDRAW, Withdraw(own))[0]
            assert told(answer) == self.model.withdraw(who, sheet, self.at)

    @rule(paper=papers, text=texts, amount=st.sampled_from([SMALL, LARGE]))
    def release(self, paper: str, text: str, amount: str) -> None:
        answer = self.submit(self.who["ann"], RELEASE, Release(paper, text + amount))[0]
        live = self.model.live(paper)
        good = live is not None and (live.text, live.state) == (text + amount, "approved") and self.at < live.until
        assert told(answer) == ("approved" if good else "not_approved")

    @rule(hours=st.sampled_from([1, HOURS]), sweeping=st.booleans())
    def wait(self, hours: int, *, sweeping: bool) -> None:
        self.at += timedelta(hours=hours)
        if sweeping:
            self.world.run(worker.expire_approvals(self.world.database), self.at)
            for each in self.model.sheets:
                if each.state == "pending" and self.at >= each.until:
                    each.state = "expired"

    def teardown(self) -> None:
        """Look at everything that stands at the end of a history."""
        for who, own in self.who.items():
            waiting = self.world.run(waits(self.world.database, self.book, own, self.at), self.at)
            assert [str(self.ids.index(each)) for each in waiting] == self.model.waits(who, self.at)
        for sheet, own in zip(self.model.sheets, self.ids, strict=True):
            shown = self.world.run(look(self.world.database, self.book, own), self.at)
            approvers = [step.by for step in shown.steps if step.act.value == "approved"]
            assert (shown.state.value, shown.level) == (sheet.state, sheet.level)
            assert approvers == [ids.text("prn", self.who[each]) for each in sheet.given]


def told(answer: Any) -> str:
    return answer.code if isinstance(answer, Refusal) else str(answer.state.value)


async def number(database: Database, name: str) -> int:
    async with database.writing() as tx:
        return int(str((await tx.tuples("SELECT id FROM book WHERE name = %s", [name]))[0][0]))


async def waits(database: Database, book: int, who: UUID, at: datetime) -> list[str]:
    async with database.reading([book]) as tx:
        return [each.id for each in await inbox.waiting(tx, who, at=at)]


async def look(database: Database, book: int, own: str) -> Any:
    async with database.reading([book]) as tx:
        return await inbox.find(tx, own)


@pytest.mark.timeout(3_600)
def test_approvals_answer_and_stand_as_their_model_does(app_dsn: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(app_dsn))
        door = Door(database)
        try:
            machine = type("MachineHere", (ApprovalsMachine,), {"world": World(runner, database, door)})
            run_state_machine_as_test(machine, settings=tried(25, many=2_000, steps=25))
        finally:
            runner.run(door.close())
            runner.run(database.close())

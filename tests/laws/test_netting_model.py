"""The laws of netting: any history of cycles against a slow model, and recorders beside closers in other processes.

As a script this file is one of the processes that record.
"""

import asyncio
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting import commands, cycles, obligations
from clearhouse.slices.interbank.netting.cycle import Cycle, CycleState, SettleCycle
from clearhouse.slices.interbank.netting.obligations import RecordObligation
from clearing import ANN, BANKS, BOB, CID, SCOPES, Clearing, apart, work
from crowd import crowd, go, told
from trying import SOAK, tried

DOT = "DOTBFRPP"
FOUR = (*BANKS, DOT)
FUNDS = 10_000
METHODS = ("gross", "bilateral", "multilateral")
Owed = tuple[str, str, int]

# The model -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Paper:
    """A cycle as somebody keeps it on paper: which obligations count for it, and where it stands."""

    cycle: Cycle
    method: str
    names: list[str] = field(default_factory=list[str])
    state: CycleState = CycleState.OPEN
    carried: bool = False


@dataclass(slots=True)
class Model:
    """The slow way: one obligation after another."""

    owed: dict[str, Owed] = field(default_factory=dict[str, Owed])
    papers: list[Paper] = field(default_factory=list[Paper])
    balances: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FOUR, FUNDS))

    def payments(self, paper: Paper) -> list[Owed]:
        """Return who pays whom how much; nobody ("") is the clearing account."""
        its = [self.owed[name] for name in paper.names]
        if paper.method == "gross":
            return its
        if paper.method == "bilateral":
            pairs: defaultdict[tuple[str, str], int] = defaultdict(int)
            for payer, payee, amount in its:
                pairs[min(payer, payee), max(payer, payee)] += amount if payer < payee else -amount
            return [(a, b, net) if net > 0 else (b, a, -net) for (a, b), net in pairs.items()]
        nets: defaultdict[str, int] = defaultdict(int)
        for payer, payee, amount in its:
            nets[payer] -= amount
            nets[payee] += amount
        return [("", bank, net) if net > 0 else (bank, "", -net) for bank, net in nets.items()]

    def can_pay(self, paper: Paper) -> bool:
        need: Counter[str] = Counter()
        for payer, _, amount in self.payments(paper):
            need[payer] += amount
        return all(amount <= self.balances[bank] for bank, amount in need.items() if bank)

    def pay(self, paper: Paper) -> None:
        """Pay every obligation by itself: whatever the method, that is what it must come to."""
        for name in paper.names:
            payer, payee, amount = self.owed[name]
            self.balances[payer] -= amount
            self.balances[payee] += amount

    def settle(self, paper: Paper) -> None:
        paper.state = CycleState.SETTLED if self.can_pay(paper) else CycleState.ABORTED
        if paper.state is CycleState.SETTLED:
            self.pay(paper)


# A history -------------------------------------------------------------------------------------------------------------

some = st.lists(
    st.tuples(st.sampled_from(FOUR), st.sampled_from(FOUR), st.integers(1, 4_000)).filter(lambda each: each[0] != each[1]),
    max_size=8,
)
method, which, yes = st.sampled_from(METHODS), st.integers(0, 9), st.booleans()
STEPS = st.one_of(
    st.tuples(st.just("owe"), some),
    st.tuples(st.just("owe"), some),
    st.tuples(st.just("repeat"), which),
    st.tuples(st.just("close"), method, yes),
    st.tuples(st.just("close"), method, st.just(True)),
    st.tuples(st.just("settle"), which),
    st.tuples(st.just("interrupt"), which, st.integers(0, 5)),
    st.tuples(st.just("abort"), which),
    st.tuples(st.just("carry"), which, st.sets(st.sampled_from(FOUR), max_size=1)),
)


@dataclass(slots=True)
class History:
    """What happens to a clearing, and what the model says that it comes to."""

    clearing: Clearing
    model: Model

    @property
    def open(self) -> Paper:
        return self.model.papers[-1]

    def chosen(self, place: int, *states: CycleState) -> Paper | None:
        fitting = [each for each in self.model.papers if each.state in states]
        return fitting[place % len(fitting)] if fitting else None

    async def owe(self, owed: Sequence[Owed]) -> None:
        recorded = await self.clearing.owe(*((payer, payee, decimal_text(cents, 2)) for payer, payee, cents in owed))
        for each, its in zip(recorded, owed, strict=True):
            self.model.owed[each.obligation_id] = its
            self.open.names.append(each.obligation_id)
            assert each.cycle == self.open.cycle.id

    async def repeat(self, place: int) -> None:
        if not self.model.owed:
            return
        name = sorted(self.model.owed)[place % len(self.model.owed)]
        payer, payee, cents = self.model.owed[name]
        asked = RecordObligation(name, payer, payee, decimal_text(cents, 2), "USD")
        assert (await self.clearing.ask(commands.RECORD, asked)).exists

    async def begin(self, how: str) -> None:
        self.model.papers.append(Paper(await now_open(self.clearing), how))

    async def close(self, how: Any, at_once: bool) -> None:
        paper = self.open
        await self.clearing.close(paper.cycle, settle=at_once, method=how)
        await work(self.clearing.database)
        paper.state = CycleState.CLOSED if paper.names else CycleState.SETTLED
        if at_once and paper.names:
            self.model.settle(paper)
        await self.begin(how)

    async def settle(self, place: int) -> None:
        if paper := self.chosen(place, CycleState.CLOSED):
            await self.clearing.settle(paper.cycle)
            self.model.settle(paper)

    async def interrupt(self, place: int, steps: int) -> None:
        """Begin to settle, and think better of it after so many steps: in time, or too late."""
        if paper := self.chosen(place, CycleState.CLOSED):
            await self.clearing.ask(commands.SETTLE, SettleCycle(paper.cycle.id))
            for _ in range(steps):
                await self.clearing.step(paper.cycle)
            before = await self.clearing.show(paper.cycle)
            with suppress(Refusal):
                await self.clearing.abort(paper.cycle)
            await work(self.clearing.database)
            paper.state = CycleState.ABORTED
            if before.committing_at is not None:
                self.model.settle(paper)

    async def abort(self, place: int) -> None:
        if paper := self.chosen(place, CycleState.CLOSED):
            assert (await self.clearing.abort(paper.cycle)).state is CycleState.ABORTED
            paper.state = CycleState.ABORTED

    async def carry(self, place: int, without: set[str]) -> None:
        paper = self.chosen(place, CycleState.ABORTED)
        if paper is not None and not paper.carried:
            await self.clearing.carry(paper.cycle, *without)
            paper.carried = True
            left = [name for name in paper.names if not without & set(self.model.owed[name][:2])]
            self.open.names += left

    async def holds(self) -> None:
        """Hold everything that can be seen against the model."""
        funds = await self.clearing.funds(banks=FOUR)
        assert {held for _, held in funds.values()} == {"0.00"}
        for paper in self.model.papers:
            shown = await self.clearing.show(paper.cycle)
            assert shown.state is paper.state
            if shown.netted_at is not None and paper.names:
                assert shown.obligations == len(paper.names)
                assert await self.nets(paper) == sorted(each for each in self.wanted(paper))
        last = {name: paper for paper in self.model.papers for name in paper.names}
        async with self.clearing.database.reading([self.clearing.book]) as tx:
            found = await obligations.rows(tx, last)
        assert {each.obligation_id: ids.text("cyc", each.cycle) for each in found} == {
            name: paper.cycle.id for name, paper in last.items()
        }

    async def nets(self, paper: Paper) -> list[tuple[str, str, int]]:
        found = await self.clearing.positions(paper.cycle)
        assert paper.method != "multilateral" or sum(minor_units(each.net, 2) for each in found) == 0
        return sorted(_payment(each.bank, each.counterparty or "", minor_units(each.net, 2)) for each in found)

    def wanted(self, paper: Paper) -> Iterator[Owed]:
        for payer, payee, amount in self.model.payments(paper):
            yield (payer, payee, amount) if amount else ("", "", 0)


def _payment(bank: str, other: str, net: int) -> Owed:
    if not net:
        return "", "", 0
    return (bank, other, -net) if net < 0 else (other, bank, net)


async def now_open(clearing: Clearing) -> Cycle:
    async with clearing.database.reading([clearing.book]) as tx:
        return (await cycles.listed(tx, state=CycleState.OPEN))[0].shown()


async def lived(clearing: Clearing, steps: Sequence[tuple[Any, ...]]) -> None:
    """Live a history in a book that others were lived in before: what they left closed stays as it is."""
    async with clearing.database.reading([clearing.book]) as tx:
        left = await cycles.listed(tx, state=CycleState.OPEN)
    for row in left:
        await clearing.close(row.shown(), last=True)
    history = History(clearing, Model(balances=await standing(clearing)))
    await clearing.open()
    await history.begin("multilateral")
    for name, *arguments in steps:
        await getattr(history, name)(*arguments)
        assert await standing(clearing) == history.model.balances
    await history.holds()


async def standing(clearing: Clearing) -> dict[str, int]:
    return {bank: minor_units(balance, 2) for bank, (balance, _) in (await clearing.funds(banks=FOUR)).items()}


def test_any_history_of_cycles_comes_to_what_the_model_says(app_dsn: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(app_dsn))
        door = Door(database)
        clearing = runner.run(apart(database, door, funds=decimal_text(FUNDS, 2), banks=FOUR))

        @tried(12, many=2_000)
        @given(st.lists(STEPS, min_size=4, max_size=10))
        def law(steps: list[tuple[Any, ...]]) -> None:
            runner.run(lived(clearing, [("owe", [(ANN, BOB, 300), (BOB, CID, 200)]), *steps, ("close", "gross", True)]))

        law()
        runner.run(door.close())
        runner.run(database.close())


# One of the processes --------------------------------------------------------------------------------------------------

CLOSINGS = 300 if SOAK else 5
PROCESSES = 2
WRITERS = 6
SECONDS_MAX = 110.0 if not SOAK else 3_000.0


async def record(dsn: str, book: int) -> dict[str, int]:
    """Record until told to stop; return how much was recorded from each bank, as far as was answered."""
    database = await Database.open(dsn)
    door = Door(database)
    caller = Caller(ids.derived("who clears"), "who clears", books={"its": book}, scopes={book: SCOPES})
    counted: Counter[str] = Counter()
    await told_to_go()
    stop = asyncio.create_task(told_to_go())
    await asyncio.gather(*(again(door, caller, book, counted, stop) for _ in range(WRITERS)))
    await door.close()
    await database.close()
    return dict(counted)


async def told_to_go() -> None:
    """Say that everything is open, and wait until the others are as far."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


async def again(door: Door, caller: Caller, book: int, counted: Counter[str], stop: "asyncio.Task[None]") -> None:
    while not stop.done():
        asked: list[RecordObligation] = []
        for _ in range(random.choice([1, 3, 50])):
            payer, payee = random.sample(BANKS, 2)
            cents = decimal_text(random.randrange(1, 1_000), 2)
            asked.append(RecordObligation(f"OBL-{ids.fresh()}", payer, payee, cents, "USD"))
        for _ in range(random.choice([1, 1, 2])):  # some send it again, as if the answer had been lost
            answers = await door.submit(commands.RECORD, asked, caller=caller, book=book)
            assert not [each for each in answers if isinstance(each, Refusal)]
        for each in asked:
            counted[each.from_bank] += minor_units(each.amount, 2)


# All of them -----------------------------------------------------------------------------------------------------------


async def turn_over(clearing: Clearing, times: int) -> None:
    """Close whatever is open, some of it to be settled, and let it be netted while others record."""
    for _ in range(times):
        current = await now_open(clearing)
        with suppress(Refusal):  # another closer may have been quicker
            await clearing.close(current, settle=random.random() < 1 / 2, method=random.choice(METHODS))
        await work(clearing.database)


RECOUNTED = """
SELECT count(*) FROM netting_cycle AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS obligations, coalesce(sum(o.amount), 0) AS gross FROM netting_batch AS b
    JOIN interbank_obligation AS o ON o.book = b.book AND o.batch = b.id WHERE b.book = c.book AND b.cycle = c.id
) AS r
WHERE c.book = %(book)s AND c.state <> 'OPEN' AND (r.obligations, r.gross) IS DISTINCT FROM (c.obligations, c.gross)
"""
SENT = """
SELECT o.payer, sum(o.amount)::bigint FROM interbank_obligation AS o
JOIN netting_batch AS b ON b.book = o.book AND b.id = o.batch WHERE o.book = %(book)s GROUP BY o.payer
"""
ORPHANS = """
SELECT count(*) FROM interbank_obligation AS o WHERE o.book = %(book)s AND 1 <> (
    SELECT count(*) FROM netting_batch AS b WHERE b.book = o.book AND b.id = o.batch
)
"""


async def test_each_obligation_is_in_one_cycle_once_however_many_record_and_close(app_dsn: str) -> None:
    database = await Database.open(app_dsn)
    door = Door(database)
    clearing = await apart(database, door, funds="100000000.00")
    await clearing.open()
    async with crowd(__file__, app_dsn, str(clearing.book), of=PROCESSES, seconds=SECONDS_MAX) as running:
        await go(running)
        await asyncio.gather(turn_over(clearing, CLOSINGS), turn_over(clearing, CLOSINGS))
        await go(running)
        counted = await told(running)
    await turn_over(clearing, 1)
    async with database.writing(book=clearing.book) as tx:
        assert await tx.tuples(ORPHANS, {"book": clearing.book}) == [(0,)]
        assert await tx.tuples(RECOUNTED, {"book": clearing.book}) == [(0,)]  # nothing came late, nothing was left out
        sent = await tx.tuples(SENT, {"book": clearing.book})
    assert {str(bank): int(str(cents)) for bank, cents in sent} == dict(counted)
    assert all(counted[bank] for bank in (ANN, BOB, CID))
    await door.close()
    await database.close()


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(asyncio.run(record(sys.argv[1], int(sys.argv[2])))).decode())

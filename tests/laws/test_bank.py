"""The law of the simulated bank: whatever is ordered, lied about, lost and sent back, its books say what really happened."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import ids
from clearhouse.kernel.db.database import Database
from clearhouse.slices.interbank.bank.lies import ANSWERS, COURSES, Fault, Lie, Outage, Rest
from clearhouse.slices.interbank.channel import FOLLOWS, NoAnswer, NotSent, State, Status
from correspondent import NOSTRO, Correspondent, amounts, correspondent, fresh_book, order
from trying import tried

OPEN = {State.RECEIVED, State.ACCEPTED, State.PARTLY}
MOMENTS = st.sampled_from([0.0, 60.0, 86_400.0])
FEW = st.integers(0, 11)
SUMS = st.sampled_from(["0.01", "1.00", "33.33", "250.00", "999.99"])
BATCHES = st.lists(st.tuples(FEW, SUMS), min_size=1, max_size=6)
LIES = st.builds(
    Lie, st.sampled_from(sorted(ANSWERS | COURSES, key=lambda each: each.value)), next=st.sampled_from([None, 1, 2]),
    seconds=MOMENTS, part=st.sampled_from([0.01, 0.5, 0.99]), rest=st.sampled_from(Rest),
)  # fmt: skip
ACTIONS = st.one_of(
    st.tuples(st.just("send"), BATCHES),
    st.tuples(st.just("send"), BATCHES),
    st.tuples(st.just("lie"), LIES),
    st.tuples(st.just("fall"), st.tuples(st.sampled_from(Outage), BATCHES)),
    st.tuples(st.just("wait"), MOMENTS),
    st.tuples(st.just("send back"), FEW),
    st.tuples(st.just("fund"), SUMS),
    st.tuples(st.just("be honest"), st.none()),
)


@dataclass
class History:
    """What was asked of a bank, what it said, and how far each order was when it was last looked at."""

    bank: Correspondent
    ids: list[UUID] = field(default_factory=lambda: [ids.fresh() for _ in range(12)])
    taken: dict[UUID, Decimal] = field(default_factory=dict[UUID, Decimal])
    answers: dict[tuple[UUID, str], str] = field(default_factory=dict[tuple[UUID, str], str])
    seen: dict[UUID, State] = field(default_factory=dict[UUID, State])
    cursor: str = ""
    heard: defaultdict[UUID, list[tuple[str, Decimal]]] = field(default_factory=lambda: defaultdict(list))

    async def send(self, batch: list[tuple[int, str]]) -> None:
        orders = [order(amount, id=self.ids[place]) for place, amount in batch]
        for one, said in zip(orders, await self.bank.send(*orders), strict=True):
            if said != "silent":
                assert self.answers.setdefault((one.id, one.amount), said) == said
            if said == "accepted":
                assert self.taken.setdefault(one.id, Decimal(one.amount)) == Decimal(one.amount)

    async def lie(self, lie: Lie) -> None:
        await self.bank.control.lie(lie)

    async def fall(self, how: tuple[Outage, list[tuple[int, str]]]) -> None:
        await self.bank.control.lie(Lie(Fault.DOWN, next=1, outage=how[0]))
        with pytest.raises(NotSent if how[0] is Outage.NOT_SENT else NoAnswer):
            await self.send(how[1])

    async def wait(self, seconds: float) -> None:
        await self.bank.control.move_clock(seconds)

    async def send_back(self, place: int) -> None:
        await self.bank.control.send_back([self.ids[place]])

    async def fund(self, amount: str) -> None:
        await self.bank.control.fund(NOSTRO, amount)

    async def be_honest(self, _: None) -> None:
        await self.bank.control.honest()

    async def look(self) -> None:
        """Hold what the bank tells against its books."""
        statuses = await self.bank.channel.ask(self.ids)
        for status in statuses:
            before = self.seen.get(status.id, State.UNKNOWN)
            assert status.state is before or status.state in reachable(before)
            self.seen[status.id] = status.state
        await self.prove(statuses)
        await self.listen(statuses)

    async def prove(self, statuses: list[Status]) -> None:
        """See that books balance, that nothing was paid twice, and that what is promised is set aside."""
        assert await self.bank.is_balanced()
        paid = {each.id: each for each in await self.bank.control.paid(self.ids)}
        balance, reserved = map(Decimal, await self.bank.holds())
        assert balance >= reserved >= 0
        for status in statuses:
            really = paid.get(status.id)
            debited, credited = (really.debited, really.credited) if really else ("0", "0")
            assert Decimal(debited) == Decimal(status.confirmed) <= self.taken.get(status.id, Decimal(1_000))
            assert Decimal(credited) == Decimal(status.returned)
            assert really is None or really.times <= 2
        waiting = [each for each in statuses if each.state in OPEN]
        if all(each.id in self.taken for each in waiting):
            assert reserved == sum(self.taken[each.id] - Decimal(each.confirmed) for each in waiting)

    async def listen(self, statuses: list[Status]) -> None:
        """See that what was said by itself, taken together, is how far each order is."""
        news = await self.bank.channel.news(after=self.cursor)
        self.cursor = news.cursor
        for each in news.notices:
            self.heard[each.id].append((each.state.value, Decimal(each.total)))
        for status in statuses:
            said = self.heard[status.id]
            sums = dict(said)
            if status.state in {State.PARTLY, State.CONFIRMED, State.RETURNED}:
                assert sums[status.state.value] == Decimal(
                    status.returned if status.state is State.RETURNED else status.confirmed
                )
            if status.state is State.ACCEPTED:
                assert said == []

    async def end(self) -> None:
        """See that the statement of an honest bank is its books, order by order."""
        await self.bank.control.honest()
        page = await self.bank.channel.statement(NOSTRO)
        assert Decimal(page.opening) + sum(map(Decimal, amounts(page.lines))) == Decimal(page.closing)
        assert page.closing == (await self.bank.holds())[0]
        by_order: defaultdict[UUID | None, Decimal] = defaultdict(Decimal)
        for line in page.lines:
            by_order[line.id] += Decimal(line.amount)
        for really in await self.bank.control.paid(self.ids):
            assert by_order[really.id] == Decimal(really.credited) - Decimal(really.debited)


def reachable(state: State) -> set[State]:
    found, edge = set[State](), {state}
    while edge:
        edge = {after for each in edge for after in FOLLOWS[each]} - found
        found |= edge
    return found


def lived(dsn: str, live: Callable[[History], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        database = await Database.open(dsn, writers_max=1, readers_max=1)
        try:
            async with correspondent(database, http=False, book=await fresh_book(database)) as bank:
                await live(History(bank))
        finally:
            await database.close()

    asyncio.run(run())


@tried(15, many=2_000)
@given(actions=st.lists(ACTIONS, min_size=3, max_size=20))
def test_whatever_is_ordered_and_lied_about_the_books_of_the_bank_say_what_really_happened(
    shared_dsn: str, actions: list[tuple[str, Any]]
) -> None:
    async def live(history: History) -> None:
        for name, what in actions:
            await getattr(history, name.replace(" ", "_"))(what)
            await history.look()
        await history.end()

    lived(shared_dsn, live)

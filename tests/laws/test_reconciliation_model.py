"""The law of reconciliation: whatever the items and the rules, a run matches as a slow and obvious model of it does."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clearhouse import ids
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.principals import AddPrincipal
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals import effects
from clearhouse.kernel.approvals.decisions import Approve
from clearhouse.kernel.approvals.policies import Level, SetPolicy
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.ledger import accounts, balances
from clearhouse.kernel.ledger.accounts import OpenAccount
from clearhouse.kernel.reconciliation import breaks, matches, runs
from clearhouse.kernel.reconciliation.amendments import UndoMatch
from clearhouse.kernel.reconciliation.breaks import Filter
from clearhouse.kernel.reconciliation.items import LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules
from clearhouse.kernel.reconciliation.runs import Run, StartRun
from clearhouse.money import decimal_text
from clearhouse.refusals import Refusal
from clearhouse.slices.operations import commands
from clearhouse.slices.operations.reconciliation_commands import DEFINE, EFFECTS, LOAD, RUN, UNDO
from paper import ASSETS, SIDES, Group, Paper, Thing, Way, model, pairs_of
from trying import tried

SCOPES = frozenset(
    {"reconciliation:write", "ledger:accounts", "access:write", "approvals:decide", "approvals:policies", "ledger:post"}
)


# The house -----------------------------------------------------------------------------------------------------------


class Desk:
    """A door, somebody who reconciles, and accounts for what differs."""

    def __init__(self, database: Database) -> None:
        self.database, self.door = database, Door(database)
        self.by, self.other, self.count = ids.NOBODY, ids.NOBODY, 0

    async def open(self) -> None:
        effects.declare(EFFECTS)
        self.by, self.other = await self.hire("clerk", "operator"), await self.hire("anna", "approver")
        await self.submit(commands.SET_POLICY, SetPolicy("reconciliation.match", [Level(role="approver")]))
        for asset in ASSETS:
            for code in ("nostro", "differences"):
                await self.submit(commands.OPEN_ACCOUNT, OpenAccount(code, asset, "debit"))

    async def hire(self, name: str, role: Role) -> UUID:
        added = await self.submit(commands.ADD_PRINCIPAL, AddPrincipal(name, kind="person", roles=[role]))
        return ids.parse("prn", added.id)

    async def submit(self, kind: Kind[Any, Any], command: Any, *, by: UUID | None = None) -> Any:
        caller = Caller(by or self.by, "clerk", books={"main": 1}, scopes={1: SCOPES})
        answer = (await self.door.submit(kind, [command], caller=caller, book=1))[0]
        assert not isinstance(answer, Refusal), answer
        return answer

    async def undo(self, match: str) -> None:
        """Propose an undo, and let another approve it."""
        proposed = await self.submit(UNDO, UndoMatch(match))
        await self.submit(commands.APPROVE, Approve(proposed.approval, 1), by=self.other)

    async def rules(self, ways: list[Way]) -> str:
        self.count += 1
        name = f"set-{self.count}"
        rules = [way.rule for way in ways]
        await self.submit(DEFINE, DefineRules(name, rules, account="nostro", write_off="differences"))
        return name

    async def run(self, name: str, things: list[Thing]) -> Run:
        for side in SIDES:
            some = [each.item for each in things if each.side == side]
            await self.submit(LOAD, LoadItems(name, side, some))
        return await self.submit(RUN, StartRun(name))

    async def groups(self, run: Run) -> set[Group]:
        async with self.database.reading([1]) as tx:
            found = await matches.of_batch(tx, ids.parse("run", run.id), most=1_000)
        return {(m.rule or 0, frozenset(i.id for i in m.ours), frozenset(i.id for i in m.theirs)) for m in found}

    async def open_items(self, name: str) -> dict[tuple[str, str], Any]:
        async with self.database.reading([1]) as tx:
            found = await breaks.listed(tx, Filter(rule_set=name), most=1_000)
        return {(each.item.side, each.item.id): each for each in found}

    async def same_again(self, run: Run) -> bool:
        async with self.database.writing(book=1) as tx:
            return (await runs.verify(tx, run.id, run.at)).same

    async def balances(self) -> list[str]:
        async with self.database.reading([1]) as tx:
            return [
                balances.balance_now(await accounts.find(tx, code, asset)).balance
                for asset in ASSETS
                for code in ("nostro", "differences")
            ]


@pytest.fixture
def desk(app_dsn: str) -> Iterator[tuple[asyncio.Runner, Desk]]:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(app_dsn))
        made = Desk(database)
        runner.run(made.open())
        yield runner, made
        runner.run(made.door.close())
        runner.run(database.close())


@st.composite
def things(draw: st.DrawFn) -> list[Thing]:
    texts = st.sampled_from([None, "a", "a", "a", "b"])
    each = st.tuples(
        st.sampled_from(SIDES), st.sampled_from(["EUR", "EUR", "EUR", "EUR", "USD"]),
        st.sampled_from([-2, 1, 4, 4, 4, 4, 5, 6, 8, 9]), st.integers(0, 3), texts, texts,
    )  # fmt: skip
    size = draw(st.integers(0, 24))
    drawn = draw(st.lists(each, min_size=size, max_size=size))
    names = draw(st.permutations(range(len(drawn))))
    return [Thing(side, f"i{n:02}", *rest) for n, (side, *rest) in zip(names, drawn, strict=True)]


@st.composite
def ways(draw: st.DrawFn) -> list[Way]:
    found: list[Way] = []
    for _ in range(draw(st.integers(1, 4))):
        by = draw(st.sampled_from(["reference", "end_to_end", "amount"]))
        way = Way(by, by != "amount" and draw(st.booleans()), draw(st.integers(0, 3)) if by == "amount" else 0,
                  draw(st.sampled_from([0, 0, 1, 3])))  # fmt: skip
        if not any(way.narrower(earlier) for earlier in found):
            found.append(way)
    return found


def _line(*amounts: tuple[int, Side]) -> list[Thing]:
    """Return items of one reference, which differ by what their neighbours differ by."""
    return [Thing(side, f"{place}", "EUR", amount, 0, "a", None) for place, (amount, side) in enumerate(amounts)]


# The laws ------------------------------------------------------------------------------------------------------------


def test_a_run_matches_what_the_model_matches_and_adds_up(desk: tuple[asyncio.Runner, Desk]) -> None:
    runner, clerk = desk

    async def holds(chosen: list[Thing], rules: list[Way]) -> None:
        name, paper = await clerk.rules(rules), model(chosen, rules)
        before = await clerk.balances()
        run = await clerk.run(name, chosen)
        assert await clerk.groups(run) == paper.groups()
        assert set(await clerk.open_items(name)) == {(each.side, each.id) for each in paper.left}
        adds_up(run, chosen, paper)
        leaves_nothing(paper, rules)
        assert await clerk.same_again(run)
        assert (await clerk.balances() == before) == all(moved == 0 for moved in written_off(paper).values())

    @tried(60, many=5_000)
    @given(things(), ways())
    @example(
        _line((4, "ours"), (5, "theirs"), (6, "ours"), (7, "theirs")), [Way("reference", many=False, days=0, tolerance=1)]
    )
    def law(chosen: list[Thing], rules: list[Way]) -> None:
        runner.run(holds(chosen, rules))

    law()


def adds_up(run: Run, chosen: list[Thing], paper: Paper) -> None:
    """Hold the sums of a run against what was given and what is left."""
    for each in run.sums:
        mine = [t for t in chosen if (t.side, t.asset) == (each.side, each.currency)]
        left = [t for t in paper.left if (t.side, t.asset) == (each.side, each.currency)]
        assert (each.new_items, each.new) == (len(mine), decimal_text(sum(t.amount for t in mine), 2))
        assert (each.open_items, each.open) == (len(left), decimal_text(sum(t.amount for t in left), 2))
        matched = sum(t.amount for t in mine) - sum(t.amount for t in left)
        assert (each.matched_items, each.matched) == (len(mine) - len(left), decimal_text(matched, 2))
    assert {(each.side, each.currency) for each in run.sums} == {(each.side, each.asset) for each in chosen}


def leaves_nothing(paper: Paper, rules: list[Way]) -> None:
    """See that no two items are left which a rule would have matched."""
    for way in rules:
        if not way.many:
            assert not [(o, t) for o in paper.of("ours") for t in paper.of("theirs") if way.fits(o, t)]


def leaves_nothing_equal(paper: Paper, rules: list[Way]) -> None:
    """See that no two equal items are left which a rule would have matched, and nobody has undone."""
    for way in rules:
        some = [] if way.many else [(o, t) for o in paper.of("ours") for t in paper.of("theirs") if o.amount == t.amount]
        assert not [pair for pair in some if way.fits(*pair) and paper.may(*pair)]


def written_off(paper: Paper) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for _, chosen in paper.found:
        found[chosen[0].asset] += sum(each.signed for each in chosen)
    return found


def test_what_is_open_goes_on_to_the_next_run_and_an_undo_restores(desk: tuple[asyncio.Runner, Desk]) -> None:
    runner, clerk = desk

    async def holds(chosen: list[Thing], rules: list[Way], cut: int, pick: int) -> None:
        name, early, late = await clerk.rules(rules), chosen[:cut], chosen[cut:]
        first, then = await clerk.run(name, early), model(early, rules)
        second, later = (
            await clerk.run(name, [*early, *late]),
            model([*then.left, *late], rules),
        )  # loaded again: no matter
        assert (await clerk.groups(first), await clerk.groups(second)) == (then.groups(), later.groups())
        assert set(await clerk.open_items(name)) == {(each.side, each.id) for each in later.left}
        assert [await clerk.same_again(first), await clerk.same_again(second)] == [True, True]
        await undone(name, second, pick, later, rules)

    async def undone(name: str, run: Run, pick: int, paper: Paper, rules: list[Way]) -> None:
        async with clerk.database.reading([1]) as tx:
            found = await matches.of_batch(tx, ids.parse("run", run.id), most=1_000)
        if not found:
            return
        match = found[pick % len(found)]
        own = {(i.side, i.id) for i in (*match.ours, *match.theirs)}
        before = await clerk.open_items(name)
        await clerk.undo(match.id)
        after = await clerk.open_items(name)
        assert {place: each for place, each in after.items() if place not in own} == before
        assert set(after) == set(before) | own
        # What is left of the run and what was undone, matched again: nothing but what an undo had freed, and not the same.
        again = await clerk.submit(RUN, StartRun(name))
        wrong = [t for _, chosen in paper.found for t in chosen if (t.side, t.id) in own]
        then = model([*paper.left, *wrong], rules, [wrong])
        assert await clerk.groups(again) == then.groups()
        assert not any({(o.side, o.id), (t.side, t.id)} <= own for o, t in pairs_of(then))
        leaves_nothing_equal(then, rules)
        assert [await clerk.same_again(run), await clerk.same_again(again)] == [True, True]

    @tried(30, many=3_000)
    @given(things(), ways(), st.integers(0, 16), st.integers(0, 16))
    def law(chosen: list[Thing], rules: list[Way], cut: int, pick: int) -> None:
        runner.run(holds(chosen, rules, cut, pick))

    law()


def test_equal_items_that_are_undone_again_and_again_meet_everyone_once(desk: tuple[asyncio.Runner, Desk]) -> None:
    runner, clerk = desk

    async def holds(ours: int, theirs: int) -> None:
        name = await clerk.rules([Way("amount", many=False, days=0, tolerance=0)])
        run = await clerk.run(
            name, [t for side, many in zip(SIDES, (ours, theirs), strict=True) for t in _equal(side, many)]
        )
        met: list[Group] = []
        while run.matches:
            assert await clerk.same_again(run)
            met += await clerk.groups(run)
            for number in range(1, run.matches + 1):
                await clerk.undo(f"mat_{run.id[4:]}-{number}")
            run = await clerk.submit(RUN, StartRun(name))
        assert len(met) == len(set(met)) == ours * theirs

    for ours, theirs in ((1, 1), (1, 3), (3, 2), (3, 3)):
        runner.run(holds(ours, theirs))


def _equal(side: Side, many: int) -> list[Thing]:
    return [Thing(side, f"{side}{n}", "EUR", 100, 0, None, None) for n in range(many)]


def test_the_same_items_have_the_same_digest_in_whatever_order_they_come(desk: tuple[asyncio.Runner, Desk]) -> None:
    runner, clerk = desk

    async def holds(chosen: list[Thing], rules: list[Way]) -> None:
        runs_of = [await clerk.run(await clerk.rules(rules), order) for order in (chosen, chosen[::-1])]
        assert runs_of[0].digest == runs_of[1].digest

    @tried(20, many=2_000)
    @given(things(), ways())
    def law(chosen: list[Thing], rules: list[Way]) -> None:
        runner.run(holds(chosen, rules))

    law()


def test_money_that_is_written_off_comes_back_with_the_undo(desk: tuple[asyncio.Runner, Desk]) -> None:
    runner, clerk = desk

    async def scene() -> None:
        name = await clerk.rules([Way("reference", many=False, days=0, tolerance=3)])
        before = await clerk.balances()
        items = [Thing("ours", "o", "EUR", 100, 0, "a", None), Thing("theirs", "t", "EUR", 98, 0, "a", None)]
        run = await clerk.run(name, items)
        assert await clerk.balances() == ["-0.02", "0.02", *before[2:]]
        found = (await clerk.groups(run)).pop()
        assert found == (1, frozenset("o"), frozenset("t"))
        await clerk.undo(f"mat_{run.id[4:]}-1")
        assert await clerk.balances() == before

    runner.run(scene())


def test_two_runs_at_once_match_nothing_twice(desk: tuple[asyncio.Runner, Desk]) -> None:
    runner, clerk = desk

    async def scene() -> None:
        name = await clerk.rules([Way("amount", many=False, days=3, tolerance=0)])
        for side in SIDES:
            some = [Thing(side, f"{n}", "EUR", 1 + n % 3, n % 4, None, None).item for n in range(200)]
            await clerk.submit(LOAD, LoadItems(name, side, some))
        others = [Desk(clerk.database) for _ in range(3)]
        for each in others:
            each.by = clerk.by
        made: list[Run] = await asyncio.gather(*(each.submit(RUN, StartRun(name)) for each in (clerk, *others)))
        assert sorted(run.matches for run in made) == [0, 0, 0, 200]
        async with clerk.database.reading([1]) as tx:
            found = await tx.tuples("SELECT count(*), count(DISTINCT item) FROM reconciliation_part")
        assert found == [(400, 400)]

    runner.run(scene())


def test_the_model_itself_prefers_the_nearer_day_and_the_first_id() -> None:
    our = Thing("ours", "o", "EUR", 5, 2, None, None)
    far, near, same = (Thing("theirs", name, "EUR", 5, day, None, None) for name, day in (("a", 0), ("c", 1), ("b", 1)))
    paper = model([our, far, near, same], [Way("amount", many=False, days=2, tolerance=0)])
    assert paper.groups() == {(1, frozenset("o"), frozenset("b"))}

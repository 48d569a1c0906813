"""Reconciliation's bench: so many items on each side, most with a counterpart, from load to the last break.

The seam for `clearhouse bench kernel`: `contestant(database, book, by, items)` is one line of its table. Each turn
reconciles a set of its own; what it says is how many items a second of both sides together, loads left out.
"""

import random
from datetime import date, timedelta
from time import perf_counter
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.app.bench.rounds import Contestant
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.reconciliation import items, rules, runs
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.kernel.reconciliation.runs import Run, StartRun
from clearhouse.refusals import Kind, Refusal

FIRST = date(2026, 1, 1)
AT_ONCE = 50_000
SIDES: tuple[Side, ...] = ("ours", "theirs")
RULES = [
    Rule("reference"), Rule("end_to_end"), Rule("amount", days=3), Rule("reference", many=True),
]  # fmt: skip


class WrongMatches(Refusal):
    """{found} matches were found where {expected} belong together."""

    code = "wrong_matches"
    kind = Kind.REFUSED


def contestant(database: Database, book: int, by: UUID, items_a_side: int) -> Contestant:
    """Return what is measured: the goal is a million items a side within a minute."""

    async def turn(_: float) -> float:
        return 2 * items_a_side / await measured(database, book, by, items_a_side)

    return Contestant(f"reconcile {items_a_side:,} on each side", "items/s", turn, goal=2_000_000 / 60)


async def measured(database: Database, book: int, by: UUID, items_a_side: int) -> float:
    """Load two sides, reconcile them, and return how many seconds the run took; a wrong answer is refused."""
    name = f"bench-{ids.fresh().hex[-12:]}"
    async with database.writing(book=book) as tx:
        await rules.define(tx, [Asked(DefineRules(name, RULES), ids.fresh(), by)], clock.now())
    for side in SIDES:
        for start in range(0, items_a_side, AT_ONCE):
            some = [_item(side, number) for number in range(start, min(start + AT_ONCE, items_a_side))]
            random.shuffle(some)
            async with database.writing(book=book) as tx:
                await items.load(tx, [Asked(LoadItems(name, side, some), ids.fresh(), by)], clock.now())
    start = perf_counter()
    async with database.writing(book=book) as tx:
        run = (await runs.start(tx, [Asked(StartRun(name), ids.fresh(), by)], clock.now()))[0]
    elapsed = perf_counter() - start
    expected = sum(_has_match(number) for number in range(items_a_side))
    if not isinstance(run, Run) or run.matches != expected:
        raise WrongMatches(found=str(run.matches if isinstance(run, Run) else run), expected=str(expected))
    return elapsed


def _has_match(number: int) -> bool:
    return number % 100 != 99  # noqa: PLR2004 - one in a hundred stands alone


def _item(side: Side, number: int) -> Item:
    """Return an item: nine in ten share a reference, some an end-to-end id, some amount and date only, few nothing."""
    place = number % 100
    amount = f"{1 + number % 50_000}.{number % 97:02}"
    if place == 99:  # noqa: PLR2004 - who stands alone differs by the side, too
        amount = f"{200_000 + 2 * number + (side == 'ours')}.00"
    day = FIRST + timedelta(days=number // 5_000 % 28 + (side == "theirs") * (number % 2))
    reference = f"invoice {number}" if place < 90 else None  # noqa: PLR2004 - nine in ten
    end = f"end-to-end {number}" if 90 <= place < 97 else None  # noqa: PLR2004 - seven in a hundred
    if 97 <= place < 99:  # noqa: PLR2004 - two in a hundred: an amount that nobody else has
        amount = f"{1_000_000 + number}.00"
    return Item(f"{side[0]}{number}", amount, "EUR", day, reference, end)

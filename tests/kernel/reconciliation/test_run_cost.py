"""What a run costs: the items that it is given, not those that earlier runs have matched.

However much or little PostgreSQL knows of its tables: nothing, what was so when they were all but empty, or what is so now.
"""

from collections.abc import Iterable
from datetime import date
from uuid import UUID

import knowing
from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.reconciliation import items, matching, rules, runs
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.kernel.reconciliation.runs import Run, StartRun

SIDES: tuple[Side, ...] = ("ours", "theirs")
NEW = matching.MANY_FROM // 2  # of each side
# Rows of tables and indexes for each item that is new: it is 9 or 10, and whoever reads once what is old reads 4 more.
MOST = 12


async def prepare(database: Database, owner_dsn: str) -> None:
    """Define rules, and let the planner learn what there is: one item of ours. By itself it learns nothing more."""
    await knowing.by_hand(owner_dsn)
    await bootstrap.ensure_admin(database)
    async with database.writing(book=1) as tx:
        somebody = UUID(str((await tx.tuples("SELECT id FROM principal LIMIT 1"))[0][0]))
        for name in ("files", "others"):
            command = DefineRules(name, [Rule("reference"), Rule("amount", days=1), Rule("reference", many=True)])
            await rules.define(tx, [Asked(command, ids.fresh(), somebody)], clock.now())
    await load(database, "files", "ours", range(-50, -49))
    await knowing.learn(owner_dsn)


async def add(database: Database, first: int, count: int, *, name: str = "files") -> None:
    """Load items: nine in ten have a reference, one in fifty has nothing, and the others only their amount.

    One in twenty of theirs comes late, with the next ones: what a run leaves open is closed by a later one.
    """
    numbers = range(first, first + count)
    await load(database, name, "ours", numbers)
    await load(database, name, "theirs", [n - NEW if n % 20 == 7 else n for n in numbers])


async def load(database: Database, name: str, side: Side, numbers: Iterable[int]) -> None:
    some = [
        Item(f"{n}", amount(side, n), "EUR", date(2026, 11, 2), None if n % 10 == 0 else f"invoice {n}") for n in numbers
    ]
    async with database.writing(book=1) as tx:
        await items.load(tx, [Asked(LoadItems(name, side, some), ids.fresh(), ids.NOBODY)], clock.now())


def amount(side: Side, number: int) -> str:
    return f"{100_000 + number}.{SIDES.index(side)}0" if number % 50 == 0 else f"{1 + number % 97}.00"


async def reconcile(database: Database) -> tuple[int, float]:
    """Run, and return how many matches were made and how many rows were read for each item that was new."""
    async with database.writing(book=1) as tx:
        before = await knowing.rows(tx, "reconciliation%")
        made = (await runs.start(tx, [Asked(StartRun("files"), ids.fresh(), ids.NOBODY)], clock.now()))[0]
        assert isinstance(made, Run)
        read = await knowing.rows(tx, "reconciliation%") - before
        return made.matches, read / sum(each.new_items for each in made.sums)


async def test_a_run_reads_what_is_new_or_open_and_not_what_was_matched_before(database: Database, owner_dsn: str) -> None:
    await prepare(database, owner_dsn)
    await add(database, 0, 4 * NEW)
    await reconcile(database)
    costs: dict[str, float] = {}
    for place, (known, learn) in enumerate(knowing.STATES.items(), start=4):
        await add(database, place * NEW, NEW)
        await learn(owner_dsn)
        matched, costs[known] = await reconcile(database)
        assert matched > NEW * 9 // 10
    assert max(costs.values()) < MOST, costs


async def test_a_run_reads_what_it_was_given_and_not_what_was_loaded_for_others_meanwhile(
    database: Database, owner_dsn: str
) -> None:
    await prepare(database, owner_dsn)
    await add(database, 0, NEW)
    await reconcile(database)
    costs: dict[str, float] = {}
    for place, (known, learn) in enumerate(knowing.STATES.items(), start=1):
        await add(database, place * NEW, NEW // 2)
        await add(database, 4 * place * NEW, 4 * NEW, name="others")
        await add(database, place * NEW + NEW // 2, NEW // 2)
        await learn(owner_dsn)
        matched, costs[known] = await reconcile(database)
        assert matched > NEW * 9 // 10
    assert max(costs.values()) < MOST, costs

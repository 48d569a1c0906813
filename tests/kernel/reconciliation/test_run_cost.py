"""What a run costs: the items that it is given, not those that earlier runs have matched."""

from datetime import date
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.reconciliation import items, matching, rules, runs
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.kernel.reconciliation.runs import Run, StartRun

SIDES: tuple[Side, ...] = ("ours", "theirs")
NEW = matching.MANY_FROM // 2
MOST = 70 * 2 * NEW  # by the plan that is chosen it is 8, 15 or 50 an item; whoever reads all that is old reads 100 here
READ = """
SELECT sum(pg_stat_get_xact_tuples_returned(oid))::bigint FROM pg_class
WHERE relnamespace = 'clearhouse'::regnamespace AND relname LIKE 'reconciliation%' AND relkind IN ('r', 'i')
"""  # of tables read whole, and of indexes, whether or not the rows behind them were read


async def prepare(database: Database) -> None:
    await bootstrap.ensure_admin(database)
    async with database.writing(book=1) as tx:
        somebody = UUID(str((await tx.tuples("SELECT id FROM principal LIMIT 1"))[0][0]))
        for name in ("files", "others"):
            command = DefineRules(name, [Rule("reference"), Rule("amount", days=1), Rule("reference", many=True)])
            await rules.define(tx, [Asked(command, ids.fresh(), somebody)], clock.now())


async def add(database: Database, first: int, count: int, *, name: str = "files") -> None:
    """Load items: nine in ten have a reference, one in fifty has nothing, and the others only their amount."""
    async with database.writing(book=1) as tx:
        for side in SIDES:
            some = [
                Item(f"{n}", amount(side, n), "EUR", date(2026, 11, 2), None if n % 10 == 0 else f"invoice {n}")
                for n in range(first, first + count)
            ]
            await items.load(tx, [Asked(LoadItems(name, side, some), ids.fresh(), ids.NOBODY)], clock.now())


def amount(side: Side, number: int) -> str:
    return f"{1_000 + number}.{SIDES.index(side)}0" if number % 50 == 0 else f"{1 + number % 97}.00"


async def reconcile(database: Database) -> tuple[int, int]:
    """Run, and return how many matches were made and how many rows were read for it."""
    async with database.writing(book=1) as tx:
        made = (await runs.start(tx, [Asked(StartRun("files"), ids.fresh(), ids.NOBODY)], clock.now()))[0]
        assert isinstance(made, Run)
        return made.matches, int(str((await tx.tuples(READ))[0][0] or 0))


async def test_a_run_reads_what_is_new_or_open_and_not_what_was_matched_before(database: Database) -> None:
    await prepare(database)
    await add(database, 0, NEW)
    matched, _ = await reconcile(database)
    assert matched == NEW * 49 // 50
    await add(database, NEW, 5 * NEW)
    await reconcile(database)
    await add(database, 6 * NEW, NEW)
    matched, read = await reconcile(database)
    assert matched == NEW * 49 // 50
    assert read < MOST


async def test_a_run_reads_what_it_was_given_and_not_what_was_loaded_for_others_meanwhile(database: Database) -> None:
    await prepare(database)
    await add(database, 0, NEW)
    matched, _ = await reconcile(database)
    await add(database, NEW, NEW // 2)
    await add(database, 0, 5 * NEW, name="others")
    await add(database, NEW + NEW // 2, NEW // 2)
    again, read = await reconcile(database)
    assert again == matched
    assert read < MOST

"""What a run costs: the items that it is given, not those that earlier runs have matched."""

from datetime import date
from uuid import UUID

import pytest

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.reconciliation import items, matching, rules, runs
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.kernel.reconciliation.runs import Run, StartRun

SIDES: tuple[Side, ...] = ("ours", "theirs")
READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables
WHERE relname IN ('reconciliation_item', 'reconciliation_part', 'reconciliation_match', 'reconciliation_break')
"""


async def add(database: Database, first: int, count: int) -> None:
    async with database.writing(book=1) as tx:
        for side in SIDES:
            some = [
                Item(f"{n}", f"{1 + n % 97}.00", "EUR", date(2026, 11, 2), None if n % 10 == 0 else f"invoice {n}")
                for n in range(first, first + count)
            ]
            await items.load(tx, [Asked(LoadItems("files", side, some), ids.fresh(), ids.NOBODY)], clock.now())


async def reconcile(database: Database) -> tuple[int, int]:
    """Run, and return how many matches were made and how many rows were read for it."""
    async with database.writing(book=1) as tx:
        made = (await runs.start(tx, [Asked(StartRun("files"), ids.fresh(), ids.NOBODY)], clock.now()))[0]
        assert isinstance(made, Run)
        return made.matches, int(str((await tx.tuples(READ))[0][0] or 0))


async def test_a_run_reads_what_is_new_and_not_what_was_matched_before(database: Database) -> None:
    new = matching.MANY_FROM // 2
    await bootstrap.ensure_admin(database)
    async with database.writing(book=1) as tx:
        somebody = UUID(str((await tx.tuples("SELECT id FROM principal LIMIT 1"))[0][0]))
        command = DefineRules("files", [Rule("reference"), Rule("amount", days=1), Rule("reference", many=True)])
        await rules.define(tx, [Asked(command, ids.fresh(), somebody)], clock.now())
    await add(database, 0, new)
    matched, alone = await reconcile(database)
    assert matched == new
    await add(database, new, 8 * new)
    assert (await reconcile(database))[0] == 8 * new
    await add(database, 9 * new, new)
    matched, read = await reconcile(database)
    assert (matched, read) == (new, pytest.approx(alone, rel=0.5))

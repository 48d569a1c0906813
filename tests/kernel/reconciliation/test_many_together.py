"""One item with very many of the other side: matched up to a bound, and a break that says so beyond it."""

from datetime import date
from uuid import UUID

import pytest

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.reconciliation import breaks, items, matching, rules, runs
from clearhouse.kernel.reconciliation.breaks import Filter, Reason
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.rules import DefineRules, Rule
from clearhouse.kernel.reconciliation.runs import Run, StartRun

DAY = date(2026, 11, 2)


async def ran(database: Database, many: int) -> tuple[int, set[Reason]]:
    """Match a total with so many parts, and return how many matches were made, and the reasons of what is left."""
    parts = [Item(f"{n}", "1.00", "EUR", DAY, "batch 7") for n in range(many)]
    sides: dict[Side, list[Item]] = {"ours": [Item("total", f"{many}.00", "EUR", DAY, "batch 7")], "theirs": parts}
    await bootstrap.ensure_admin(database)
    async with database.writing(book=1) as tx:
        somebody = UUID(str((await tx.tuples("SELECT id FROM principal LIMIT 1"))[0][0]))
        command = DefineRules("cards", [Rule("reference"), Rule("reference", many=True)])
        await rules.define(tx, [Asked(command, ids.fresh(), somebody)], clock.now())
        for side, some in sides.items():
            await items.load(tx, [Asked(LoadItems("cards", side, some), ids.fresh(), ids.NOBODY)], clock.now())
        made = (await runs.start(tx, [Asked(StartRun("cards"), ids.fresh(), ids.NOBODY)], clock.now()))[0]
        assert isinstance(made, Run)
        found = await breaks.listed(tx, Filter(rule_set="cards"), most=100_000)
    assert len(found) == (0 if made.matches else many + 1)
    return made.matches, {each.reason for each in found}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(matching.TOGETHER_MAX - 1, (1, set[Reason]())), (matching.TOGETHER_MAX, (0, {Reason.TOO_MANY}))],
)
async def test_a_match_has_a_bound_and_what_goes_beyond_says_so(
    database: Database, parts: int, expected: tuple[int, set[Reason]]
) -> None:  # fmt: skip
    assert await ran(database, parts) == expected

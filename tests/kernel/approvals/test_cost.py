"""What an inbox costs grows with what waits for whoever looks, not with what waits for others or was decided long ago."""

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from clearhouse import clock, ids
from clearhouse.kernel.approvals import inbox
from clearhouse.kernel.approvals.inbox import Only
from clearhouse.kernel.approvals.policies import sql
from clearhouse.kernel.db.database import Database
from house import House
from papers import PAPER, WRITE, Desk, Write

AUDITOR = {"role": "auditor"}
BOOK, OWN = 1, 5
START, END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
ALL = {"kind": None, "currency": None, "at_least": None, "below": None}


@pytest.fixture
async def desk(house: House) -> AsyncGenerator[Desk]:
    """Give a desk where a few papers wait for Anna."""
    made = Desk(house)
    await made.hire("sender", "operator")
    await made.hire("anna", "approver")
    for name in ("bert", "carl"):
        await made.hire(name, "auditor", "approver")
    await made.rule({"people": [made["anna"].text]}, kind="test.annas")
    await made.rule(AUDITOR)
    await made.submit("sender", WRITE, *(Write(str(number), "hers", kind="test.annas") for number in range(OWN)))
    yield made
    for clerk in made.clerks.values():
        await clerk.client.aclose()


async def crowd(desk: Desk, batch: int) -> None:
    """Let a thousand papers wait for auditors, and as many that were voided."""
    amounts = (("1.00", "USD"),)
    for text in ("before", "after"):
        papers = [Write(f"{batch}-{number}", text, amounts=amounts) for number in range(1_000)]
        await desk.submit("sender", WRITE, *papers)


async def blocks(database: Database, statement: str, **values: object) -> int:
    """Return how many blocks a statement has to look at, as readers run it."""
    async with database.reading([BOOK]) as tx:
        explained: Any = await tx.tuples(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
    plan = explained[0][0] if not isinstance(explained[0][0], str) else json.loads(explained[0][0])
    return int(plan[0]["Plan"]["Shared Hit Blocks"]) + int(plan[0]["Plan"]["Shared Read Blocks"])


async def looked_at(desk: Desk) -> dict[str, int]:
    """Return what Anna's inbox costs, whole and narrowed down, and lists of what is rare."""
    anna, database = desk["anna"].id, desk.house.database
    mine: dict[str, Any] = {"book": BOOK, "me": anna, "who": ["approver", str(anna)], "at": clock.now(), "most": 101}
    page: dict[str, Any] = {"book": BOOK, "before": END, "id": ids.NOBODY, "most": 101}
    usd = {"currency": "USD", "at_least": "100", "below": None}
    return {
        "inbox": await blocks(database, sql["inbox"], **mine, **ALL, after=START, id=ids.NOBODY),
        "narrowed": await blocks(database, sql["inbox"], **mine, kind=PAPER, **usd, after=START, id=ids.NOBODY),
        "in a rare state": await blocks(database, sql["listed"], **page, **ALL, states=["approved"]),
        "of a rare kind": await blocks(database, sql["listed_of_kind"], **page, **ALL | {"kind": "test.annas"},
                                       states=["pending"]),
    }  # fmt: skip


async def analyzed(owner_dsn: str) -> None:
    """Do what the server does by itself within a minute: learn what is rare, and forget what is gone."""
    async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as owner:
        await owner.execute("VACUUM (ANALYZE)")


async def test_an_inbox_costs_by_what_waits_for_its_owner_and_a_list_by_what_it_shows(desk: Desk, owner_dsn: str) -> None:
    await crowd(desk, 0)
    await analyzed(owner_dsn)
    few = await looked_at(desk)
    for batch in range(1, 4):
        await crowd(desk, batch)
    await analyzed(owner_dsn)
    many = await looked_at(desk)
    assert {name: (few[name], many[name]) for name in few if many[name] > few[name] + 50} == {}
    assert max(many.values()) < 100, many
    async with desk.house.database.reading([BOOK]) as tx:
        assert len(await inbox.waiting(tx, desk["anna"].id, Only(kind="test.annas"), at=clock.now())) == OWN

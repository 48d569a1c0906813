"""What a posting or a balance costs grows with what it touches, not with what exists, by the rows and blocks it reads."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger import accounts, balances, posting
from clearhouse.kernel.ledger.accounts import Account, OpenAccount
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction

BOOK = 1
MANY = 5_000
BATCH = 20
SQL = Statements.of("clearhouse.kernel.ledger", "ledger.sql")
COUNTED = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'ledger_account'"


@pytest.fixture
async def crowded(database: Database) -> Database:
    """Give a book with thousands of accounts, of which no statistics were ever taken."""
    wanted = [OpenAccount(code=f"a:{number}", asset="USD") for number in range(MANY)]
    async with database.writing(book=BOOK) as tx:
        await accounts.open_accounts(tx, [Asked(each, ids.fresh(), ids.NOBODY) for each in wanted], clock.now())
    return database


def payment(debit: int, credit: int) -> PostTransaction:
    return PostTransaction([Leg(debit=f"a:{debit}", credit=f"a:{credit}", amount="1.00", currency="USD")])


def asked(commands: Sequence[PostTransaction]) -> list[Asked[PostTransaction]]:
    return [Asked(each, ids.fresh(), ids.NOBODY) for each in commands]


async def rows_read(database: Database, *, careful: bool) -> int:
    """Post a batch and return how many account rows that made PostgreSQL read."""
    places = random.sample(range(MANY), 2 * BATCH)
    batch = asked([payment(debit, credit) for debit, credit in zip(places[::2], places[1::2], strict=True)])
    async with database.writing(book=BOOK, careful=careful) as tx:
        before = int(str((await tx.tuples(COUNTED))[0][0]))
        answers = await posting.post(tx, batch, clock.now())
        assert all(isinstance(each, Posted) for each in answers)
        return int(str((await tx.tuples(COUNTED))[0][0])) - before


@pytest.mark.parametrize("careful", [False, True])
async def test_a_batch_reads_the_accounts_that_it_touches_and_no_other(crowded: Database, careful: bool) -> None:
    assert await rows_read(crowded, careful=careful) <= 2 * BATCH * 4  # looked up, locked, found, updated


async def history(database: Database, transfers: int) -> None:
    async with database.writing(book=BOOK) as tx:
        await posting.post(tx, asked([payment(0, 1) for _ in range(transfers)]), clock.now())


async def found(database: Database, code: str) -> Account:
    async with database.reading([BOOK]) as tx:
        return await accounts.find(tx, code, "USD")


async def blocks(database: Database, statement: str, **values: object) -> int:
    """Return how many blocks a statement has to look at."""
    async with database.reading([BOOK]) as tx:
        explained: Any = await tx.tuples(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
    plan = explained[0][0] if not isinstance(explained[0][0], str) else json.loads(explained[0][0])
    return int(plan[0]["Plan"]["Shared Hit Blocks"]) + int(plan[0]["Plan"]["Shared Read Blocks"])


async def looked_at(database: Database) -> dict[str, int]:
    """Return what a balance of an instant and a page of a statement cost."""
    own = ids.parse("acc", (await found(database, "a:1")).id)
    now, ever = clock.now(), balances.EVER
    page: dict[str, object] = {"book": BOOK, "id": own, "most": 10, "sequence": -1}
    return {
        "instant": await blocks(database, SQL["as_of_instant"], book=BOOK, id=own, at=now),
        "oldest": await blocks(database, SQL["statement_forward"], **page, after=ever, until=balances.NEVER),
        "newest": await blocks(database, SQL["statement_backward"], **page, before=balances.NEVER, since=ever),
    }


async def test_a_balance_and_a_page_look_at_as_much_with_thousands_of_transfers_behind_them(crowded: Database) -> None:
    await history(crowded, 10)
    few = await looked_at(crowded)
    for _ in range(3):
        await history(crowded, 5_000)
    many = await looked_at(crowded)
    assert {name: many[name] for name in few if many[name] > few[name] + 20} == {}  # deeper trees, not more rows

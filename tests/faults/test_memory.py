"""Memory stays flat: what a process has posted does not stay with it. A million postings, in the soak."""

import gc
import random
from pathlib import Path

import pytest

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.ledger import accounts
from clearhouse.kernel.ledger.accounts import OpenAccount
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.slices.operations.commands import POST
from trying import SOAK

BOOK = 1
ACCOUNTS = 1_000
BATCH = 5_000
POSTINGS = 1_000_000 if SOAK else 50_000
GROWTH_BYTES_MAX = 32 * 1024 * 1024


def resident() -> int:
    """Return how many bytes of memory this process has."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096


def payment() -> PostTransaction:
    debit, credit = random.sample(range(ACCOUNTS), 2)
    return PostTransaction([Leg(debit=f"a:{debit}", credit=f"a:{credit}", amount="1.00", currency="USD")])


@pytest.mark.timeout(1_800)
async def test_a_process_is_no_larger_after_all_that_it_has_posted(database: Database) -> None:
    async with database.writing(book=BOOK) as tx:
        wanted = [OpenAccount(code=f"a:{number}", asset="USD") for number in range(ACCOUNTS)]
        await accounts.open_accounts(tx, [Asked(each, ids.fresh(), ids.NOBODY) for each in wanted], clock.now())
    door = Door(database)
    caller = Caller(ids.fresh(), "soak", books={"main": BOOK}, scopes={BOOK: frozenset({"ledger:post"})})
    await door.submit(POST, [payment() for _ in range(BATCH)], caller=caller, book=BOOK)
    before = resident()
    for _ in range(POSTINGS // BATCH):
        await door.submit(POST, [payment() for _ in range(BATCH)], caller=caller, book=BOOK)
    assert resident() - before < GROWTH_BYTES_MAX

"""A transaction: what it cannot hold is the caller's fault, and who cannot have one is told that nobody is there."""

import pytest

from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db import database as pools
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import Away, Unwritable


@pytest.mark.parametrize("text", ["a\0b", "half a pair: \ud800"])
async def test_a_text_that_no_column_holds_is_told_from_a_fault_of_ours(database: Database, text: str) -> None:
    with pytest.raises(Unwritable):
        async with database.writing(book=1) as tx:
            await cuts.enter(tx, [text])
    async with database.writing(book=1) as tx:
        assert await cuts.enter(tx, ["a"]) == {}


async def test_who_waits_too_long_for_a_connection_is_told_that_nobody_is_there(
    app_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "WAIT_SECONDS_MAX", 0.05)
    narrow = await Database.open(app_dsn, writers_max=1)
    async with narrow.writing():
        with pytest.raises(Away):
            async with narrow.writing():
                pass
    async with narrow.writing() as tx:
        assert await tx.tuples("SELECT 1") == [(1,)]
    await narrow.close()


async def test_what_is_larger_than_a_socket_takes_at_once_is_sent_whole(database: Database) -> None:
    large = "x" * 20_000_000
    async with database.writing() as tx:
        tx.later("SELECT length(%(text)s)", text=large)
        tx.later("SELECT length(%(text)s)", text=large)

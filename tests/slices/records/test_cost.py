"""What a page of the history or a trace costs grows with what it shows, not with what was uploaded: by the rows it reads."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.slices.records import commands, merging, snapshots, states, structures, tracing, uploads
from clearhouse.slices.records.structures import Create, Structure

BOOK = 1
PAGE = 5
LARGE = (500, 4_000)  # how many keys an upload has, each twice
LOOKED_AT = """
SELECT relname::text, seq_tup_read + coalesce(idx_tup_fetch, 0) + coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables
WHERE relname LIKE 'records_%%'
"""
Work = Callable[[Tx, Structure], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "KEYS_SHOWN_MAX", 10)


def asked(command: Any) -> Any:
    return Asked(command, ids.fresh(), ids.NOBODY)


async def made(database: Database, settleid: str) -> Structure:
    create = Create(settleid, ["dur"], "mcCounter", "app", "none", "x:")
    async with database.writing(book=BOOK) as tx:
        answer: Any = (await structures.create_structures(tx, [asked(create)], clock.now()))[0]
    return answer


async def sent(database: Database, structure: Structure, keys: int, *, times: int = 2) -> None:
    lines = [b'{"app":"k%06d","dur":1}' % (number % keys) for number in range(keys * times)]
    command = uploads.uploaded(structure, uploads.read(structure, b"\n".join(lines)), by="x:", organisation="")
    async with database.writing(book=BOOK) as tx:
        assert isinstance((await commands.UPLOAD.run(tx, [asked(command)], clock.now()))[0], uploads.Counted)


async def looked_at(database: Database, structure: Structure, work: Work) -> dict[str, int]:
    """Return how many rows of which table a reader makes PostgreSQL look at, and how often it goes into an index."""
    async with database.reading([BOOK]) as tx:
        its = await structures.find(tx, structure.settleid)
        before = {name: int(str(count)) for name, count in await tx.tuples(LOOKED_AT)}
        await work(tx, its)
        after_ = {str(name): int(str(count)) - before.get(name, 0) for name, count in await tx.tuples(LOOKED_AT)}
    return {name: count for name, count in after_.items() if count}


async def worked(database: Database, settleid: str, keys: int, work: Work) -> dict[str, int]:
    """Return the same for a structure with a snapshot, a large upload after it, and small ones after that."""
    structure = await made(database, settleid)
    await sent(database, structure, keys)
    await snapshots.take_due(database)
    await sent(database, structure, keys)
    for _ in range(PAGE):
        await sent(database, structure, 3, times=1)
    await merging.merge_due(database)
    return await looked_at(database, structure, work)


async def page(tx: Tx, structure: Structure) -> None:
    """Read the newest page of a history: small uploads, and the large one before them."""
    entries = [entry for _, entry in await states.history(tx, structure, most=PAGE + 1)]
    assert [len(each["aggregates"]) for each in entries] == [3] * PAGE + [10]
    assert [each["aggregates"]["k000001"]["dur"] for each in entries] == [str(4 + PAGE - place) for place in range(PAGE + 1)]
    assert all(each["partial"] for each in entries)


async def after(tx: Tx, structure: Structure) -> None:
    """Read what the answer to an upload is."""
    shown = await states.after(tx, structure, structure.changes)
    assert (shown["partial"], len(shown["aggregates"])) == (True, 3)


async def trace(tx: Tx, structure: Structure) -> None:
    """Read the records of one key, page by page."""
    place, found = (0, 0), 0
    while its := await tracing.sources(tx, structure, round_=1, key="k000001", after=place, most=PAGE):
        place, found = (its[-1].change, its[-1].place), found + len(its)
    assert found == 4 + PAGE


@pytest.mark.parametrize("work", [page, after, trace])
async def test_a_page_looks_at_as_much_however_large_the_uploads_are(
    database: Database, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    monkeypatch.setattr(snapshots, "SUMS_BETWEEN", 100)
    few, many = [await worked(database, f"s{keys}", keys, work) for keys in LARGE]
    assert {name: (few.get(name, 0), count) for name, count in many.items() if count > few.get(name, 0) + 5} == {}
    assert sum(many.values()) < 600


async def test_a_past_state_is_found_from_the_snapshot_before_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SUMS_BETWEEN", 100)
    structure = await made(database, "calls")
    for _ in range(20):
        await sent(database, structure, 100, times=1)
        assert await snapshots.take_due(database) == 1  # as much was added as there is
    cost = await looked_at(database, structure, lambda tx, its: states.cells(tx, its, 1, 15))
    assert cost["records_snapshot_cell"] < 110
    assert cost.get("records_staged", 0) < 10


async def test_a_part_of_a_merge_takes_no_more_sums_than_it_may(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ROWS_AT_ONCE", 50)
    for keys in LARGE:
        structure = await made(database, f"s{keys}")
        await sent(database, structure, keys, times=1)
        due = (await merging.waiting(database))[0]
        taken: list[int] = []
        while await merging.merge_part(database, due):
            taken.append(await sums(database, structure) - sum(taken))
        assert taken == [50] * (keys // 50) + [0]


async def sums(database: Database, structure: Structure) -> int:
    async with database.reading([BOOK]) as tx:
        counted = await tx.tuples("SELECT count(*) FROM records_aggregate WHERE structure = %s", [structure.number])
    return int(str(counted[0][0]))

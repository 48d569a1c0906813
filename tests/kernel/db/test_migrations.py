"""The schema's history: applied once each and in order, however many begin at once, to whatever there was before."""

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse import ids
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db import backup
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import Poison
from clearhouse.kernel.db.migrations import AlteredMigration, Migration, UnknownMigration, migrate, migrations
from clearhouse.kernel.journal.writing import digest
from house import House, balance, movement, ok, post
from serving import libraries

Owner = psycopg.Connection[tuple[Any, ...]]
STEPS = [step.number for step in migrations()]
PRODUCTS = 100  # from here on, steps are those of the products
RENAMED = {"reconciliation_delivery": "reconciliation_load", "netting_obligation": "interbank_obligation"}
PROGRAM = (
    "import asyncio, sys; from clearhouse.kernel.db.migrations import migrate; print(len(asyncio.run(migrate(sys.argv[1]))))"
)
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SHOP, REVENUE, PAID, HELD = (ids.derived("older", name) for name in ("shop", "revenue", "paid", "held"))
# What the first release would have left: a second book, two accounts, a payment of 5.00, a hold of 2.00, a journal row.
OLDER = """
INSERT INTO book (name) VALUES ('older');
INSERT INTO ledger_day (book) SELECT id FROM book WHERE name = 'older';
INSERT INTO ledger_account (book, id, code, asset, exponent, normal, opened_at, booked, version,
    debits_posted, credits_posted, debits_pending, credits_pending)
SELECT b.id, n.id, n.code, 'USD', 2, 'credit', %(at)s, %(at)s, 2, n.dp, n.cp, n.dh, n.ch
FROM book AS b, (VALUES (%(shop)s::uuid, 'shop', 500, 0, 200, 0), (%(revenue)s::uuid, 'revenue', 0, 500, 0, 200))
    AS n (id, code, dp, cp, dh, ch);
INSERT INTO ledger_transfer (book, id, sequence, booked, transaction, debit, credit, effective, position, kind, amount,
    debit_debits_posted, debit_credits_posted, debit_debits_pending, debit_credits_pending,
    credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending, reference)
SELECT b.id, n.id, n.place, %(at)s, n.id, %(shop)s, %(revenue)s, '2026-01-31', 0, n.place, n.amount,
    500, 0, n.held, 0, 0, 500, 0, n.held, 'invoice 1'
FROM book AS b, (VALUES (%(paid)s::uuid, 0, 500, 0), (%(held)s::uuid, 1, 200, 200)) AS n (id, place, amount, held);
INSERT INTO ledger_hold (book, id, remaining) SELECT id, %(held)s, 200 FROM book;
INSERT INTO journal (book, at, kind, principal, lines, digest)
SELECT id, %(at)s, 'older', 'older', '[]', %(digest)s FROM book WHERE name = 'main';
"""


@contextmanager
def owner(dsn: str) -> Generator[Owner]:
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=clearhouse") as connection:
        yield connection


def asked(dsn: str, question: str) -> list[tuple[Any, ...]]:
    with owner(dsn) as connection:
        return connection.execute(question.encode()).fetchall()


def history(dsn: str) -> list[tuple[Any, ...]]:
    return asked(dsn, "SELECT number, name, digest, applied_at FROM migration ORDER BY number")


def fill(dsn: str) -> None:
    """Put into a database what the first release would have left there."""
    values = {
        "at": AT, "shop": SHOP, "revenue": REVENUE, "paid": PAID, "held": HELD,
        "digest": digest(1, AT, "older", "older", "[]"),
    }  # fmt: skip
    with psycopg.ClientCursor(psycopg.connect(dsn, autocommit=True, options="-c search_path=clearhouse")) as cursor:
        cursor.execute(OLDER.encode(), values)
        cursor.connection.close()


def test_no_two_steps_have_one_number_and_those_of_the_kernel_have_no_gap() -> None:
    kernel = [number for number in STEPS if number < PRODUCTS]
    assert sorted(set(STEPS)) == STEPS
    assert kernel == list(range(1, len(kernel) + 1))


async def test_an_empty_database_gets_every_step_in_order(fresh_dsn: str) -> None:
    told: list[Migration] = []
    applied = await migrate(fresh_dsn, applied=told.append)
    assert [step.number for step in applied] == STEPS
    assert told == applied
    assert [row[:3] for row in history(fresh_dsn)] == [(step.number, step.name, step.digest) for step in migrations()]


async def test_running_again_does_nothing(fresh_dsn: str) -> None:
    await migrate(fresh_dsn)
    before = history(fresh_dsn)
    told: list[Migration] = []
    assert await migrate(fresh_dsn, applied=told.append) == told == []
    assert history(fresh_dsn) == before


async def test_it_goes_as_far_as_it_is_told_and_on_from_there(fresh_dsn: str) -> None:
    for number in STEPS:
        assert [step.number for step in await migrate(fresh_dsn, up_to=number)] == [number]
    assert await migrate(fresh_dsn, up_to=1) == []


@pytest.mark.parametrize("start", STEPS[:-1])
async def test_what_an_older_release_left_is_there_and_goes_on(fresh_dsn: str, app_dsn: str, start: int) -> None:
    await migrate(fresh_dsn, up_to=start)
    fill(fresh_dsn)
    before = rows(fresh_dsn)
    await migrate(fresh_dsn)
    after = renamed(before)
    assert rows(fresh_dsn, *after) == after
    address = make_conninfo(app_dsn, dbname=str(conninfo_to_dict(fresh_dsn)["dbname"]))
    database = await Database.open(address)
    try:
        await at_work(database)
    finally:
        await database.close()


@pytest.mark.parametrize("start", [1, 10, STEPS[-2]])
async def test_a_dump_of_an_older_release_is_restored_and_brought_up_to_date(
    fresh_dsn: str, database_dsn: str, app_dsn: str, tmp_path: Path, start: int
) -> None:
    await migrate(fresh_dsn, up_to=start)
    fill(fresh_dsn)
    before = rows(fresh_dsn)
    dump = await backup.logical(fresh_dsn, tmp_path / "older.dump")
    name = f"{conninfo_to_dict(fresh_dsn)['dbname']}_restored"
    with psycopg.connect(database_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            restored = make_conninfo(fresh_dsn, dbname=name)
            await backup.restore(dump, restored)
            assert rows(restored) == before
            assert [step.number for step in await migrate(restored)] == [step for step in STEPS if step > start]
            after = renamed(before)
            assert rows(restored, *after) == after
            database = await Database.open(make_conninfo(app_dsn, dbname=name))
            try:
                await at_work(database)
            finally:
                await database.close()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def rows(dsn: str, *names: str) -> dict[str, Any]:
    """Return how many rows there are in these tables, or in all."""
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'clearhouse'::regnamespace"
    wanted = names or [name for (name,) in asked(dsn, tables) if name != "migration"]
    return {name: asked(dsn, f"SELECT count(*) FROM {name}") for name in wanted}


def renamed(before: dict[str, Any]) -> dict[str, Any]:
    """Return the same rows under the names that their tables have now."""
    return {RENAMED.get(name, name): count for name, count in before.items()}


async def at_work(database: Database) -> None:
    """Do a day's work on what was there before."""
    key = await bootstrap.ensure_admin(database)
    assert key is not None
    async with House.opened(database, key) as house:
        operator = await house.caller("operator", "auditor")
        assert [await balance(operator, code) for code in ("shop", "revenue")] == ["-5.00", "5.00"]
        ok(await operator.post(f"/api/v1/ledger/holds/{ids.text('trf', HELD)}/capture", json={}))
        await post(operator, movement("shop", "revenue", "1.00"))
        ok(await operator.post(f"/api/v1/ledger/transactions/{ids.text('trx', PAID)}/reverse", json={}))
        assert await balance(operator, "revenue") == "3.00"
        assert ok(await operator.post("/api/v1/ledger/verify"))["intact"]
        await house.seal()
        assert ok(await operator.get("/api/v1/audit/lines"))["items"][0]["kind"] == "older"
        assert ok(await operator.post("/api/v1/audit/verify"))["intact"]


async def test_each_step_is_applied_once_however_many_begin_at_once(fresh_dsn: str) -> None:
    await migrate(fresh_dsn, up_to=1)
    applied = await asyncio.gather(*(migrate(fresh_dsn) for _ in range(6)))
    assert sorted(step.number for steps in applied for step in steps) == STEPS[1:]


def test_each_step_is_applied_once_however_many_processes_begin_at_once(fresh_dsn: str) -> None:
    command = [sys.executable, "-c", PROGRAM, fresh_dsn]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": libraries()}) for _ in range(3)
    ]
    counts = [int(each.communicate(timeout=60)[0]) for each in started]
    assert sorted(counts) == [0, 0, len(STEPS)]
    assert len(history(fresh_dsn)) == len(STEPS)


@pytest.mark.parametrize("number", STEPS)
async def test_a_step_that_was_altered_since_is_refused_and_nothing_is_applied(fresh_dsn: str, number: int) -> None:
    await migrate(fresh_dsn, up_to=number)
    with owner(fresh_dsn) as connection:
        connection.execute("UPDATE migration SET digest = 'another' WHERE number = %s", [number])
    before = history(fresh_dsn)
    with pytest.raises(AlteredMigration, match=f"Migration {number} "):
        await migrate(fresh_dsn)
    assert history(fresh_dsn) == before


async def test_a_database_of_a_newer_release_is_refused(fresh_dsn: str) -> None:
    await migrate(fresh_dsn, up_to=1)
    with owner(fresh_dsn) as connection:
        connection.execute("INSERT INTO migration (number, name, digest) VALUES (9999, 'of tomorrow', '')")
    before = history(fresh_dsn)
    with pytest.raises(UnknownMigration, match="at migration 9999"):
        await migrate(fresh_dsn)
    assert history(fresh_dsn) == before


async def test_a_step_that_fails_leaves_nothing_and_is_applied_when_it_can_be(fresh_dsn: str) -> None:
    await migrate(fresh_dsn, up_to=1)
    with owner(fresh_dsn) as connection:
        connection.execute("CREATE TABLE access_key ()")
        with pytest.raises(Poison, match="already exists"):
            await migrate(fresh_dsn)
        assert asked(fresh_dsn, "SELECT to_regclass('clearhouse.principal')::text") == [(None,)]
        assert len(history(fresh_dsn)) == 1
        connection.execute("DROP TABLE access_key")
    assert [step.number for step in await migrate(fresh_dsn)] == STEPS[1:]


async def test_databases_of_one_server_are_migrated_at_once(fresh_dsn: str, database_dsn: str) -> None:
    other = conninfo_to_dict(fresh_dsn)["dbname"]
    with psycopg.connect(database_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {other}_second".encode())
        try:
            both = await asyncio.gather(migrate(fresh_dsn), migrate(make_conninfo(fresh_dsn, dbname=f"{other}_second")))
        finally:
            connection.execute(f"DROP DATABASE {other}_second WITH (FORCE)".encode())
    assert [[step.number for step in steps] for steps in both] == [STEPS, STEPS]

"""Addresses: an end that is gone holds nothing here, and what the operator wrote into DATABASE_URL stands."""

import asyncio

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse.kernel.db import reaching
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.faults import Lost
from clearhouse.kernel.db.migrations import admit
from clearhouse.kernel.db.reaching import SETTINGS, TRAITS, address

LOCK = "SELECT pg_advisory_xact_lock(1)"


async def shown(tx: Tx, *names: str) -> list[str]:
    return [str(each) for name in names for (each,) in await tx.tuples(f"SHOW {name}")]


def test_every_address_has_what_ends_a_connection_that_is_dead() -> None:
    given = conninfo_to_dict(address("host=db", name="it"))
    assert {name: given.get(name) for name in TRAITS} == {name: str(value) for name, value in TRAITS.items()}
    assert all(f"-c {name}={value}" in str(given["options"]) for name, value in SETTINGS.items())


@pytest.mark.parametrize("trait", TRAITS)
def test_what_the_operator_wrote_stands(trait: str) -> None:
    given = conninfo_to_dict(address(f"postgresql://db/house?{trait}=77", name="it"))
    assert {name for name in TRAITS if given[name] != str(TRAITS[name])} == {trait}
    assert given[trait] == "77"


def test_an_address_that_stands_elsewhere_is_left_alone() -> None:
    given = conninfo_to_dict(address("service=house", name="it"))
    assert set(given) == {"service", "options", "application_name"}


async def test_options_of_the_operator_stand_and_ours_that_are_needed_too(app_dsn: str) -> None:
    theirs = "-c idle_in_transaction_session_timeout=5s -c lock_timeout=7s -c search_path=elsewhere -c work_mem=9MB"
    database = await Database.open(make_conninfo(app_dsn, options=theirs))
    for way in (database.writing(), database.reading([1])):
        async with way as tx:
            found = await shown(tx, "idle_in_transaction_session_timeout", "lock_timeout", "work_mem", "search_path")
            assert found == ["5s", "7s", "9MB", "clearhouse"]
    await database.close()


async def test_however_many_processes_start_at_once_each_is_let_in(owner_dsn: str, app_dsn: str) -> None:
    password = str(conninfo_to_dict(app_dsn)["password"])
    for _ in range(5):
        admitted = await asyncio.gather(*(admit(owner_dsn, password) for _ in range(8)))
        assert {conninfo_to_dict(each)["user"] for each in admitted} == {"clearhouse_app"}


@pytest.mark.parametrize("how", ["by its first statement", "by its second", "together with others"])
async def test_whoever_is_silent_in_a_transaction_is_ended_and_its_locks_are_free(
    app_dsn: str, owner_dsn: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setitem(reaching.SETTINGS, "idle_in_transaction_session_timeout", 100)
    database = await Database.open(app_dsn)

    async def locked(tx: Tx) -> None:
        if how == "by its second":
            await tx.tuples("SELECT 1")
        if how == "together with others":
            tx.later(LOCK)
            await tx.flush()
        else:
            await tx.tuples(LOCK)

    async def silent() -> None:
        async with database.writing() as tx:
            await locked(tx)
            async with await psycopg.AsyncConnection.connect(owner_dsn) as other, asyncio.timeout(30):
                await other.execute(LOCK.encode())
            await tx.tuples("SELECT 1")

    with pytest.raises(Lost):
        await silent()
    async with database.writing() as tx:
        assert await tx.tuples("SELECT 1") == [(1,)]
    await database.close()

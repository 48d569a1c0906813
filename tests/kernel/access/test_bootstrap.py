"""The first administrator: made once, let in by ADMIN_KEY or by a key shown once, and by nothing that was replaced."""

import pytest

from clearhouse import ids
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.access.authentication import Gate, Unauthenticated
from clearhouse.kernel.access.bootstrap import AdminKeyTooShort, AdminKeyUnusable, AdminKeyUsed
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.db.database import Database
from house import House, ok

FIRST = "the-first-key-of-the-house"
SECOND = "the-second-key-of-the-house"
KEYS = "/api/v1/access/keys"
PRINCIPALS = "/api/v1/access/principals"


async def let_in(database: Database, credential: str) -> Caller | None:
    """Return who a credential lets in, asked afresh."""
    try:
        return await Gate(database).caller(f"Bearer {credential}")
    except Unauthenticated:
        return None


async def test_the_first_start_makes_one_administrator_and_shows_its_key_once(database: Database) -> None:
    made = await bootstrap.ensure_admin(database)
    assert made is not None
    assert await bootstrap.ensure_admin(database) is None
    caller = await let_in(database, made)
    assert caller is not None
    assert (caller.name, list(caller.books)) == ("admin", ["main"])


async def test_the_key_of_the_settings_is_the_administrators_and_is_not_shown(database: Database) -> None:
    for _ in range(2):
        assert await bootstrap.ensure_admin(database, FIRST) is None
    caller = await let_in(database, FIRST)
    assert caller is not None
    assert caller.allows("access:write", caller.book("main"))


async def test_a_new_key_in_the_settings_replaces_the_old_one_and_nobody_else(database: Database) -> None:
    await bootstrap.ensure_admin(database, FIRST)
    before = await let_in(database, FIRST)
    await bootstrap.ensure_admin(database, SECOND)
    assert before is not None
    assert await let_in(database, SECOND) == before
    assert await let_in(database, FIRST) is None


async def test_a_key_that_was_replaced_is_refused_in_the_settings_and_changes_nothing(database: Database) -> None:
    for key in (FIRST, SECOND):
        await bootstrap.ensure_admin(database, key)
    with pytest.raises(AdminKeyUsed):
        await bootstrap.ensure_admin(database, FIRST)
    assert await let_in(database, SECOND) is not None
    assert await let_in(database, FIRST) is None


async def test_a_key_of_the_settings_that_was_revoked_does_not_come_back(database: Database) -> None:
    await bootstrap.ensure_admin(database, FIRST)
    made = await bootstrap.recover_admin(database)
    async with House.opened(database, made) as house:
        ok(await house.admin.post(f"{KEYS}/{ids.text('key', ids.derived('admin-key', FIRST))}/revoke"))
    await bootstrap.ensure_admin(database, FIRST)
    assert await let_in(database, FIRST) is None


async def test_no_earlier_key_opens_anything_even_if_somebody_else_administrates_now(database: Database) -> None:
    await bootstrap.ensure_admin(database, FIRST)
    first = await let_in(database, FIRST)
    assert first is not None
    async with House.opened(database, FIRST) as house:
        successor = await house.caller("admin")
        ok(await successor.put(f"{PRINCIPALS}/{ids.text('prn', first.id)}/roles", json={"roles": ["viewer"]}))
    await bootstrap.ensure_admin(database, SECOND)
    assert await let_in(database, FIRST) is None
    second = await let_in(database, SECOND)
    assert second is not None
    assert second.id != first.id


async def test_an_administrator_who_was_shut_out_does_not_come_back_by_the_settings(database: Database) -> None:
    await bootstrap.ensure_admin(database, FIRST)
    first = await let_in(database, FIRST)
    assert first is not None
    async with House.opened(database, FIRST) as house:
        successor = await house.caller("admin")
        ok(await successor.post(f"{PRINCIPALS}/{ids.text('prn', first.id)}/disable"))
    await bootstrap.ensure_admin(database, FIRST)
    assert await let_in(database, FIRST) is None


async def test_a_lost_key_is_recovered_and_the_others_stay(database: Database) -> None:
    await bootstrap.ensure_admin(database, FIRST)
    made = await bootstrap.recover_admin(database)
    assert await let_in(database, made) == await let_in(database, FIRST) is not None


async def test_a_new_administrator_is_made_when_none_is_left(database: Database) -> None:
    made = await bootstrap.ensure_admin(database)
    async with database.writing() as tx:
        await tx.do("UPDATE principal SET disabled_at = now()")
    recovered = await bootstrap.recover_admin(database)
    caller = await let_in(database, recovered)
    assert made is not None
    assert await let_in(database, made) is None
    assert caller is not None
    assert caller.name.startswith("admin ")


@pytest.mark.parametrize("short", ["", "fifteen letters"])
async def test_a_short_key_in_the_settings_is_refused(database: Database, short: str) -> None:
    with pytest.raises(AdminKeyTooShort):
        await bootstrap.ensure_admin(database, short)


@pytest.mark.parametrize(
    "unusable",
    ["ck_looks-like-one-of-ours", "der Schlüssel des Hauses", " begins-with-a-space", "line\nbreak" * 3, "x" * 1_001],
)
async def test_a_key_in_the_settings_that_no_header_can_carry_is_refused(database: Database, unusable: str) -> None:
    with pytest.raises(AdminKeyUnusable):
        await bootstrap.ensure_admin(database, unusable)


async def test_every_key_of_an_administrator_is_in_the_journal(database: Database) -> None:
    await bootstrap.ensure_admin(database, FIRST)
    await bootstrap.ensure_admin(database, SECOND)
    await bootstrap.recover_admin(database)
    async with database.writing() as tx:
        rows = await tx.tuples("SELECT lines FROM journal WHERE kind = 'access.bootstrap' ORDER BY id")
    told = [str(lines) for (lines,) in rows]
    assert [label in lines for label, lines in zip(("ADMIN_KEY", "ADMIN_KEY", "recovered"), told, strict=True)] == [True] * 3
    assert FIRST not in "".join(told)

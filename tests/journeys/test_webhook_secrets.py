"""Secrets of webhooks at rest: sealed in the table and in every backup, under keys that are elsewhere and can change."""

import base64
from collections.abc import Generator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from standardwebhooks import Webhook

from clearhouse.app.config import Config
from clearhouse.app.seals import open_seals
from clearhouse.kernel.access.sealing import SEALING
from clearhouse.kernel.db import backup
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.migrations import migrate
from hooking import WEBHOOKS, Hooks
from house import House, ok, refused
from receiving import Receiver

OPENED = "ledger.account_opened"
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture(autouse=True)
def keys_of_others() -> Generator[None]:
    """Leave this process with the keys that it had."""
    before = SEALING.keys
    yield
    SEALING.use(before)


async def started(database: Database, *keys: str) -> list[str]:
    """Do what a start does about secrets, and return what it told."""
    told = list[str]()
    await open_seals(Config(secrets_keys=",".join(keys)), database, told.append)
    return told


async def stored(tx: Tx) -> list[str]:
    return [str(secret) for (secret,) in await tx.tuples("SELECT secret FROM webhook_secret ORDER BY id")]


async def kept(hooks: Hooks) -> list[str]:
    async with hooks.house.database.writing() as tx:
        return await stored(tx)


async def test_what_is_stored_is_sealed_and_what_is_sent_is_signed(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    replaced = await hooks.say(webhook, "secret")
    assert [each[: len(SEALING.current)] for each in await kept(hooks)] == [SEALING.current] * 2
    await hooks.happen("shop")
    await hooks.turn()
    for secret in (webhook["secret"], replaced["secret"]):
        assert secret not in "".join(await kept(hooks))
        Webhook(secret).verify(receiver.taken[0].body, receiver.taken[0].headers)


async def test_a_backup_holds_no_secret_and_no_key(
    hooks: Hooks, receiver: Receiver, owner_dsn: str, open_folder: Path
) -> None:
    told = await started(hooks.house.database, NEW)
    webhook = await hooks.add(receiver.url, OPENED)
    made = await backup.logical(owner_dsn, open_folder / "secrets.dump")
    plain = await backup.Program(backup.binary("pg_restore"), ["--file=-", str(made)]).run()
    assert SEALING.current in plain
    assert webhook["secret"].removeprefix("whsec_") not in plain
    assert not any(key in plain + "".join(told) for key in (NEW, NEW.rstrip("=")))


async def test_a_secret_that_is_moved_to_another_webhook_or_book_does_not_sign_there(
    hooks: Hooks, receiver: Receiver
) -> None:
    mine = await hooks.add("https://192.0.2.7/", OPENED)
    other = await hooks.add(receiver.url, OPENED)
    async with hooks.house.database.writing() as tx:
        known, _ = await stored(tx)
        await tx.do("UPDATE webhook_secret SET secret = %(secret)s", secret=known)
    await hooks.say(mine, "disable")
    await hooks.happen("shop")
    await hooks.turn()
    assert receiver.taken == []
    assert "moved from another row" in (await hooks.deliveries(other))[0]["answer"]


async def test_with_another_key_nothing_is_signed_and_the_sentence_names_the_key_that_is_missing(
    hooks: Hooks, receiver: Receiver, owner_dsn: str, fresh_dsn: str, app_dsn: str, open_folder: Path
) -> None:
    assert await started(hooks.house.database, OLD) == []
    webhook = await hooks.add(receiver.url, OPENED)
    lost = SEALING.first.id
    made = await backup.logical(owner_dsn, open_folder / "moved.dump")
    await backup.restore(made, fresh_dsn)
    assert await migrate(fresh_dsn) == []
    database = await Database.open(make_conninfo(app_dsn, dbname=str(conninfo_to_dict(fresh_dsn)["dbname"])))
    key = hooks.house.admin.headers["authorization"].partition(" ")[2]
    try:
        async with House.opened(database, key) as restored, Hooks.opened(restored, by="who is there") as there:
            (told,) = await started(database, NEW)
            assert lost in told
            await _works_but_for_what_was_sealed(there, receiver, webhook["id"], lost)
            assert await started(database, NEW, OLD) == [f"secrets sealed under key {SEALING.first.id} now: 1"]
            await there.hurry()
            await there.turn()
            assert await there.states(webhook) == ["delivered", "delivered"]
    finally:
        await database.close()
    Webhook(webhook["secret"]).verify(receiver.taken[-1].body, receiver.taken[-1].headers)


async def _works_but_for_what_was_sealed(there: Hooks, receiver: Receiver, webhook: str, lost: str) -> None:
    """See that one webhook waits and says why, while money moves, another one is served, and a new secret can be had."""
    async with Receiver.opened() as another:
        added = await there.add(another.url, OPENED)
        await there.happen("later")
        await there.turn()
        Webhook(added["secret"]).verify(another.taken[0].body, another.taken[0].headers)
    (tried,) = await there.deliveries({"id": webhook})
    assert (tried["state"], tried["status"], receiver.taken) == ("pending", None, [])
    assert lost in tried["answer"]
    replaced = await there.say({"id": webhook}, "secret")
    await there.happen("after")
    await there.turn()
    taken = receiver.taken.pop()
    assert Webhook(replaced["secret"]).verify(taken.body, taken.headers)["data"]["code"] == "after"
    receiver.taken.clear()


async def test_what_was_stored_in_plain_before_is_sealed_by_the_next_start(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    async with hooks.house.database.writing() as tx:
        await tx.do("UPDATE webhook_secret SET secret = %(secret)s", secret=webhook["secret"])
    await hooks.happen("shop")
    await hooks.turn()
    assert "never sealed" in (await hooks.deliveries(webhook))[0]["answer"]
    (told,) = await started(hooks.house.database, NEW)
    assert told.endswith("now: 1")
    assert (await kept(hooks))[0].startswith(SEALING.current)
    await hooks.hurry()
    await hooks.turn()
    Webhook(webhook["secret"]).verify(receiver.taken[0].body, receiver.taken[0].headers)


async def test_a_key_is_replaced_without_a_pause_and_the_old_one_can_go(hooks: Hooks, receiver: Receiver) -> None:
    await started(hooks.house.database, OLD)
    webhook = await hooks.add(receiver.url, OPENED)
    for number, keys in enumerate(((OLD, NEW), (NEW, OLD), (NEW,))):
        told = await started(hooks.house.database, *keys)
        assert len(told) == (keys == (NEW, OLD))
        await hooks.happen(f"shop:{number}")
        await hooks.turn()
        Webhook(webhook["secret"]).verify(receiver.taken[-1].body, receiver.taken[-1].headers)
    assert len(receiver.taken) == 3


async def test_a_process_that_can_keep_no_key_starts_says_so_and_makes_no_webhook(hooks: Hooks, tmp_path: Path) -> None:
    webhook = await hooks.add("https://192.0.2.7/", OPENED)
    (tmp_path / "file").touch()
    told: list[str] = []
    await open_seals(Config(data=tmp_path / "file" / "data", database_url="elsewhere"), hooks.house.database, told.append)
    assert "SECRETS_KEYS" in told[0]
    answered = await hooks.house.admin.post(WEBHOOKS, json={"url": "https://192.0.2.7/"})
    assert refused(answered, 503) == "no_secrets_keys"
    replacing = await hooks.house.admin.post(f"{WEBHOOKS}/{webhook['id']}/secret")
    assert refused(replacing, 503) == "no_secrets_keys"
    assert [each["id"] for each in ok(await hooks.house.admin.get(WEBHOOKS))["items"]] == [webhook["id"]]


async def test_no_door_shows_what_is_sealed(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    for path in (WEBHOOKS, f"{WEBHOOKS}/{webhook['id']}", f"{WEBHOOKS}/{webhook['id']}/deliveries"):
        assert "sealed." not in str(ok(await hooks.house.admin.get(path)))

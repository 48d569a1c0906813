"""Backups while money moves, restored elsewhere: what was acknowledged is there, and every sum and every link holds."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse import ids
from clearhouse.kernel.db import backup
from clearhouse.kernel.db.backup import NotABackup, TargetNotEmpty
from clearhouse.kernel.db.binaries import ProgramFailed
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.migrations import admit, migrate
from house import House, movement, ok, post
from serving import MEMORY_BYTES

LEDGER, AUDIT = "/api/v1/ledger", "/api/v1/audit"
POSTED_BEFORE = 25


@pytest.fixture
def place(open_folder: Path) -> Iterator[Path]:
    """Give a folder that the server's user can reach; whatever server is made in it is removed."""
    found = Path(tempfile.mkdtemp(prefix="backup-", dir=open_folder))
    found.chmod(0o711)
    yield found
    asyncio.run(EmbeddedServer.destroy(found / "elsewhere"))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def commands() -> list[str]:
    """Return the command line of every program that runs on this machine."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found


class Till:
    """Somebody who posts one payment after another, and writes down which were acknowledged."""

    def __init__(self, house: House, operator: httpx.AsyncClient) -> None:
        self.house = house
        self.operator = operator
        self.acknowledged: list[str] = []

    async def pay(self) -> None:
        posted = await post(
            self.operator, movement("shop", "revenue", "1.00"), movement("revenue", "shop", "0.25", pending=True)
        )
        self.acknowledged.append(posted["id"])

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Post for as long as the block lasts."""
        closed = asyncio.Event()

        async def work() -> None:
            while not closed.is_set():
                await self.pay()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            yield
            closed.set()


@pytest.fixture
async def till(house: House) -> Till:
    """Give a till that has been at work."""
    operator = await house.caller("operator", "auditor")
    await house.open_accounts(operator, "shop", "revenue")
    found = Till(house, operator)
    for _ in range(POSTED_BEFORE):
        await found.pay()
    await house.seal()
    return found


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[str]:
    server = EmbeddedServer(folder, memory_bytes=MEMORY_BYTES, refuge=folder / "refuge")
    dsn = await server.start()
    try:
        yield dsn
    finally:
        await server.stop()


async def prove(dsn: str, till: Till, *, before: list[str], head: str) -> None:
    """Look at a restored database: complete up to the backup's begin, whole in itself, and able to go on."""
    database = await Database.open(dsn)
    try:
        async with database.reading([1]) as tx:
            found = {ids.text("trx", transaction) for (transaction,) in await transactions(tx)}
        assert found >= set(before)
        assert found <= set(till.acknowledged)
        assert len(found) > POSTED_BEFORE - 1
        async with House.opened(database, till.house.admin.headers["authorization"].partition(" ")[2]) as restored:
            await verified(restored, head)
    finally:
        await database.close()


async def transactions(tx: Any) -> list[tuple[Any, ...]]:
    return await tx.tuples("SELECT DISTINCT transaction FROM ledger_transfer")


async def verified(restored: House, head: str) -> None:
    """Verify the ledger and the trail of a restored house, then let it work on."""
    clerk = await restored.caller("operator", "auditor", name="after the fire")
    await post(clerk, movement("shop", "revenue", "1.00"))
    await restored.seal()
    assert ok(await clerk.post(f"{LEDGER}/verify"))["intact"]
    assert ok(await clerk.post(f"{AUDIT}/verify", params={"head": head}))["intact"]
    assert [line["difference"] for line in ok(await clerk.get(f"{LEDGER}/trial-balance"))] == ["0.00"]


async def head_of(till: Till) -> str:
    return str(ok(await till.operator.get(f"{AUDIT}/head"))["head"])


async def test_a_copy_made_while_money_moves_is_restored_elsewhere(
    till: Till, owner_dsn: str, app_dsn: str, place: Path
) -> None:
    told: list[str] = []
    async with till.open():
        before, head = [*till.acknowledged], await head_of(till)
        made = await backup.physical(owner_dsn, place / "copies", progress=told.append)
        assert len(till.acknowledged) > len(before)
    assert told
    assert names(place / "copies") == [made.name]
    await backup.restore(made, place / "elsewhere", refuge=place / "refuge")
    async with running(place / "elsewhere") as dsn:
        await prove(make_conninfo(app_dsn, host=str(conninfo_to_dict(dsn)["host"])), till, before=before, head=head)


async def test_a_dump_made_while_money_moves_is_restored_on_another_server(till: Till, owner_dsn: str, place: Path) -> None:
    async with till.open():
        before, head = [*till.acknowledged], await head_of(till)
        made = await backup.logical(owner_dsn, place / "kept.dump")
        assert len(till.acknowledged) > len(before)
    async with running(place / "elsewhere") as dsn:
        await backup.restore(made, dsn)
        assert await migrate(dsn) == []
        with psycopg.connect(dsn) as connection:
            granted = connection.execute("SELECT pg_has_role('clearhouse_reader', 'pg_read_all_stats', 'MEMBER')")
            assert granted.fetchone() == (True,)
        await prove(await admit(dsn, "another password"), till, before=before, head=head)


async def test_a_dump_holds_no_password(till: Till, owner_dsn: str, place: Path) -> None:
    await backup.logical(owner_dsn, place / "kept.dump")
    password = str(conninfo_to_dict(owner_dsn)["password"]).encode()
    for kept in [place / "kept.dump", place / "kept.dump.roles.json"]:
        assert b"SCRAM" not in kept.read_bytes()
        assert password not in kept.read_bytes()
    assert len(till.acknowledged) == POSTED_BEFORE


async def test_nothing_is_restored_over_what_is_there(owner_dsn: str, place: Path) -> None:
    dump = await backup.logical(owner_dsn, place / "kept.dump")
    with pytest.raises(TargetNotEmpty):
        await backup.restore(dump, owner_dsn)
    (place / "copy").mkdir()
    (place / "copy" / "backup_manifest").write_text("{}")
    (place / "full").mkdir()
    (place / "full" / "mine").write_text("mine")
    with pytest.raises(TargetNotEmpty):
        await backup.restore(place / "copy", place / "full")
    assert names(place / "full") == ["mine"]


async def test_no_backup_takes_the_place_of_another_file(owner_dsn: str, place: Path) -> None:
    (place / "kept.dump").write_text("mine")
    with pytest.raises(TargetNotEmpty):
        await backup.logical(owner_dsn, place / "kept.dump")
    assert (place / "kept.dump").read_text() == "mine"


async def test_what_is_no_backup_is_not_restored(fresh_dsn: str, place: Path) -> None:
    (place / "text").write_text("not a dump")
    with pytest.raises(ProgramFailed, match="valid archive"):
        await backup.restore(place / "text", fresh_dsn)
    for source, target in (
        (place, place / "elsewhere"),
        (place / "nothing", fresh_dsn),
        (place / "text", place / "elsewhere"),
    ):
        with pytest.raises(NotABackup):
            await backup.restore(source, target)
    assert not (place / "elsewhere").exists()


async def test_a_copy_that_was_altered_is_refused_and_nothing_is_left(owner_dsn: str, place: Path) -> None:
    made = await backup.physical(owner_dsn, place / "copies")
    databases = made / "global" / "1262"
    databases.write_bytes(bytes(byte ^ 1 for byte in databases.read_bytes()))
    with pytest.raises(ProgramFailed, match="checksum mismatch"):
        await backup.restore(made, place / "elsewhere", refuge=place / "refuge")
    assert not (place / "elsewhere").exists()


async def test_a_dump_cut_short_leaves_the_database_as_it_was(owner_dsn: str, fresh_dsn: str, place: Path) -> None:
    made = await backup.logical(owner_dsn, place / "kept.dump")
    made.write_bytes(made.read_bytes()[:-2_000])
    with pytest.raises(ProgramFailed):
        await backup.restore(made, fresh_dsn)
    with psycopg.connect(fresh_dsn) as connection:
        assert connection.execute("SELECT to_regnamespace('clearhouse')::text").fetchone() == (None,)


async def test_a_backup_that_is_broken_off_leaves_nothing_that_looks_like_one(owner_dsn: str, place: Path) -> None:
    begun = asyncio.Event()

    def told(line: str) -> None:
        if "kB" in line:
            begun.set()

    making = asyncio.create_task(backup.physical(owner_dsn, place / "copies", progress=told))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert names(place / "copies") == []
    assert [each for each in commands() if str(place) in each] == []
    with pytest.raises(ProgramFailed, match="does not exist"):
        await backup.logical(make_conninfo(owner_dsn, dbname="nowhere"), place / "kept.dump")
    assert names(place) == ["copies"]

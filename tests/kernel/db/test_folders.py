"""The folder of a server: one at a time has it, what is not ours is left alone, and its log does not grow for ever."""

import os
from pathlib import Path

import psycopg
import pytest

from clearhouse.kernel.db import cluster, migrations, roles
from clearhouse.kernel.db.home import FolderInUse, FolderNotOurs, Home, claim
from clearhouse.kernel.db.migrations import ServerTooOld, migrate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_folder_is_had_by_one_at_a_time_and_is_free_again_afterwards(folder: Path) -> None:
    first = claim(folder)
    with pytest.raises(FolderInUse) as taken:
        claim(folder)
    assert taken.value.values["pid"] == str(os.getpid())
    os.close(first)
    os.close(claim(folder))


def test_a_folder_whose_lock_is_no_file_of_ours_is_refused(folder: Path) -> None:
    (folder / "server.lock").mkdir(parents=True)
    with pytest.raises(FolderNotOurs):
        claim(folder)


def test_a_log_that_has_grown_is_put_aside_at_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.close(claim(folder))
    home = Home.of(folder, folder.parent / "refuge")
    home.make()
    home.log.write_text("a long story")
    cluster.configure(home, 1024**3)
    assert home.log.exists()
    monkeypatch.setattr(cluster, "LOG_BYTES_MAX", 5)
    cluster.configure(home, 1024**3)
    assert not home.log.exists()
    assert home.log.with_suffix(".log.1").read_text() == "a long story"


async def test_a_server_of_long_ago_is_refused_and_nothing_is_made_in_it(
    fresh_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "OLDEST_SERVER", 990_000)
    with pytest.raises(ServerTooOld):
        await migrate(fresh_dsn)
    with psycopg.connect(fresh_dsn) as owner:
        assert owner.execute("SELECT to_regnamespace('clearhouse')").fetchone() == (None,)


async def test_a_dump_without_a_note_of_roles_needs_none(fresh_dsn: str, tmp_path: Path) -> None:
    question = b"SELECT array_agg(rolname ORDER BY rolname) FROM pg_roles"
    async with await psycopg.AsyncConnection[tuple[object, ...]].connect(fresh_dsn) as connection:
        before = await (await connection.execute(question)).fetchall()
        await roles.make_noted(connection, tmp_path / "a.dump")
        assert await (await connection.execute(question)).fetchall() == before

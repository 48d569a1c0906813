"""The program as people run it: started, ended, started again and killed, as root and as an ordinary user."""

import asyncio
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from clearhouse.kernel.db.embedded import EmbeddedServer
from clearhouse.kernel.db.survivors import survivors
from serving import Program, copied, gone, interpreter, libraries, operator_key, program, until

BACKPORT = "from asyncio import timeout\n"  # what redis needs of it before Python 3.11.3
KEY_FOLLOWS = "admin.key): "
LEDGER = "/api/v1/ledger"
NOBODY = 65_534
PRINCIPALS = "/api/v1/access/principals"
SAME_PYTHON = Path(interpreter(NOBODY)).resolve().name == f"python3.{sys.version_info.minor}"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone can become somebody else")
with_a_python = pytest.mark.skipif(not SAME_PYTHON, reason="no Python of this version that an ordinary user can start")


@dataclass(frozen=True, slots=True)
class Left:
    """A data folder that a first run has left: a payment is in it, and here are the keys that it gave out."""

    folder: Path
    key: str
    admin_key: str


@pytest.fixture(scope="module")
def first(open_folder: Path) -> Left:
    """Run the program for the first time and post a payment."""
    folder = open_folder / "first"
    with program(folder) as server:
        admin_key = server.ready().after(KEY_FOLLOWS)
        left = Left(folder, written(server, admin_key), admin_key)
        assert server.end(signal.SIGINT) == 0
    assert server.told.count(admin_key) == 1
    return left


@pytest.fixture
def place(open_folder: Path) -> Iterator[Path]:
    """Give a data folder that is not there yet."""
    made = Path(tempfile.mkdtemp(prefix="program-", dir=open_folder))
    made.chmod(0o711)
    yield made / "data"
    asyncio.run(EmbeddedServer.destroy(made / "data"))


@pytest.fixture
def folder(place: Path, first: Left) -> Path:
    """Give a copy of what the first run has left."""
    return copied(first.folder, place)


def caller(server: Program, key: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def written(server: Program, admin_key: str) -> str:
    """Let somebody post a payment on a new server, and return their key."""
    key = operator_key(server.url, admin_key)
    with caller(server, key) as somebody:
        for code in ("customer", "revenue"):
            somebody.post(f"{LEDGER}/accounts", json={"code": code, "asset": "USD"}).raise_for_status()
    pay(server, key)
    return key


def pay(server: Program, key: str) -> None:
    leg = {"debit": "customer", "credit": "revenue", "amount": "100.00", "currency": "USD"}
    with caller(server, key) as somebody:
        somebody.post(f"{LEDGER}/transactions", json={"transfers": [leg]}).raise_for_status()


def read_back(server: Program, key: str) -> str:
    with caller(server, key) as reader:
        answer = reader.get(f"{LEDGER}/accounts/revenue/balance", params={"asset": "USD"})
    return str(answer.raise_for_status().json()["balance"])


def is_back(server: Program, key: str) -> bool:
    with suppress(httpx.HTTPStatusError, httpx.TransportError):  # refused, or not answered in five seconds
        return read_back(server, key) == "100.00"
    return False


def killed_postgresql(server: Program) -> None:
    killed = server.postmaster
    os.kill(killed, signal.SIGKILL)
    assert gone(killed)


def refused(folder: Path, *, port: str = "0", admin_key: str = "") -> str:
    """Start the program where it cannot run, and return the sentence that it ends with instead."""
    with program(folder, HTTP_PORT=port, ADMIN_KEY=admin_key) as server:
        assert server.process.wait(60) == 2
    assert "Traceback" not in server.told
    return server.told.splitlines()[-1]


# Starting and ending -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_start_finds_its_data_and_ends_cleanly(folder: Path, first: Left, number: signal.Signals) -> None:
    with program(folder) as server:
        assert read_back(server.ready(), first.key) == "100.00"
        with caller(server, first.admin_key) as somebody:
            assert somebody.get(PRINCIPALS).is_success
            family = server.family
            assert server.end(number) == 0  # although somebody is connected
        assert all(gone(pid) for pid in family)
    assert server.told.endswith("clearhouse: stopped\n")
    assert KEY_FOLLOWS not in server.told


def test_the_keys_are_kept_where_nobody_else_reads_them(first: Left) -> None:
    kept = {name: first.folder / name for name in ("admin.key", "jwt.secret", "password", "secrets.keys")}
    assert kept["admin.key"].read_text().strip() == first.admin_key
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.values()} == {0o600}


@as_root
@with_a_python
def test_an_ordinary_user_runs_it_and_everything_is_its_own(place: Path) -> None:
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    place.parent.chmod(0o755)
    (place.parent / "async_timeout.py").write_text(BACKPORT)
    with program(place, user=NOBODY, PYTHONPATH=f"{libraries()}:{place.parent}") as server:
        key = written(server.ready(), server.after(KEY_FOLLOWS))
        assert read_back(server, key) == "100.00"
        family = server.family
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in family} == {NOBODY}
        assert server.end(signal.SIGINT) == 0
        assert all(gone(pid) for pid in family)
    assert {path.stat().st_uid for path in place.rglob("*")} == {NOBODY}


def test_ctrl_c_in_the_first_start_ends_everything_and_the_next_start_goes_on(place: Path) -> None:
    with program(place) as server:
        until(lambda: "making a new database" in server.told)
        server.end(signal.SIGINT)
    assert not survivors(place / "postgres" / "data")
    assert "Traceback" not in server.told
    with program(place) as server:
        assert server.ready().is_well


# Being refused -------------------------------------------------------------------------------------------------------


def test_a_second_server_on_a_folder_is_refused_with_a_sentence(folder: Path) -> None:
    with program(folder) as server:
        server.ready()
        assert refused(folder) == (
            f"clearhouse: The data folder {folder} is in use by another server (process {server.process.pid}); "
            "stop that one first. [folder_in_use]"
        )
        assert server.is_well


def test_a_port_in_use_is_refused_with_a_sentence(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        said = refused(place, port=port)
    assert said.startswith(f"clearhouse: Port {port} on 127.0.0.1 is in use by another program")
    assert not place.exists()


def test_of_two_that_start_at_once_on_one_port_only_one_says_that_it_listens(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
    twin = copied(folder, folder.with_name("twin"))
    with program(folder, HTTP_PORT=port) as server, program(twin, HTTP_PORT=port) as second:
        both = (server, second)
        until(lambda: all("listening on" in each.told or each.process.poll() is not None for each in both))
        assert sorted("[port_taken]" in each.told for each in both) == [False, True]
    asyncio.run(EmbeddedServer.destroy(twin))


# The administrator's key ---------------------------------------------------------------------------------------------


def test_a_new_admin_key_opens_and_the_one_before_it_opens_nothing_any_more(folder: Path) -> None:
    for now, before in (("the-first-admin-key", "a-key-of-nobody"), ("the-second-admin-key", "the-first-admin-key")):
        with program(folder, ADMIN_KEY=now) as server:
            for key, status in ((now, 200), (before, 401)):
                with caller(server.ready(), key) as admin:
                    assert admin.get(PRINCIPALS).status_code == status
            assert now not in server.told
    assert refused(folder, admin_key="the-first-admin-key").endswith("[admin_key_used]")


def test_an_admin_key_that_is_too_short_is_refused_with_a_sentence(folder: Path) -> None:
    said = refused(folder, admin_key="short")
    assert said == "clearhouse: ADMIN_KEY needs at least 16 characters. [admin_key_too_short]"
    assert not survivors(folder / "postgres" / "data")


# Being killed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
def test_what_is_left_by_a_kill_is_taken_over_by_the_next_start(folder: Path, first: Left, both: bool) -> None:
    with program(folder) as server:
        family, postmaster = server.ready().family, server.postmaster
        pay(server, first.key)
        if both:
            os.kill(postmaster, signal.SIGSTOP)  # so that it does not see us die
        server.end(signal.SIGKILL)
        if both:
            os.kill(postmaster, signal.SIGKILL)
            assert all(gone(pid) for pid in family)
    with program(folder) as server:
        assert read_back(server.ready(), first.key) == "200.00"


def test_postgresql_comes_back_by_itself_as_often_as_it_is_killed(folder: Path, first: Left) -> None:
    with program(folder) as server:
        server.ready()
        for _ in range(2):
            killed_postgresql(server)
            until(lambda: is_back(server, first.key))  # its health may be a second old
            assert server.ready().is_well
        family = server.family
        assert server.end(signal.SIGINT) == 0
        assert all(gone(pid) for pid in family)


def test_postgresql_comes_back_where_the_path_is_too_long_for_a_socket(place: Path) -> None:
    deep = place.joinpath(*["a-rather-long-name-of-a-folder"] * 4)
    deep.parent.mkdir(parents=True)
    with program(deep) as server:
        server.ready()
        killed_postgresql(server)
        until(lambda: server.is_well or server.process.poll() is not None)
        assert server.is_well
    asyncio.run(EmbeddedServer.destroy(deep))


def test_if_postgresql_cannot_come_back_the_program_ends_with_a_sentence(folder: Path) -> None:
    with program(folder) as server:
        (server.ready().pgdata / "PG_VERSION").unlink()
        killed_postgresql(server)
        assert server.process.wait(30) == 2
    assert server.told.splitlines()[-1].startswith("clearhouse: ")
    assert "Traceback" not in server.told

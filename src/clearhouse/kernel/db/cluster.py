"""The files that PostgreSQL runs on: made once, configured at every start, and their state as PostgreSQL writes it.

Promise: a cluster is either whole or not there (it is made beside its place and then renamed); passwords are SCRAM, text
is UTF-8 in code point order whatever the machine's locale, and pages carry checksums.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from clearhouse.kernel.db import tuning
from clearhouse.kernel.db.binaries import Program
from clearhouse.kernel.db.home import SUPERUSER, Home, write_private
from clearhouse.refusals import Kind, Refusal

MAJOR = "18"
LOG_BYTES_MAX = 8 * 1024 * 1024
STATUS_LINE = 7


class OtherMajor(Refusal):
    """The data in {folder} were written by PostgreSQL {found}, and this is {expected}; restore a logical backup instead."""

    code = "other_postgres"
    kind = Kind.CONFLICT


class PasswordLost(Refusal):
    """The data in {folder} are there but the file `password` beside them is gone; bring it back from where you keep it."""

    code = "password_lost"
    kind = Kind.CONFLICT


async def create(home: Home, programs: Path) -> None:
    """Make an empty cluster."""
    half = empty_folder(home)
    secret = home.path / "password"
    write_private(secret, home.password())
    home.owner.take(secret)
    try:
        await Program(programs / "initdb", _initdb_arguments(half, secret), home.owner).run()
    finally:
        secret.unlink()
    half.rename(home.pgdata)


def empty_folder(home: Home) -> Path:
    """Return an empty folder of PostgreSQL's user beside PGDATA, to be renamed to it when whole."""
    home.make()
    half = home.path / "data.half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    home.owner.take(half)
    return half


def check(home: Home) -> None:
    """Refuse a cluster of another major version, or one whose password is lost."""
    found = (home.pgdata / "PG_VERSION").read_text().strip()
    if found != MAJOR:
        raise OtherMajor(folder=str(home.folder), found=found, expected=MAJOR)
    if not home.password_file.exists():
        raise PasswordLost(folder=str(home.folder))


def configure(home: Home, memory_bytes: int) -> None:
    """Write the settings and who may come in; what ALTER SYSTEM set comes on top of them."""
    for path, text in ((settings_file(home), tuning.text(tuning.settings(memory_bytes))), (_access(home), tuning.ACCESS)):
        write_private(path, text)
        home.owner.take(path)
    if home.log.exists() and home.log.stat().st_size > LOG_BYTES_MAX:
        home.log.rename(home.log.with_suffix(".log.1"))


def command(home: Home, programs: Path, sockets: Path) -> list[str]:
    """Return the command line of PostgreSQL; what stands on it, no file and no ALTER SYSTEM overrides."""
    fixed = tuning.ALWAYS | {
        "config_file": str(settings_file(home)),
        "hba_file": str(_access(home)),
        "unix_socket_directories": str(sockets),
    }
    options = [option for name, value in fixed.items() for option in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(home.pgdata), *options]


def is_ready(home: Home) -> bool:
    """Tell whether PostgreSQL says that it takes connections."""
    with suppress(OSError, IndexError):
        return (home.pgdata / "postmaster.pid").read_text().splitlines()[STATUS_LINE].strip() == "ready"
    return False


def machine_memory_bytes() -> int:
    """Return the memory that we may use: the machine's, or the container's limit if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return machine


def settings_file(home: Home) -> Path:
    """Return where our settings stand; what `initdb` left in PGDATA is not read."""
    return home.path / "postgresql.conf"


def _initdb_arguments(data: Path, secret: Path) -> list[str]:
    return [
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
    ]


def _access(home: Home) -> Path:
    return home.path / "pg_hba.conf"

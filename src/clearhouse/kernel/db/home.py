"""Where the embedded server of one data folder keeps its files, and the lock that lets one server at a time be there.

Promise: inside the data folder when the server's user can reach it, else in a refuge that a pointer file in the data
folder names; the mode of a folder that was there before is never changed.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from clearhouse.kernel.db.owner import Owner, open_folder
from clearhouse.refusals import Kind, Refusal

REFUGE = Path("/var/lib/clearhouse")
SOCKET_PATH_BYTES_MAX = 107
SOCKET = ".s.PGSQL.5432"
SUPERUSER = "clearhouse"
DATABASE = "clearhouse"


class FolderInUse(Refusal):
    """The data folder {folder} is in use by another server (process {pid}); stop that one first."""

    code = "folder_in_use"
    kind = Kind.CONFLICT


class FolderNotOurs(Refusal):
    """The data folder {folder} cannot be used by this user: {reason}."""

    code = "folder_not_ours"
    kind = Kind.DENIED


def claim(folder: Path) -> int:
    """Lock a data folder, made if need be, and return the descriptor that holds the lock until it is closed."""
    folder = folder.absolute()
    try:
        folder.mkdir(
            mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True
        )  # root's server is another user
        descriptor = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderNotOurs(folder=str(folder), reason=error.strerror or "it cannot be opened") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 20, 0).decode().strip()
        os.close(descriptor)
        raise FolderInUse(folder=str(folder), pid=pid or "unknown") from error
    if not _still_there(descriptor, folder):
        os.close(descriptor)  # it was destroyed between opening and locking: what we locked is a ghost
        return claim(folder)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


@contextmanager
def claimed(folder: Path) -> Generator[None]:
    """Hold the lock of a data folder for a block."""
    descriptor = claim(folder)
    try:
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one server: `data` is PGDATA, `folder` the data folder that people know."""

    folder: Path
    path: Path
    owner: Owner

    @classmethod
    def of(cls, folder: Path, refuge: Path) -> "Home":
        """Return the home that a data folder has, or choose one for it (nothing is made yet but the pointer)."""
        folder = folder.absolute()
        known = known_path(folder)
        if known is not None and (known / "data").exists():
            return cls(folder, known, Owner.of(known / "data"))
        owner = Owner.preferred()
        return cls(folder, known or _choose(folder, owner, refuge), owner)

    @property
    def pgdata(self) -> Path:
        """PGDATA."""
        return self.path / "data"

    @property
    def log(self) -> Path:
        """What PostgreSQL says."""
        return self.path / "postgres.log"

    @property
    def password_file(self) -> Path:
        """The superuser's password, for us alone."""
        return self.folder / "password"

    def make(self) -> None:
        """Make the home itself; PostgreSQL's user may walk through it, but only what it owns there is its own."""
        if self.owner.uid is None:
            self.path.mkdir(mode=0o700, exist_ok=True)
        else:
            open_folder(self.path.parent)
            open_folder(self.path)

    def password(self) -> str:
        """Return the superuser's password, made at random the first time."""
        if not self.password_file.exists():
            write_private(self.password_file, secrets.token_hex(24))
        return self.password_file.read_text().strip()

    def dsn(self, sockets: Path) -> str:
        """Return the address of the superuser in our database, by the socket of this run."""
        host = quote(str(sockets), safe="")
        return f"postgresql://{SUPERUSER}:{self.password()}@/{DATABASE}?host={host}&port=5432"

    def open_socket_folder(self) -> Path:
        """Make a private folder for the socket, close to the data if the path is short enough for a socket."""
        self.drop_socket_folder()
        near = self.path / "run"
        if len(os.fsencode(near / SOCKET)) <= SOCKET_PATH_BYTES_MAX:
            near.mkdir(mode=0o700)
            folder = near
        else:
            folder = Path(tempfile.mkdtemp(prefix="clearhouse-", dir=_short_parent()))
        self.owner.take(folder)
        write_private(self.path / "socket", str(folder))
        return folder

    def socket_folder(self) -> Path | None:
        """Return where the socket was last put."""
        return _pointed(self.path / "socket")

    def drop_socket_folder(self) -> None:
        """Remove the socket folder of this run, or of one that died."""
        folder = self.socket_folder()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        (self.path / "socket").unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all that the server ever made; the data folder itself goes if nothing else is in it."""
        self.drop_socket_folder()
        shutil.rmtree(self.path, ignore_errors=True)
        for name in ("postgres.at", "password", "server.lock"):
            (self.folder / name).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def known_path(folder: Path) -> Path | None:
    """Return the home that a data folder already has, if any."""
    inside = folder / "postgres"
    return inside if inside.is_dir() else _pointed(folder / "postgres.at")


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    half = path.with_name(f".{path.name}.half")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, opened with its mode
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.rename(path)


def _still_there(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), (folder / "server.lock").stat())
    except FileNotFoundError:
        return False


def _choose(folder: Path, owner: Owner, refuge: Path) -> Path:
    if owner.reaches(folder):
        return folder / "postgres"
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    path = refuge / f"{key}-{secrets.token_hex(4)}"
    write_private(folder / "postgres.at", str(path))
    return path


def _pointed(pointer: Path) -> Path | None:
    return Path(pointer.read_text().strip()) if pointer.is_file() else None


def _short_parent() -> str:
    return "/run" if os.geteuid() == 0 and Path("/run").is_dir() else "/tmp"  # noqa: S108 - mkdtemp makes it private

"""The system user that PostgreSQL runs as: ourselves, or, because it refuses to run as root, a user that can do little else.

Promise: nothing here changes the mode or the owner of a folder that is not the server's own.
"""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

NAMES_IN_ORDER = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Owner:
    """A user to run PostgreSQL as. `uid` and `gid` are None when that is the user we already are."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def preferred(cls) -> "Owner":
        """Return ourselves, or as root the first of `postgres` and `nobody` that exists."""
        if os.geteuid() != 0:
            return OURSELVES
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = next((known[name] for name in NAMES_IN_ORDER if name in known), None)
        return cls(65_534, 65_534) if entry is None else cls(entry.pw_uid, entry.pw_gid)

    @classmethod
    def of(cls, data: Path) -> "Owner":
        """Return who owns the server's files already there: PostgreSQL starts as nobody else."""
        found = data.stat()
        return OURSELVES if found.st_uid == os.geteuid() else cls(found.st_uid, found.st_gid)

    @property
    def groups(self) -> list[int] | None:
        """The supplementary groups to run with: none at all for another user, ours unchanged for ourselves."""
        return None if self.uid is None else []

    def take(self, path: Path) -> None:
        """Make a file or folder of the server belong to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def reaches(self, folder: Path) -> bool:
        """Tell whether this user can walk down to a folder, by the modes of it and of every folder above."""
        resolved = folder.resolve()
        return self.uid is None or all(self._passes(each) for each in (resolved, *resolved.parents))

    def _passes(self, folder: Path) -> bool:
        found = folder.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def open_folder(folder: Path) -> None:
    """Make a folder that others can walk through but not list, whatever the umask; one that is there stays as it is."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o711)


OURSELVES = Owner()

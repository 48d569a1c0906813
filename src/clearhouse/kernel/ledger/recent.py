"""The accounts a process has met lately, so that a batch is usually decided without asking the database first.

Promise: bounded in number; never trusted at commit (versions are compared); an account of a batch that was rolled back is
forgotten at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID
from weakref import WeakKeyDictionary

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.ledger.standing import Standing

ACCOUNTS_MAX = 200_000

Name = tuple[str, str]


@dataclass(slots=True)
class Recent:
    """One book's accounts as this process knows them, under every name they were asked for."""

    names: dict[Name, Standing] = field(default_factory=dict[Name, Standing])
    by_id: dict[UUID, Standing] = field(default_factory=dict[UUID, Standing])
    sealed_to: date = date.min

    def learn(self, standing: Standing, *names: Name) -> Standing:
        """Remember an account as it was read; what is known already stays, since it may be ahead."""
        if len(self.by_id) >= ACCOUNTS_MAX:
            self.names.clear()
            self.by_id.clear()
        known = self.by_id.setdefault(standing.id, standing)
        for name in names:
            self.names[name] = known
        return known

    def forget(self, ids: Iterable[UUID]) -> None:
        """Drop accounts; their names lead nowhere from now on."""
        for each in ids:
            self.by_id.pop(each, None)

    def named(self, name: Name) -> Standing | None:
        """Return the account of that name, unless it was forgotten."""
        standing = self.names.get(name)
        if standing is None or self.by_id.get(standing.id) is not standing:
            return None
        return standing


_known: WeakKeyDictionary[Database, dict[int, Recent]] = WeakKeyDictionary()


def recent(database: Database, book: int) -> Recent:
    """Return what this process remembers of a book."""
    return _known.setdefault(database, {}).setdefault(book, Recent())

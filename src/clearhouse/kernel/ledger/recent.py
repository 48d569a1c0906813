"""The accounts a process has met lately, so that a batch is usually decided without asking the database first.

Promise: bounded in number; never trusted at commit (versions are compared); an account of a batch that was rolled back is
forgotten at once; at any moment an account is one object, whatever name leads to it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from weakref import WeakKeyDictionary

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.ledger.standing import Standing

ACCOUNTS_MAX = 200_000


def _names() -> defaultdict[str, dict[str, Standing]]:
    return defaultdict(dict)


@dataclass(slots=True)
class Recent:
    """One book's accounts as this process knows them: by id, and by asset and what they are called."""

    by_id: dict[str, Standing] = field(default_factory=dict[str, Standing])
    names: defaultdict[str, dict[str, Standing]] = field(default_factory=_names)
    sealed_to: date = date.min

    def learn(self, standing: Standing) -> Standing:
        """Remember an account as it was read; what is known already stays, since it may be ahead."""
        known = self.by_id.setdefault(standing.id, standing)
        called = self.names[known.asset]
        called[known.code] = called[known.name] = known
        return known

    def replace(self, standing: Standing) -> None:
        """Remember an account as it is for certain."""
        self.by_id.pop(standing.id, None)
        self.learn(standing)

    def forget(self, ids: Iterable[str]) -> None:
        """Drop accounts."""
        for each in list(ids):
            standing = self.by_id.pop(each, None)
            if standing is not None:
                called = self.names[standing.asset]
                called.pop(standing.code, None)
                called.pop(standing.name, None)

    def make_room(self) -> None:
        """Start over when there are too many; those of batches under way come back as they are needed."""
        if len(self.by_id) > ACCOUNTS_MAX:
            self.by_id.clear()
            self.names.clear()


_known: WeakKeyDictionary[Database, dict[int, Recent]] = WeakKeyDictionary()


def recent(database: Database, book: int) -> Recent:
    """Return what this process remembers of a book."""
    return _known.setdefault(database, {}).setdefault(book, Recent())

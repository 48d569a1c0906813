"""The accounts a process has met lately, so that a batch is usually decided without asking the database first.

Promise: bounded in number; never trusted at commit (versions are compared); an account of a batch that was rolled back is
forgotten at once; at any moment an account is one object, whatever name leads to it.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from weakref import WeakKeyDictionary

from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.ledger.standing import Standing

ACCOUNTS_MAX = 200_000


def _names() -> defaultdict[str, dict[str, Standing]]:
    return defaultdict(dict)


def _over() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class Recent:
    """One book's accounts as this process knows them: by id, and by asset and what they are called."""

    by_id: dict[str, Standing] = field(default_factory=dict[str, Standing])
    names: defaultdict[str, dict[str, Standing]] = field(default_factory=_names)
    sealed_to: date = date.min
    lane: int = field(default_factory=lambda: int.from_bytes(os.urandom(7), "big") + 1)
    forgotten: int = 0
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    latest: asyncio.Event = field(default_factory=_over)

    @asynccontextmanager
    async def turn(self, tx: Tx) -> AsyncGenerator[int]:
        """Wait until the batch that was decided before this one is written, since this one builds on it; give the lane.

        In a lane the database itself waits for the commit. Whoever is careful holds locks that others wait for, so it waits
        for nobody and takes no lane; who comes next waits here until it has committed.
        """
        before, mine = self.latest, asyncio.Event()
        self.latest = mine
        tx.when_over(mine.set)
        if tx.careful:
            yield 0
            return
        await before.wait()
        yield self.lane
        mine.set()

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
        """Drop accounts; whoever is deciding on them starts over."""
        self.forgotten += 1
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

"""What a settlement is validated against, as a process remembers it: banks, accounts, windows, limits and names of a book.

Promise: what was changed counts for every command that begins after the change; each batch asks for the version once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakKeyDictionary

from clearhouse.kernel.calendars.own import find_window
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.slices.interbank.names import Screen
from clearhouse.windows import Window

sql = Statements.of("clearhouse.slices.interbank", "interbank.sql")


@dataclass(frozen=True, slots=True)
class KnownBank:
    """A bank."""

    bic: str
    name: str
    state: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """A nostro or vostro by its number; what is on it is the ledger's to know."""

    side: str
    bank: str
    currency: str
    number: str


@dataclass(frozen=True, slots=True)
class KnownLimit:
    """What may leave a vostro unseen, in the smallest unit."""

    bank: str
    currency: str
    single: int | None
    daily: int | None
    hourly: int | None


@dataclass(frozen=True, slots=True)
class _WindowRow:
    currency: str
    method: str
    calendar: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class _Version:
    version: int


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


@dataclass(frozen=True, slots=True)
class World:
    """One version of it. `calendars` are those of the book's own: they change by themselves and are read each time."""

    version: int
    banks: Mapping[str, KnownBank]
    accounts: Mapping[tuple[str, str, str], KnownAccount]
    limits: Mapping[tuple[str, str], KnownLimit]
    screen: Screen
    names: Mapping[tuple[str, str], str]
    windows: dict[str, Window] = field(default_factory=dict[str, Window])

    def limit(self, bank: str, currency: str) -> KnownLimit | None:
        """Return the limit of a bank in a currency, or that of every bank."""
        return self.limits.get((bank, currency)) or self.limits.get(("", currency))

    def window(self, currency: str, method: str) -> Window | None:
        """Return when a currency is settled by a method; None is always."""
        name = self.names.get((currency, method)) or self.names.get((currency, ""))
        return None if name is None else self.windows[name]


_known: WeakKeyDictionary[Database, dict[int, World]] = WeakKeyDictionary()


async def known(tx: Tx) -> World:
    """Return what holds now."""
    row = await tx.row(sql["version"], _Version, book=tx.book)
    version = 0 if row is None else row.version
    mine = _known.setdefault(tx.database, {})
    world = mine.get(tx.book)
    if world is None or world.version != version:
        world = mine[tx.book] = await _read(tx, version)
    for name in set(world.names.values()):
        if name not in world.windows or name[:1].islower():
            world.windows[name] = await find_window(tx, name)
    return world


async def _read(tx: Tx, version: int) -> World:
    banks = await tx.rows(sql["banks"], KnownBank, book=tx.book)
    accounts = await tx.rows(sql["accounts"], KnownAccount, book=tx.book)
    limits = await tx.rows(sql["limits"], KnownLimit, book=tx.book)
    windows = await tx.rows(sql["windows"], _WindowRow, book=tx.book)
    names = await tx.rows(sql["names"], _Name, book=tx.book)
    return World(
        version,
        {each.bic: each for each in banks},
        {(each.side, each.bank, each.currency): each for each in accounts},
        {(each.bank, each.currency): each for each in limits},
        Screen(each.name for each in names),
        {(each.currency, each.method): each.calendar for each in windows},
    )


async def changed(tx: Tx) -> None:
    """Tell every process, with the commit, that what it remembers is no longer so; a later change waits for this one."""
    await tx.do(sql["next_version"], book=tx.book)

"""Engines: one for each book that settles, as long as the process works; and the banks that they speak to.

Without BANK_URL the bank is the simulated one in process, on accounts that mirror our nostros, so that a house that was just
opened settles at once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import banks
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.channel import Channel
from clearhouse.slices.interbank.engine import Engine

LOOK_SECONDS = 1.0
SIMULATED_CREDIT = "1000000000"
_log = structlog.get_logger(__name__)
Reach = Callable[[Database, int], Channel]


@dataclass(frozen=True, slots=True)
class _Book:
    book: int


async def run(database: Database, reach: Reach | None = None) -> None:
    """Run an engine for each book that has banks, until cancelled."""
    door = Door(database)
    running: dict[int, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            try:
                for book in await _books(database):
                    channel = await channel_of(database, book, reach)
                    if book not in running:
                        running[book] = tasks.create_task(Engine(door, book, channel).run())
            except (DatabaseFault, Refusal) as fault:
                _log.warning("books are looked for again soon", reason=str(fault))
            await asyncio.sleep(LOOK_SECONDS)


async def _books(database: Database) -> list[int]:
    async with database.writing() as tx:
        return [each.book for each in await tx.rows("SELECT book FROM interbank_version ORDER BY book", _Book)]


async def channel_of(database: Database, book: int, reach: Reach | None = None) -> Channel:
    """Return the channel to the banks of a book."""
    if reach is not None:
        return reach(database, book)
    bank = SimulatedBank(database, book=book)
    async with database.writing(book=book) as tx:
        nostros = await banks.listed(tx, "nostro", most=10_000)
    wanted = [
        OpenAccount(each.number, each.currency, balance=each.balance, credit_line=SIMULATED_CREDIT)
        for each in nostros
        if not each.balance.startswith("-")
    ]
    if wanted:
        await bank.control.open(wanted)
    return bank

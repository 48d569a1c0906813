"""The worker: what happens by itself. Rows are numbered and chained, what is due expires, closings get sums, old keys go.

Any number of processes may run it: each piece of work is claimed in the database, so one does it and the others pass by.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from clearhouse import clock, ids
from clearhouse.kernel.access import books
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.commands import keys
from clearhouse.kernel.db import processes
from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.listening import listen
from clearhouse.kernel.db.loops import one_by_one
from clearhouse.kernel.journal import readers, writing
from clearhouse.kernel.journal.readers import Reader
from clearhouse.kernel.journal.sequencing import Sequencer
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import days, posting
from clearhouse.kernel.pipelines import schedules
from clearhouse.kernel.pipelines.queues import Queues
from clearhouse.kernel.pipelines.stages import Stage
from clearhouse.kernel.pipelines.wakes import Wakes

EXPIRY_SECONDS = 1.0
TOTALS_SECONDS = 1.0
KEYS_SECONDS = 3_600.0


async def work(
    database: Database,
    committed: asyncio.Event,
    works: Iterable[Callable[[Database], Awaitable[None]]] = (),
    *,
    stages: Iterable[Stage] = (),
    reading: Iterable[Reader] = (),
) -> None:
    """Do everything that is due, the products' works and stages too, and let readers have the events, until cancelled."""
    bell, wakes, loops = Bell(), Wakes(stages), database.loops
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(database, readers.CHANNEL, bell))
        for reader in reading:
            tasks.create_task(readers.run(database, reader, bell))
        for each in works:
            tasks.create_task(_forever(each, database))
        tasks.create_task(Sequencer(database, committed, wakes).run())
        tasks.create_task(Queues(database, wakes, committed).run())
        tasks.create_task(loops.forever("expire_holds", lambda: expire_holds(database), EXPIRY_SECONDS))
        tasks.create_task(loops.forever("expire_approvals", lambda: expire_approvals(database), EXPIRY_SECONDS))
        tasks.create_task(loops.forever("total_days", lambda: total_days(database), TOTALS_SECONDS))
        tasks.create_task(loops.forever("forget_keys", lambda: forget_keys(database), KEYS_SECONDS))
        tasks.create_task(processes.speak(database))
        tasks.create_task(loops.watch())


async def number(database: Database, committed: asyncio.Event, stages: Iterable[Stage]) -> None:
    """Do only what has to happen beside an API whose workers are elsewhere: number its rows, wake them, leave word."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Sequencer(database, committed, Wakes(stages)).run())
        tasks.create_task(processes.speak(database))


async def expire_holds(database: Database) -> int:
    """Free the holds of every book whose time has come, and say so in the journal."""

    async def expire(tx: Tx) -> int:
        at = clock.now()
        expired = await posting.expire_holds(tx, at)
        if expired:
            lines = [Line("ledger.hold_expired", ids.text("trf", each)) for each in expired]
            writing.write(tx, lines, book=tx.book, kind="ledger.expire", by=writing.SYSTEM, at=at)
        return len(expired)

    return await _in_every_book(database, expire)


async def expire_approvals(database: Database) -> int:
    """End the requests of every book that nobody decided on in time, and say so in the journal."""

    async def expire(tx: Tx) -> int:
        at = clock.now()
        expired = await requests.expire(tx, at)
        if expired:
            lines = [Line("approvals.expired", each.id, each.subject) for each in expired]
            writing.write(tx, lines, book=tx.book, kind="approvals.expire", by=writing.SYSTEM, at=at)
        return len(expired)

    return await _in_every_book(database, expire)


async def total_days(database: Database) -> int:
    """Compute the sums of every closing that has none yet."""
    return await _in_every_book(database, lambda tx: days.total_days(tx, clock.now()))


async def forget_keys(database: Database) -> int:
    """Drop the idempotency keys, and what schedules did, that are older than they are kept."""
    async with database.writing() as tx:
        await schedules.forget(tx, clock.now() - timedelta(days=schedules.DAYS_KEPT))
        return await keys.forget(tx, clock.now() - timedelta(days=keys.DAYS_KEPT))


async def _forever(each: Callable[[Database], Awaitable[None]], database: Database) -> None:
    await each(database)


async def _in_every_book(database: Database, do: Callable[[Tx], Awaitable[int]]) -> int:
    """Do something in a transaction of each book; one that is broken holds up no other."""

    async def here(book: int) -> int:
        async with database.writing(book=book) as tx:
            return await do(tx)

    async with database.writing() as tx:
        numbers = await books.numbers(tx)
    return await one_by_one(numbers, here)

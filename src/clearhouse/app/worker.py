"""The worker: what happens by itself. Rows are numbered and chained, what is due expires, closings get sums, old keys go.

Any number of processes may run it: each piece of work is claimed in the database, so one does it and the others pass by.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

import structlog

from clearhouse import clock, ids
from clearhouse.kernel.access import books
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.commands import keys
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault, Stale
from clearhouse.kernel.db.listening import Bell, listen
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
_log = structlog.get_logger(__name__)


async def work(
    database: Database,
    committed: asyncio.Event,
    works: Iterable[Callable[[Database], Awaitable[None]]] = (),
    *,
    stages: Iterable[Stage] = (),
    reading: Iterable[Reader] = (),
) -> None:
    """Do everything that is due, the products' works and stages too, and let readers have the events, until cancelled."""
    bell, wakes = Bell(), Wakes(stages)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(database, readers.CHANNEL, bell))
        for reader in reading:
            tasks.create_task(readers.run(database, reader, bell))
        for each in works:
            tasks.create_task(_forever(each, database))
        tasks.create_task(Sequencer(database, committed, wakes).run())
        tasks.create_task(Queues(database, wakes, committed).run())
        tasks.create_task(_every(EXPIRY_SECONDS, lambda: expire_holds(database)))
        tasks.create_task(_every(EXPIRY_SECONDS, lambda: expire_approvals(database)))
        tasks.create_task(_every(TOTALS_SECONDS, lambda: total_days(database)))
        tasks.create_task(_every(KEYS_SECONDS, lambda: forget_keys(database)))


async def number(database: Database, committed: asyncio.Event, stages: Iterable[Stage]) -> None:
    """Do only what has to happen at once beside an API whose workers are elsewhere: number its rows, wake the workers."""
    await Sequencer(database, committed, Wakes(stages)).run()


async def expire_holds(database: Database) -> int:
    """Free the holds of every book whose time has come, and say so in the journal."""
    count = 0
    for book in await _books(database):
        async with database.writing(book=book) as tx:
            at = clock.now()
            expired = await posting.expire_holds(tx, at)
            if expired:
                lines = [Line("ledger.hold_expired", ids.text("trf", each)) for each in expired]
                writing.write(tx, lines, book=book, kind="ledger.expire", by=writing.SYSTEM, at=at)
            count += len(expired)
    return count


async def expire_approvals(database: Database) -> int:
    """End the requests of every book that nobody decided on in time, and say so in the journal."""
    count = 0
    for book in await _books(database):
        async with database.writing(book=book) as tx:
            at = clock.now()
            expired = await requests.expire(tx, at)
            if expired:
                lines = [Line("approvals.expired", each.id, each.subject) for each in expired]
                writing.write(tx, lines, book=book, kind="approvals.expire", by=writing.SYSTEM, at=at)
            count += len(expired)
    return count


async def total_days(database: Database) -> int:
    """Compute the sums of every closing that has none yet."""
    count = 0
    for book in await _books(database):
        async with database.writing(book=book) as tx:
            count += await days.total_days(tx, clock.now())
    return count


async def forget_keys(database: Database) -> int:
    """Drop the idempotency keys, and what schedules did, that are older than they are kept."""
    async with database.writing() as tx:
        await schedules.forget(tx, clock.now() - timedelta(days=schedules.DAYS_KEPT))
        return await keys.forget(tx, clock.now() - timedelta(days=keys.DAYS_KEPT))


async def _forever(each: Callable[[Database], Awaitable[None]], database: Database) -> None:
    await each(database)


async def _books(database: Database) -> list[int]:
    async with database.writing() as tx:
        return await books.numbers(tx)


async def _every(seconds: float, do: Callable[[], Awaitable[int]]) -> None:
    while True:
        try:
            await do()
        except Stale as fault:  # somebody came between: a posting, a closing, another worker
            _log.debug("met somebody, tried again soon", reason=str(fault))
        except DatabaseFault as fault:
            _log.warning("not done, tried again soon", reason=str(fault))
        await asyncio.sleep(seconds)

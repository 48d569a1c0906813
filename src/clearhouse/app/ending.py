"""The end of a process: it waits for what is under way as long as the database answers, and no longer.

Promise: a database that is away, or silent, holds up no stop: whoever waits for it is told so as if it had just gone.
"""

import asyncio

import structlog

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.reaching import answers

ANSWER_SECONDS_MAX = 1.5
SECONDS_BETWEEN_LOOKS = 0.5
LOOKS = 2  # in vain, one after another: one alone may have met a restart or a server with no place left
STOP_SECONDS_MAX = 12.0  # more than the grace of any door or queue: what still waits then waits for the database
_log = structlog.get_logger(__name__)


async def let_go(database: Database, ended: asyncio.Event) -> None:
    """Once the process shall end, cut its connections as soon as the database does not answer, and at the latest in time."""
    await ended.wait()
    vain = 0
    try:
        async with asyncio.timeout(STOP_SECONDS_MAX):
            while vain < LOOKS:
                vain = 0 if await answers(database.address, ANSWER_SECONDS_MAX) else vain + 1
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    except TimeoutError:
        pass
    _log.warning("the database does not answer: what waits for it is ended")
    await database.lines.cut()

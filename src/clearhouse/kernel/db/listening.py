"""Listening to what the database announces: one connection for a process, and a bell that everybody in it can wait for.

Promise: a stroke that fell between a look and the wait is not missed. An announcement may be (the connection was away): so
the bell is also struck when the connection is back, and whoever waits looks again now and then by itself.
"""

import asyncio
from contextlib import suppress

import psycopg
from psycopg import sql

from clearhouse.kernel.db.database import Database

SECONDS_AWAY = 1.0


class Bell:
    """Counts its strokes: look at the count, look for work, then wait for a stroke after that count."""

    def __init__(self) -> None:
        self.strokes = 0
        self._struck = asyncio.Event()

    def strike(self) -> None:
        """Wake everybody who waits."""
        self.strokes += 1
        self._struck.set()
        self._struck = asyncio.Event()

    async def after(self, strokes: int, seconds: float) -> None:
        """Wait until there were more strokes than these, or so long."""
        if self.strokes == strokes:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._struck.wait(), seconds)


async def listen(database: Database, channel: str, bell: Bell) -> None:
    """Strike a bell with every announcement on a channel, until cancelled; a lost connection is made again."""
    while True:
        with suppress(psycopg.Error):
            connection = await psycopg.AsyncConnection.connect(database.address, autocommit=True)
            async with connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                bell.strike()
                async for _ in connection.notifies():
                    bell.strike()
        await asyncio.sleep(SECONDS_AWAY)

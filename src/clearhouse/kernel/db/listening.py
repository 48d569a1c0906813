"""Listening to what the database announces: one connection for a process, and a bell that everybody in it can wait for.

Promise: an announcement may be missed (the connection was away), so the bell is also struck when the connection is back, and
whoever waits looks again now and then by itself.
"""

import asyncio
from contextlib import suppress

import psycopg
from psycopg import sql

from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database

SECONDS_AWAY = 1.0


async def listen(database: Database, channel: str, bell: Bell) -> None:
    """Strike a bell with every announcement on a channel, until cancelled; a lost connection is made again."""
    while True:
        with suppress(psycopg.Error, OSError):  # no socket, or no name for the address, passes as well
            connection = await psycopg.AsyncConnection.connect(database.address, autocommit=True)
            await database.lines.join(connection)
            async with connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                bell.strike()
                async for _ in connection.notifies():
                    bell.strike()
        await asyncio.sleep(SECONDS_AWAY)

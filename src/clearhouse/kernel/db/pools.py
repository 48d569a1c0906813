"""Pools of connections that find a database again as soon as it is back, and let go of one that does not answer.

Promise: whoever gets a connection gets one that lives, however many died since it was used last; while there is none, it is
tried again every second for as long as it takes; and after `cut` nobody in this process waits for the database any more.
"""

import os
import select
import socket
from asyncio import all_tasks, gather, get_running_loop
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from clearhouse.kernel.db.pipelines import Connection as Ours

AGAIN_SECONDS = 1.0
Connection = AsyncConnection[tuple[object, ...]]
CLOSE_SECONDS_MAX = 0.5  # for who is just connecting: nobody needs that connection any more


class Lines:
    """Every connection of this process to one database, and the pools that they come from."""

    def __init__(self) -> None:
        self.are_cut = False
        self._connections = WeakSet[AsyncConnection[Any]]()
        self._pools = WeakSet[Pool]()

    async def join(self, connection: AsyncConnection[Any]) -> None:
        """Remember a connection; one that is made after the cut is cut as well."""
        self._connections.add(connection)
        if self.are_cut:
            shut(connection)

    def join_pool(self, pool: "Pool") -> None:
        """Remember a pool."""
        self._pools.add(pool)

    async def cut(self) -> None:
        """Let everybody who waits for the database, now or later, hear that it is away."""
        self.are_cut = True
        for each in self._connections:
            shut(each)
        await gather(*(each.close() for each in self._pools))


class Pool(AsyncConnectionPool[Connection]):
    """Connections to one address. `asks` says that each is asked for a sign of life before it is given."""

    def __init__(self, conninfo: str, *, lines: Lines, asks: bool, **how: Any) -> None:
        super().__init__(conninfo, connection_class=Ours, open=False, reconnect_timeout=AGAIN_SECONDS, **how)
        self._lines = lines
        self._asks = asks
        lines.join_pool(self)

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - the pool's own way to say it
        """Return a connection that lives, within so many seconds."""
        deadline = get_running_loop().time() + (self.timeout if timeout is None else timeout)
        while not self._lines.are_cut:
            connection = await super().getconn(timeout=deadline - get_running_loop().time())
            try:
                lives = await self._lives(connection, deadline)
            except BaseException:
                await self.putconn(connection)
                raise
            if lives:
                return connection
            await self.putconn(connection)  # which makes another in its place
        message = "the connections to the database were cut"
        raise PoolTimeout(message)

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncGenerator[Connection]:  # noqa: ASYNC109 - likewise
        """Lend a connection for a block."""
        connection = await self.getconn(timeout=timeout)
        try:
            async with connection:
                yield connection
        finally:
            await self.putconn(connection)

    async def close(self, timeout: float = CLOSE_SECONDS_MAX) -> None:  # noqa: ASYNC109 - likewise
        """Close what is not lent, and connect nobody any more; what is lent is closed when it comes back."""
        await super().close(timeout=timeout)
        connecting = [each for each in all_tasks() if each.get_name().startswith(f"{self.name}-worker-")]
        for each in connecting:
            each.cancel()
        await gather(*connecting, return_exceptions=True)

    async def reconnect_failed(self) -> None:
        """Try again where somebody waits or there is no connection left: nobody else would until the next one asks."""
        stats = self.get_stats()
        if not stats["pool_available"] and (not stats["pool_size"] or stats["requests_waiting"]):
            await self.check()  # of none: it lets the pool grow

    async def _lives(self, connection: Connection, deadline: float) -> bool:
        """Tell whether a connection can be used: one that is not asked is, unless it says something, such as its end."""
        if not self._asks and not _has_something_to_say(connection):
            return True
        giving_up = get_running_loop().call_at(deadline, shut, connection)
        try:
            await connection.execute("")
        except psycopg.Error:
            await connection.close()
            return False
        finally:
            giving_up.cancel()
        return True


def shut(connection: AsyncConnection[Any]) -> None:
    """End a connection for whoever waits on it: it reads the end. To close it under them would let them wait for ever."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _has_something_to_say(connection: Connection) -> bool:
    poll = select.poll()
    try:
        poll.register(connection.pgconn.socket, select.POLLIN)
    except psycopg.Error:
        return True  # it is closed, and says so when it is asked
    return bool(poll.poll(0))

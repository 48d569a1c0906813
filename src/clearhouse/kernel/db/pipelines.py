"""A connection whose pipelines end with the last word that PostgreSQL expects, so that it counts the silence after them.

The driver's own ends a pipeline with a Sync and then a Flush: PostgreSQL takes the Flush for the next command and
forgets `idle_in_transaction_session_timeout`. After a Sync everything comes by itself, so none is sent here.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, AsyncPipeline
from psycopg.abc import PQGen
from psycopg.generators import send


class _Pipeline(AsyncPipeline):
    """A pipeline that ends with its Sync."""

    def _exit_gen(self) -> PQGen[None]:
        try:
            self._enqueue_sync()
            yield from self._communicate_gen()
        finally:
            if self.result_queue:
                yield from send(self.pgconn)  # what the socket has not taken yet: the other end waits for all of it
            yield from self._fetch_gen(flush=False)


class Connection(AsyncConnection[tuple[object, ...]]):
    """A connection of ours."""

    @asynccontextmanager
    async def pipeline(self) -> AsyncGenerator[AsyncPipeline]:
        """Send what the block runs in one go; blocks in blocks are one, as the driver's are."""
        if self._pipeline is None:
            self._pipeline = _Pipeline(self)
        async with super().pipeline() as pipeline:
            yield pipeline

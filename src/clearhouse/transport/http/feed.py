"""The feed: what wakes those who follow events over this server, and what ends them with it.

Promise: whoever follows waits without asking the database, and is told to go when the server ends.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from uuid import UUID

from clearhouse.kernel.db.bells import Bell
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.listening import listen
from clearhouse.kernel.journal import events
from clearhouse.kernel.journal.events import Cursor, Page
from clearhouse.kernel.journal.readers import CHANNEL
from clearhouse.refusals import Kind, Refusal

READ_MOST = 500
LOOK_SECONDS = 1.0
STREAMS_MAX = 32


class TooManyStreams(Refusal):
    """You are following {most} streams already, which is as many as one caller may; end one of them."""

    code = "too_many_streams"
    kind = Kind.LIMITED


class Feed:
    """One a process."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.is_over = False
        self._streams = Counter[UUID]()

    async def run(self, database: Database) -> None:
        """Ring with every announcement of new events, until cancelled."""
        await listen(database, CHANNEL, self.bell)

    def check(self, principal: UUID) -> None:
        """Refuse another stream to somebody who has as many as one may have."""
        if self._streams[principal] >= STREAMS_MAX:
            raise TooManyStreams(most=str(STREAMS_MAX))

    @contextmanager
    def counted(self, principal: UUID) -> Generator[bool]:
        """Count a stream as long as the block lasts, and tell whether it may be: several may have been asked for at once."""
        is_free = self._streams[principal] < STREAMS_MAX
        self._streams[principal] += is_free
        try:
            yield is_free
        finally:
            self._streams[principal] -= is_free
            if not self._streams[principal]:
                del self._streams[principal]

    async def pages(
        self, database: Database, book: int, cursor: Cursor, may: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[Page]:
        """Give the events of a book page by page, some of them empty, as long as somebody may and the server is there."""
        while not self.is_over and await may():
            strokes = self.bell.strokes
            async with database.reading([book]) as tx:
                page = await events.after(tx, cursor, most=READ_MOST)
            yield page
            if page.cursor == cursor:
                await self.bell.after(strokes, LOOK_SECONDS)
            cursor = page.cursor

    def end(self) -> None:
        """Send everybody home."""
        self.is_over = True
        self.bell.strike()

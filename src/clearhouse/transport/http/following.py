"""Following: events as a page of JSON, or as they happen as server-sent events.

Promise: whoever goes on from the last id they saw misses nothing. A slow reader is fed from the log by its own cursor:
nothing is kept for it here, and nobody waits for it. However little of the log is wanted, one question reads only so much of
it. A stream ends with its key, with its scope and with the server.
"""

from asyncio import get_running_loop
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, Protocol, TypeVar, cast

import msgspec
from litestar import Request, Response
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from clearhouse.kernel.access.roles import Scope
from clearhouse.kernel.journal import events
from clearhouse.kernel.journal.events import Cursor, Event, cursor_after, place_before
from clearhouse.transport.http.feed import READ_MOST
from clearhouse.transport.http.paging import Page, page
from clearhouse.transport.http.visits import Visit, here

STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
LOOKS_MAX = 40  # READ_MOST each


class Told(Protocol):
    """What is shown of an event, under the event's id."""

    @property
    def id(self) -> str:
        """The event's."""
        ...


Item = TypeVar("Item", bound=Told)
After = Annotated[
    str | None, QueryParameter(name="after", required=False, max_length=64, description="The last event that you have seen.")
]
Place = Annotated[str | None, QueryParameter(name="cursor", required=False, max_length=64)]
Last = Annotated[str | None, HeaderParameter(name="Last-Event-ID", required=False, max_length=64)]


@dataclass(frozen=True, slots=True)
class Following(Generic[Item]):
    """One who reads or follows the events of a book: `seen` is what it is shown of an event, if that is for it."""

    request: Request[Any, Any, Any]
    scope: Scope
    book: int
    seen: Callable[[Event], Item | None]

    @property
    def visit(self) -> Visit:
        """Who it is."""
        return here(self.request)

    async def answer(self, given: str | None, limit: int) -> Response[Page[Item]]:
        """Return what comes after an event: a page, or with `Accept: text/event-stream` everything that ever comes."""
        start = Cursor() if given is None else cursor_after(given, self.book)
        if STREAM in self.request.headers.get("accept", ""):
            self.visit.feed.check(self.visit.caller.id)
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            stream = Stream(self.lines(start), media_type=STREAM, headers=headers)
            return cast("Response[Page[Item]]", stream)  # the framework sends whichever it is given
        found, read_to = await self._some(start, limit + 1)
        return page(self.request, found, limit, lambda each: each.id, read_to=read_to)

    async def _some(self, cursor: Cursor, most: int) -> tuple[list[Item], str | None]:
        """Return so many events that are wanted, unless the log ends before; or fewer, and how far was looked."""
        found: list[Item] = []
        async with self.visit.door.database.reading([self.book]) as tx:
            for _ in range(LOOKS_MAX):
                read = await events.after(tx, cursor, most=READ_MOST)
                found += [item for each in read.events if (item := self.seen(each)) is not None]
                if read.cursor == cursor or len(found) >= most:
                    return found[:most], None
                cursor = read.cursor
        return found, place_before(cursor, self.book)

    async def lines(self, cursor: Cursor) -> AsyncIterator[bytes]:
        """Give events for as long as they may be seen, and a word now and then so that the line stays open."""
        with self.visit.feed.counted(self.visit.caller.id) as may_follow:
            if may_follow:
                async for text in self._texts(cursor):
                    yield text

    async def _texts(self, cursor: Cursor) -> AsyncIterator[bytes]:
        clock, visit, last = get_running_loop().time, self.visit, ""
        spoken = clock()
        headers = self.request.headers
        may = partial(visit.may_still, self.scope, self.book, headers.get("authorization"), headers.get("x-api-key"))
        yield b": events follow\n\n"
        async for read in visit.feed.pages(visit.door.database, self.book, cursor, may):
            text = b"".join(self._block(each) for each in read.events)
            last = read.events[-1].id if read.events else last
            if not text and clock() - spoken >= HEARTBEAT_SECONDS:
                text = f"id: {last}\n: still here\n\n".encode() if last else b": still here\n\n"
            if text:
                yield text
                spoken = clock()

    def _block(self, event: Event) -> bytes:
        item = self.seen(event)
        if item is None:
            return b""
        return f"id: {event.id}\nevent: {event.type}\ndata: ".encode() + msgspec.json.encode(item) + b"\n\n"

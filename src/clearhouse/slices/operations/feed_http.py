"""Events over HTTP: a page at a time as JSON, or as they happen as server-sent events.

Promise: whoever goes on from the last id they saw misses nothing. A slow reader is fed from the log by its own cursor:
nothing is kept for it here, and nobody waits for it. A stream ends with its key, with its scope and with the server.
"""

from asyncio import get_running_loop
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, cast

import msgspec
from litestar import Request, Response, Router
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from clearhouse.kernel.journal import events
from clearhouse.kernel.journal.events import Cursor, Event, cursor_after
from clearhouse.refusals import Refusal
from clearhouse.transport.http.paging import Limit, Page
from clearhouse.transport.http.paging import page as paged
from clearhouse.transport.http.routes import get
from clearhouse.transport.http.visits import Book, Visit, here

READ = "events:read"
STREAM = "text/event-stream"
READ_MOST = 500
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
Wanted = Callable[[Event], bool]
Asking = Request[Any, Any, Any]
Id = Annotated[
    str | None, QueryParameter(name="after", required=False, max_length=64, description="The last event that you have seen.")
]


class Shown(msgspec.Struct, frozen=True, rename={"name": "type"}):
    """An event as CloudEvents 1.0 writes it; what `data` is for each type is in /api/v1/events/catalogue."""

    id: str
    source: str
    name: str
    time: str
    principal: str
    specversion: str
    subject: str = ""
    datacontenttype: str = ""
    data: Any = None


@get("/", summary="Read or follow events")
async def list_events(
    request: Asking, book: Book = None, limit: Limit = 100, after: Id = None,
    cursor: Annotated[str | None, QueryParameter(name="cursor", required=False, max_length=64)] = None,
    prefix: Annotated[
        str, QueryParameter(name="type", required=False, max_length=100, description="What the types begin with: `ledger.`")
    ] = "",
    subject: Annotated[str | None, QueryParameter(name="subject", required=False, max_length=200)] = None,
    last: Annotated[str | None, HeaderParameter(name="Last-Event-ID", required=False, max_length=64)] = None,
) -> Response[Page[Shown]]:  # fmt: skip
    """Return events in order, after the last one that you have seen; with `Accept: text/event-stream`, also as they come."""
    visit = here(request)
    number = visit.require(READ, book)
    given = last or cursor or after
    start = Cursor() if given is None else cursor_after(given, number)

    def wanted(event: Event) -> bool:
        return event.type.startswith(prefix) and (subject is None or event.subject == subject)

    if STREAM in request.headers.get("accept", ""):
        following = Following(visit, request, number)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        stream = Stream(following.lines(start, wanted), media_type=STREAM, headers=headers)
        return cast("Response[Page[Shown]]", stream)  # the framework sends whichever it is given
    found = await _some(visit, number, start, wanted, limit + 1)
    return cast("Response[Page[Shown]]", paged(request, found, limit, lambda each: each.id))  # as it is shown


async def _some(visit: Visit, book: int, cursor: Cursor, wanted: Wanted, most: int) -> list[Event]:
    """Return so many events that are wanted, unless the log ends before."""
    found: list[Event] = []
    async with visit.door.database.reading([book]) as tx:
        while len(found) < most:
            page = await events.after(tx, cursor, most=READ_MOST)
            found += [each for each in page.events if wanted(each)]
            if page.cursor == cursor:
                break
            cursor = page.cursor
    return found[:most]


class Following:
    """One who follows the events of a book."""

    def __init__(self, visit: Visit, request: Asking, book: int) -> None:
        self._visit = visit
        self._credential = request.headers.get("authorization"), request.headers.get("x-api-key")
        self._book = book

    async def lines(self, cursor: Cursor, wanted: Wanted) -> AsyncIterator[bytes]:
        """Give events for as long as they may be seen, and a word now and then so that the line stays open."""
        clock = get_running_loop().time
        feed, seen, spoken = self._visit.feed, "", clock()
        yield b": events follow\n\n"
        while not feed.is_over and await self._may():
            strokes = feed.bell.strokes
            async with self._visit.door.database.reading([self._book]) as tx:
                page = await events.after(tx, cursor, most=READ_MOST)
            text = b"".join(_block(each) for each in page.events if wanted(each))
            seen = page.events[-1].id if page.events else seen
            if not text and clock() - spoken >= HEARTBEAT_SECONDS:
                text = f"id: {seen}\n: still here\n\n".encode() if seen else b": still here\n\n"
            if text:
                yield text
                spoken = clock()
            if page.cursor == cursor:
                await feed.bell.after(strokes, LOOK_SECONDS)
            cursor = page.cursor

    async def _may(self) -> bool:
        try:
            caller = await self._visit.gate.caller(*self._credential)
        except Refusal as refusal:
            if refusal.kind.value == "unauthenticated":
                return False
            raise
        return caller.allows(READ, self._book)


def _block(event: Event) -> bytes:
    return f"id: {event.id}\nevent: {event.type}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"


router = Router("/events", route_handlers=[list_events], tags=["events"])

"""Events over HTTP: a page at a time as JSON, or as they happen as server-sent events."""

from typing import Annotated, Any, cast

import msgspec
from litestar import Request, Response, Router
from litestar.params import QueryParameter

from clearhouse.kernel.journal.events import Event
from clearhouse.transport.http.following import After, Following, Last, Place
from clearhouse.transport.http.paging import Limit, Page
from clearhouse.transport.http.routes import get
from clearhouse.transport.http.visits import Book, here

READ = "events:read"
Asking = Request[Any, Any, Any]


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
    request: Asking, book: Book = None, limit: Limit = 100, after: After = None, cursor: Place = None,
    prefix: Annotated[
        str, QueryParameter(name="type", required=False, max_length=100, description="What the types begin with: `ledger.`")
    ] = "",
    subject: Annotated[str | None, QueryParameter(name="subject", required=False, max_length=200)] = None,
    last: Last = None,
) -> Response[Page[Shown]]:  # fmt: skip
    """Return events in order, after the last one that you have seen; with `Accept: text/event-stream`, also as they come."""
    number = here(request).require(READ, book)

    def seen(event: Event) -> Event | None:
        return event if event.type.startswith(prefix) and (subject is None or event.subject == subject) else None

    found = await Following(request, READ, number, seen).answer(last or cursor or after, limit)
    return cast("Response[Page[Shown]]", found)  # as it is shown


router = Router("/events", route_handlers=[list_events], tags=["events"])

"""Events over HTTP: who reads them, and how far each has come."""

from typing import Any

from litestar import Request, Response, Router

from clearhouse.kernel.journal import readers
from clearhouse.kernel.journal.readers import Standing
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import get
from clearhouse.transport.http.visits import Book, here


@get("/readers", summary="Who reads the events")
async def list_readers(
    request: Request[Any, Any, Any], book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Standing]]:
    """Return every reader with its place, how many journal rows lie before it, and what it fails at."""
    async with here(request).reading("jobs:read", book) as tx:
        found = await readers.standings(tx, after=cursor or "", most=limit + 1)
    return page(request, found, limit, lambda each: each.name)


router = Router("/events", route_handlers=[list_readers], tags=["events"])

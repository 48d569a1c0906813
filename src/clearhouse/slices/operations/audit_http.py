"""The audit trail over HTTP: lines, the head of the chain, the export, and the verification."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import QueryParameter
from litestar.response import Stream

from clearhouse.kernel.journal import reading
from clearhouse.kernel.journal.reading import Entry, Verdict
from clearhouse.transport.http.bulk import NDJSON
from clearhouse.transport.http.paging import Limit, Page, page
from clearhouse.transport.http.routes import get, post
from clearhouse.transport.http.visits import Book, here

READ = "audit:read"
LAST_NUMBER = 2**63 - 1
Asking = Request[Any, Any, Any]


class ChainHead(msgspec.Struct, frozen=True):
    """The last number of the chain and its link, as one text to keep elsewhere."""

    head: str


@get("/lines", summary="Read the audit trail")
async def list_lines(
    request: Asking, book: Book = None, limit: Limit = 100,
    cursor: Annotated[int, QueryParameter(name="cursor", required=False, ge=0, le=LAST_NUMBER)] = 0,
) -> Response[Page[Entry]]:  # fmt: skip
    """Return journal rows in the order of their numbers, each with the lines of one transaction."""
    async with here(request).reading(READ, book) as tx:
        found = await reading.page(tx, after=cursor, most=limit + 1)
    return page(request, found, limit, lambda each: str(each.number))


@get("/head", summary="The head of the chain")
async def show_head(request: Asking, book: Book = None) -> ChainHead:
    """Return what proves the whole chain up to now; keep it where nobody here can reach it."""
    async with here(request).reading(READ, book) as tx:
        return ChainHead(await reading.head(tx))


@get("/export", summary="Export the audit trail", media_type=NDJSON)
async def export_lines(request: Asking, book: Book = None) -> Stream:
    """Return every row as a line of JSON; docs/verify_audit.py verifies such a file offline."""
    visit = here(request)
    visit.require(READ, book)
    pieces = reading.export(lambda: visit.reading(READ, book))
    first = await anext(pieces, b"")  # before the answer begins: that the database is away is told as everywhere
    return Stream(_all(first, pieces), media_type=NDJSON)


async def _all(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in others:
        yield piece


@post("/verify", summary="Verify the audit trail", status_code=200)
async def verify_lines(
    request: Asking, book: Book = None,
    head: Annotated[str | None, QueryParameter(name="head", required=False, max_length=100)] = None,
) -> Verdict:  # fmt: skip
    """Recompute the chain and name the first row that was altered, removed or put in."""
    kept = None if head is None else reading.read_head(head)
    async with here(request).reading(READ, book) as tx:
        return await reading.verify(tx, kept=kept)


router = Router("/audit", route_handlers=[list_lines, show_head, export_lines, verify_lines], tags=["audit"])

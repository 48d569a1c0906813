"""Settlement structures over HTTP: the seven calls of the contract to the letter, and uploads of any length beside them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, cast

import msgspec
from litestar import Request, Response
from litestar.params import PathParameter, QueryParameter

from clearhouse import clock
from clearhouse.refusals import Malformed
from clearhouse.slices.records import commands, progress, rounds, states, streams, structures, tracing, uploads
from clearhouse.slices.records.arriving import receive_parts, receive_whole
from clearhouse.slices.records.bodies import UPDATE, NewStructure, bodies_of, documented
from clearhouse.slices.records.commands import READ, WRITE
from clearhouse.slices.records.refusals import StructureUnknown, Unparsable
from clearhouse.slices.records.rounds import End
from clearhouse.slices.records.structures import Structure
from clearhouse.slices.records.tracing import Source
from clearhouse.transport.http.bulk import NDJSON
from clearhouse.transport.http.entrance import BODY_SECONDS_MAX, Receive, TooSlow
from clearhouse.transport.http.paging import Cursor, Limit, link
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, Visit, here

JSON_BYTES_MAX = 10 * 1024 * 1024
Asking = Request[Any, Any, Any]
SettleId = Annotated[str, PathParameter(description="The structure's id.", max_length=100)]
UploadId = Annotated[
    str | None,
    QueryParameter(
        name="uploadId", required=False, min_length=1, max_length=200,
        description="What you call this upload: sent again under it, it is answered and not counted again.",
    ),
]  # fmt: skip
UploadName = Annotated[
    str | None,
    QueryParameter(name="uploadId", required=False, min_length=1, max_length=200, description="What you call the upload."),
]
Mode = Annotated[
    Literal["upload", "chunk"],
    QueryParameter(
        name="mode", required=False,
        description="`upload`: all of it is counted or nothing; `chunk`: part by part, as they come.",
    ),
]  # fmt: skip
Instant = Annotated[str | None, QueryParameter(name="at", required=False, description="As it was at this instant.")]
RoundQuery = Annotated[int, QueryParameter(name="round", ge=0, required=False, description="0: the one that is open now.")]


class Output(msgspec.Struct, frozen=True):
    """What is answered, in the envelope of the contract."""

    output: Any


@post("/create", summary="Create a settlement structure", status_code=200)
async def create(
    request: Asking, data: Annotated[NewStructure, body(NewStructure.EXAMPLE, NewStructure.PLACEHOLDER)], book: Book = None,
    key: IdempotencyKey = None,
) -> Output:  # fmt: skip
    """Say by which key records are summed, which metrics, how, and how rounds are settled; the sample is not counted."""
    visit = here(request)
    made = await visit.submit(commands.CREATE, structures.checked(data.asked(who(visit))), book=book, key=key)
    return Output(made.shown())


@get("/", summary="List settlement structures")
async def list_structures(request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100) -> Response[Output]:
    """Return structures without their aggregates, in the order of their ids."""
    async with here(request).reading(READ, book) as tx:
        after = "" if cursor is None else (await structures.find(tx, cursor)).settleid
        found = await structures.structures(tx, after=after, most=limit + 1)
    return paged(request, [each.shown() for each in found], limit, [each.settleid for each in found])


@get("/{settleid:str}", summary="Show a settlement structure")
async def show(request: Asking, settleid: SettleId, book: Book = None, at: Instant = None) -> Output:
    """Return a structure with its aggregates, as it is or as it was."""
    async with here(request).reading(READ, book) as tx:
        structure = await structures.find(tx, settleid)
        found = await states.current(tx, structure) if at is None else await states.at(tx, structure, clock.parse(at))
    if found is None:
        raise StructureUnknown(settleid=settleid)
    return Output(found)


@get("/{settleid:str}/history", summary="The history of a structure")
async def history(
    request: Asking, settleid: SettleId, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Output]:
    """Return the structure as it was after each change, newest first."""
    async with here(request).reading(READ, book) as tx:
        structure = await structures.find(tx, settleid)
        found = await states.history(tx, structure, before=number(cursor, states.EVERY), most=limit + 1)
    return paged(request, [entry for _, entry in found], limit, [str(change) for change, _ in found])


@get("/{settleid:str}/settled", summary="The settled rounds of a structure")
async def show_settled(
    request: Asking, settleid: SettleId, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Output]:
    """Return what each settled round came to: one as an object, several as a list, newest first."""
    async with here(request).reading(READ, book) as tx:
        structure = await structures.find(tx, settleid)
        found = await rounds.settled(tx, structure, before=number(cursor, states.EVERY), most=limit + 1)
        shown = [
            {"aggregates": await states.settled(tx, structure, each.round), "timestamp": structures.seconds(each.at)}
            for each in found[:limit]
        ]
    numbers = [str(each.round) for each in found]
    return paged(request, [*shown, *shown[:1]][: len(found)], limit, numbers, single=cursor is None)


@post(
    "/{settleid:str}/update", summary="Upload records", status_code=200, request_max_body_size=JSON_BYTES_MAX,
    operation_class=documented(UPDATE),
)  # fmt: skip
async def update(request: Asking, settleid: SettleId, book: Book = None, key: IdempotencyKey = None) -> Output:
    """Count records: all of them or, if one cannot be read, none."""
    visit = here(request)
    structure = await _find(visit, settleid, WRITE, book)
    name, lines = bodies_of(await request.body())
    by, organisation = who(visit), visit.caller.organisation
    command = uploads.uploaded(structure, uploads.read(structure, lines), by=by, organisation=organisation, name=name)
    counted = await visit.submit(commands.UPLOAD, command, book=book, key=key)
    return Output(await _after(visit, settleid, counted.change, book))


@post(
    "/{settleid:str}/upload", summary="Upload a stream of records", status_code=200, request_max_body_size=None,
    opt={"reads": frozenset({"text/csv"})}, operation_class=documented(None),
)  # fmt: skip
async def stream(
    request: Asking, settleid: SettleId, book: Book = None, upload: UploadId = None, mode: Mode = "upload"
) -> Output:
    """Count records that come as NDJSON or CSV, however many; nothing is read faster than it is written."""
    visit = here(request)
    structure = await _find(visit, settleid, WRITE, book)
    media_type = request.headers.get("content-type", NDJSON).partition(";")[0].strip().lower()
    parts = streams.parts(taken(request), table=media_type == "text/csv")
    receive = receive_whole if mode == "upload" else receive_parts
    received = await receive(visit, structure, parts, name=upload or "", book=book)
    shown = await _after(visit, settleid, received.change, book) if received.change else structure.shown()
    return Output(shown | {"received": received})


@post("/{settleid:str}/settle", summary="Settle the round", status_code=200)
async def settle(request: Asking, settleid: SettleId, book: Book = None, key: IdempotencyKey = None) -> Output:
    """End the round and return what it comes to; a record in flight is in it or in the next one."""
    visit = here(request)
    structure = await _find(visit, settleid, commands.SETTLE_ROUND, book)
    ended = await visit.submit(commands.SETTLE, _end(visit, structure), book=book, key=key)
    async with visit.reading(commands.SETTLE_ROUND, book) as tx:
        return Output(await states.settled(tx, structure, ended.round))


@post("/{settleid:str}/clear", summary="Clear the round", status_code=200)
async def clear(request: Asking, settleid: SettleId, book: Book = None, key: IdempotencyKey = None) -> Output:
    """End the round without settling it; its records and its history stay."""
    visit = here(request)
    structure = await _find(visit, settleid, commands.SETTLE_ROUND, book)
    await visit.submit(commands.CLEAR, _end(visit, structure), book=book, key=key)
    async with visit.reading(commands.SETTLE_ROUND, book) as tx:
        return Output(await states.current(tx, await structures.find(tx, settleid)))


@get("/{settleid:str}/records", summary="Trace a line to its records")
async def trace(
    request: Asking, settleid: SettleId,
    key: Annotated[str, QueryParameter(name="key", max_length=500, description="The primary key of the line.")],
    book: Book = None, round_: RoundQuery = 0, cursor: Cursor = None, limit: Limit = 100,
) -> Response[Output]:  # fmt: skip
    """Return the records that a line of a round was made of, in the order in which they were counted."""
    change, _, place = (cursor or "0-0").partition("-")
    after = number(change, 0), number(place, 0)
    async with here(request).reading(READ, book) as tx:
        structure = await structures.find(tx, settleid)
        asked = round_ or structure.round
        found = await tracing.sources(tx, structure, round_=asked, key=key, after=after, most=limit + 1)
    return paged(request, found, limit, [_place(each) for each in found])


@get("/{settleid:str}/uploads", summary="Uploads on their way")
async def list_uploads(
    request: Asking, settleid: SettleId, book: Book = None, upload: UploadName = None, cursor: Cursor = None,
    limit: Limit = 100,
) -> Response[Output]:  # fmt: skip
    """Return how far uploads are that are on their way, or the one that you call so, wherever it is."""
    visit = here(request)
    async with visit.reading(READ, book) as tx:
        structure = await structures.find(tx, settleid)
        if upload is None:
            found = await progress.arriving(tx, structure, after=cursor, most=limit + 1)
        else:
            found = await progress.named(tx, structure, upload, organisation=visit.caller.organisation)
    return paged(request, found, limit, [each.upload for each in found])


async def taken(request: Asking) -> AsyncIterator[bytes]:
    """Give the pieces of a body as they come; each has its own time, all of them together have as long as they take."""
    receive = cast("Receive", request.scope["unhurried"])  # type: ignore[typeddict-item] - the entrance put it there
    more = True
    while more:
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow(seconds=str(int(BODY_SECONDS_MAX))) from error
        if message["type"] == "http.disconnect":
            raise Unparsable(place="the body", problem="it broke off")
        more = message.get("more_body", False)
        yield message.get("body", b"")


def who(visit: Visit) -> str:
    """Return the caller as the contract has it."""
    return f"{visit.caller.name}:{visit.caller.organisation}"


def number(text: str | None, otherwise: int) -> int:
    """Read a cursor that is a number."""
    if text is None:
        return otherwise
    if not text.isdecimal() or not text.isascii() or len(text) > len(str(otherwise or states.EVERY)):
        raise Malformed(field="cursor", problem="it is not one that a page before gave")
    return min(int(text), states.EVERY)


def _place(source: Source) -> str:
    return f"{source.change}-{source.place}"


def _end(visit: Visit, structure: Structure) -> End:
    return End(structure.settleid, structure.number, structure.dispute_hours, who(visit), structure.books)


async def _find(visit: Visit, settleid: str, scope: str, book: str | None) -> Structure:
    async with visit.reading(scope, book) as tx:
        return await structures.find(tx, settleid)


async def _after(visit: Visit, settleid: str, change: int, book: str | None) -> dict[str, Any]:
    async with visit.reading(WRITE, book) as tx:
        return await states.after(tx, await structures.find(tx, settleid), change)


def paged(request: Asking, found: list[Any], limit: int, cursors: list[str], *, single: bool = False) -> Response[Output]:
    """Return a page of a list, with where the next one is as a header; a list of one may be that one."""
    shown = found[:limit]
    headers: dict[str, str] = {}
    if len(found) > limit:
        headers["Link"] = link(request, cursors[limit - 1])
    return Response(Output(shown[0] if single and len(found) == 1 else shown), headers=headers)


HANDLERS = (create, list_structures, show, history, show_settled, update, stream, list_uploads, settle, clear, trace)

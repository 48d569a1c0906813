"""Schedules over HTTP: what happens by the clock, when next, and how it went."""

from typing import Annotated, Any

from litestar import Request, Response, Router
from litestar.params import PathParameter

from clearhouse.kernel.pipelines import schedules
from clearhouse.kernel.pipelines.schedules import Named, Schedule, SetSchedule
from clearhouse.slices.operations import schedule_commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "jobs:read"
Asking = Request[Any, Any, Any]
SchedulePath = Annotated[str, PathParameter(description="A schedule's name.", max_length=64)]
NIGHTLY = {"name": "close.nightly", "cron": "30 0 * * *", "zone": "Europe/Berlin", "job": "ledger.close_day"}


@get("/", summary="List schedules")
async def list_schedules(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Schedule]]:
    """Return what happens by the clock, by name, with when it is next and how it went the last time."""
    async with here(request).reading(READ, book) as tx:
        after = "" if cursor is None else (await schedules.find(tx, cursor)).name
        found = await schedules.schedules(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.name)


@get("/{schedule:str}", summary="Show a schedule")
async def show_schedule(request: Asking, schedule: SchedulePath, book: Book = None) -> Schedule:
    """Return a schedule with its last firing."""
    async with here(request).reading(READ, book) as tx:
        return await schedules.find(tx, schedule)


@post("/", summary="Set a schedule")
async def set_schedule(
    request: Asking, data: Annotated[SetSchedule, body(NIGHTLY)], book: Book = None, key: IdempotencyKey = None
) -> Schedule:
    """Set when a job happens by itself; a schedule of that name is replaced."""
    return await here(request).submit(schedule_commands.SET, data, book=book, key=key)


@post("/{schedule:str}/pause", summary="Pause a schedule", status_code=200)
async def pause(request: Asking, schedule: SchedulePath, book: Book = None, key: IdempotencyKey = None) -> Schedule:
    """Let a schedule rest until it is resumed."""
    return await here(request).submit(schedule_commands.PAUSE, Named(schedule), book=book, key=key)


@post("/{schedule:str}/resume", summary="Resume a schedule", status_code=200)
async def resume(request: Asking, schedule: SchedulePath, book: Book = None, key: IdempotencyKey = None) -> Schedule:
    """Let a schedule that rests go on with its next tick."""
    return await here(request).submit(schedule_commands.RESUME, Named(schedule), book=book, key=key)


@post("/{schedule:str}/run", summary="Run a schedule now", status_code=200)
async def run_now(request: Asking, schedule: SchedulePath, book: Book = None, key: IdempotencyKey = None) -> Schedule:
    """Let a schedule fire once now, beside its ticks, even one that rests."""
    return await here(request).submit(schedule_commands.RUN, Named(schedule), book=book, key=key)


router = Router(
    "/schedules",
    route_handlers=[list_schedules, show_schedule, set_schedule, pause, resume, run_now],
    tags=["schedules"],
)

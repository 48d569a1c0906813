"""The inbox over HTTP: messages that had no effect, and what becomes of them."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse.kernel.inbox import dead
from clearhouse.kernel.inbox.dead import Dismiss, Letter, Remark, Replay, State
from clearhouse.slices.operations import commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "inbox:read"
Asking = Request[Any, Any, Any]
LetterPath = Annotated[str, PathParameter(description="A dead letter's id.", max_length=64)]
Standing = Annotated[State | None, QueryParameter(name="state", required=False, description="Only those in this state.")]


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why, if you want to say."""

    remark: Remark = ""


@get("/dead", summary="List messages that had no effect")
async def list_letters(
    request: Asking, standing: Standing = None, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Letter]]:
    """Return messages that were not understood or were refused for good, newest first."""
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else await dead.find(tx, cursor)
        found = await dead.letters(tx, state=standing, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/dead/{letter:str}", summary="Show a message that had no effect")
async def show_letter(request: Asking, letter: LetterPath, book: Book = None) -> Letter:
    """Return a message with the reason why it had no effect."""
    async with here(request).reading(READ, book) as tx:
        return await dead.find(tx, letter)


@post("/dead/{letter:str}/replay", summary="Try a message again", status_code=200)
async def replay_letter(
    request: Asking,
    letter: LetterPath,
    data: Annotated[Decision, body({"remark": "a test of theirs"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Letter:
    """Let a message be tried again by the worker, a moment later; if it is refused again, it waits with the new reason."""
    return await here(request).submit(commands.REPLAY, Replay(letter, data.remark), book=book, key=key)


@post("/dead/{letter:str}/dismiss", summary="Let a message be", status_code=200)
async def dismiss_letter(
    request: Asking,
    letter: LetterPath,
    data: Annotated[Decision, body({"remark": "a test of theirs"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Letter:
    """Let a message be: nobody has to look at it any more."""
    return await here(request).submit(commands.DISMISS, Dismiss(letter, data.remark), book=book, key=key)


router = Router("/inbox", route_handlers=[list_letters, show_letter, replay_letter, dismiss_letter], tags=["inbox"])

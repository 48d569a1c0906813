"""Disputes over HTTP: the lines of a settled round with what is said of them, a word on a line, and the end of a dispute."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response

from clearhouse import clock
from clearhouse.slices.records import commands, disputes, structures
from clearhouse.slices.records.disputes import Resolve, Say, Word
from clearhouse.slices.records.http import Output, RoundQuery, SettleId, paged, who
from clearhouse.transport.http.paging import Cursor, Limit
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

Asking = Request[Any, Any, Any]
REMARK = r"^[^\x00]*$"
Remark = Annotated[str, msgspec.Meta(max_length=1_000, pattern=REMARK)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=REMARK)]
RoundNumber = Annotated[int, msgspec.Meta(ge=1)]


class NewWord(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A word on a line, in the name of your organisation."""

    round: RoundNumber
    key: str
    word: Word
    remark: Remark = ""


class NewResolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands of a disputed line, by metric, and why."""

    round: RoundNumber
    key: str
    stands: dict[str, str]
    remark: Reason


@get("/{settleid:str}/lines", summary="The lines of a settled round")
async def list_lines(
    request: Asking, settleid: SettleId, book: Book = None, round_: RoundQuery = 0, cursor: Cursor = None,
    limit: Limit = 100,
) -> Response[Output]:  # fmt: skip
    """Return lines with the values side by side, what each organisation said, and where that leaves them."""
    async with here(request).reading(commands.READ, book) as tx:
        structure = await structures.find(tx, settleid)
        settled = await disputes.find_round(tx, structure, round_)
        found = await disputes.lines(tx, structure, settled, at=clock.now(), after=cursor or "", most=limit + 1)
    return paged(request, found, limit, [each.key for each in found])


@post("/{settleid:str}/words", summary="Accept or dispute a line", status_code=200)
async def say(
    request: Asking, settleid: SettleId,
    data: Annotated[NewWord, body({"round": 1, "key": "A", "word": "disputed", "remark": "we count 90"})],
    book: Book = None, key: IdempotencyKey = None,
) -> Output:  # fmt: skip
    """Say it for your organisation, within the window of the round; a later word takes the place of an earlier one."""
    visit = here(request)
    command = Say(settleid, data.round, data.key, data.word, data.remark, visit.caller.organisation, who(visit))
    return Output(await visit.submit(commands.SAY, command, book=book, key=key))


@post("/{settleid:str}/resolutions", summary="End a dispute", status_code=200)
async def resolve(
    request: Asking, settleid: SettleId,
    data: Annotated[NewResolution, body({"round": 1, "key": "A", "stands": {"dur": "90"}, "remark": "the switch says 90"})],
    book: Book = None, key: IdempotencyKey = None,
) -> Output:  # fmt: skip
    """Say what stands; you have had no word on the line yourself."""
    visit = here(request)
    command = Resolve(settleid, data.round, data.key, data.stands, data.remark, who(visit))
    return Output(await visit.submit(commands.RESOLVE, command, book=book, key=key))


HANDLERS = (list_lines, say, resolve)

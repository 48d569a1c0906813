"""Settlements over HTTP: execute, show, list, cancel, and release what is in doubt by two people's hands."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands, explaining, reading, views
from clearhouse.slices.interbank.explaining import Explanation
from clearhouse.slices.interbank.parties import party, require_ours, require_payer
from clearhouse.slices.interbank.reading import Detail, Wanted
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Settlement, State
from clearhouse.slices.interbank.stopping import CancelSettlement, Release, ReleaseSettlement, Why
from clearhouse.slices.interbank.telling import Listening, Told
from clearhouse.transport.http import bulk
from clearhouse.transport.http.bulk import BODY_BYTES_MAX, Results
from clearhouse.transport.http.following import After, Following, Last, Place
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

Asking = Request[Any, Any, Any]
SettlementPath = Annotated[str, PathParameter(description="A settlement's id.", max_length=64)]
BankQuery = Annotated[str | None, QueryParameter(name="bank", required=False, max_length=20, description="On either side.")]
CurrencyQuery = Annotated[str | None, QueryParameter(name="currency", required=False, max_length=16)]
ObligationQuery = Annotated[str | None, QueryParameter(name="obligation_id", required=False, max_length=100)]
SettlementsQuery = Annotated[
    str, QueryParameter(name="settlement", required=False, max_length=3_100, description="Of these, with commas between.")
]
BanksQuery = Annotated[
    str, QueryParameter(name="bank", required=False, max_length=300, description="Of these, with commas between.")
]
StateQuery = Annotated[State | None, QueryParameter(name="state", required=False)]

_EXECUTE = {
    "obligation_id": "OBL-2026-11-0001", "from_bank": "CHASUS33", "to_bank": "DEUTDEFF", "amount": "100.00",
    "currency": "USD", "method": "MOCK", "priority": "NORMAL",
}  # fmt: skip


class Cancellation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why it is taken back, if you want to say."""

    reason: Why | None = None


class GivingUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is given up: asked with the same reason again once it is approved, it is."""

    reason: Why


@post("/", summary="Execute a settlement")
async def execute_settlement(
    request: Asking, data: Annotated[ExecuteSettlement, body(_EXECUTE)], book: Book = None, key: IdempotencyKey = None
) -> Settlement:
    """Validate an obligation and lock its funds on both sides; it is sent at its turn. A refusal has locked nothing."""
    visit = here(request)
    visit.require(commands.EXECUTE, book)
    answer = (await views.execute(visit, [data], book=book, key=key))[0]
    if isinstance(answer, Refusal):
        raise answer
    return answer


@post(
    "/batch", summary="Execute up to 10,000 settlements", status_code=200, request_max_body_size=BODY_BYTES_MAX,
    operation_class=bulk.operation(ExecuteSettlement, _EXECUTE),
)  # fmt: skip
async def execute_settlements(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Settlement]:
    """Execute settlements, each by itself; the body is a JSON array or NDJSON."""
    visit = here(request)
    visit.require(commands.EXECUTE, book)
    found = bulk.items(await request.body(), request.headers.get("content-type", ""), ExecuteSettlement)
    mine = [each for each in found if not isinstance(each, Refusal)]
    answers = iter(await views.execute(visit, mine, book=book, key=key))
    return bulk.results([each if isinstance(each, Refusal) else next(answers) for each in found])


@get("/", summary="List settlements")
async def list_settlements(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100, wanted: StateQuery = None,
    bank: BankQuery = None, currency: CurrencyQuery = None, obligation_id: ObligationQuery = None,
) -> Response[Page[Settlement]]:  # fmt: skip
    """Return settlements, newest first; a bank is shown those that it is a party to."""
    visit = here(request)
    mine = party(visit.caller)
    common = Wanted(None if wanted is None else wanted.value, bank, currency, obligation_id)
    async with visit.reading(commands.READ, book) as tx:
        after = None if cursor is None else await reading.find(tx, cursor, party=mine)
        found = await reading.listed(tx, common, party=mine, after=after, most=limit + 1)
    return page(request, [views.shown(each, mine) for each in found], limit, lambda each: each.id)


@get("/events", summary="Read or follow what happens to settlements")
async def list_events(
    request: Asking, book: Book = None, limit: Limit = 100, after: After = None, cursor: Place = None,
    settlements: SettlementsQuery = "", banks: BanksQuery = "",
    last: Last = None,
) -> Response[Page[Told]]:  # fmt: skip
    """Return what happened to settlements, in order; with `Accept: text/event-stream`, also what happens, as it does."""
    visit = here(request)
    number = visit.require(commands.READ, book)
    wanted = Listening(_words(settlements), _words(banks), party(visit.caller))
    return await Following(request, commands.READ, number, wanted.hear).answer(last or cursor or after, limit)


def _words(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


@get("/{settlement:str}", summary="Show a settlement")
async def show_settlement(request: Asking, settlement: SettlementPath, book: Book = None) -> Detail:
    """Return a settlement with every step it took and what had to be put right of it."""
    visit = here(request)
    mine = party(visit.caller)
    async with visit.reading(commands.READ, book) as tx:
        found = await reading.detail(tx, settlement, party=mine)
    return msgspec.structs.replace(found, settlement=views.shown(found.settlement, mine))


@get("/{settlement:str}/explain", summary="Explain a settlement")
async def explain_settlement(request: Asking, settlement: SettlementPath, book: Book = None) -> Explanation:
    """Return what its amount is made of: transfers with the bank's lines for them, what is held, what never moved."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        return await explaining.settlement(tx, settlement, party=party(visit.caller))


@post("/{settlement:str}/cancel", summary="Cancel a settlement", status_code=200)
async def cancel_settlement(
    request: Asking, settlement: SettlementPath, data: Annotated[Cancellation, body({"reason": "Paid in cash."})],
    book: Book = None, key: IdempotencyKey = None,
) -> Settlement:  # fmt: skip
    """Take a settlement back that was not sent yet; its funds are free at once. One that has failed is not tried again."""
    visit = here(request)
    await _payer(request, settlement, book)
    found = await visit.submit(commands.CANCEL, CancelSettlement(settlement, data.reason), book=book, key=key)
    return views.shown(found, party(visit.caller))


@post("/{settlement:str}/release", summary="Release what is in doubt", status_code=200)
async def release_settlement(
    request: Asking, settlement: SettlementPath, data: Annotated[GivingUp, body({"reason": "The bank denies it."})],
    book: Book = None, key: IdempotencyKey = None,
) -> Release:  # fmt: skip
    """Ask for it; when another person has approved that, ask again with the same reason, and its funds are freed."""
    visit = here(request)
    visit.require(commands.GIVE_UP, book)
    require_ours(visit.caller, "")
    return await visit.submit(commands.RELEASE, ReleaseSettlement(settlement, data.reason), book=book, key=key)


async def _payer(request: Asking, settlement: str, book: str | None) -> None:
    """Refuse a bank that is not the one that pays; one that is no party does not even learn that it is there."""
    visit = here(request)
    mine = party(visit.caller)
    if mine is not None:
        number = visit.require(commands.EXECUTE, book)
        async with visit.door.database.reading([number]) as tx:
            require_payer(visit.caller, (await reading.find(tx, settlement, party=mine)).from_bank)


router = Router(
    "/settlements",
    route_handlers=[
        execute_settlement, execute_settlements, list_settlements, list_events, show_settlement, explain_settlement,
        cancel_settlement, release_settlement,
    ],
    tags=["settlements"],
)  # fmt: skip

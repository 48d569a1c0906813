"""Netting over HTTP: cycles, the obligations that they gather, the positions that come of them and what explains those."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting import commands, cycles, obligations, positions, withdrawing
from clearhouse.slices.interbank.netting.cycle import (
    BANKS_MAX,
    AbortCycle,
    CarryCycle,
    CloseCycle,
    Cycle,
    CycleState,
    Method,
    OpenCycle,
    SettleCycle,
    Why,
)
from clearhouse.slices.interbank.netting.obligations import Obligation, ObligationNotFound, RecordObligation
from clearhouse.slices.interbank.netting.positions import Explanation, Position
from clearhouse.slices.interbank.netting.withdrawing import WithdrawObligation
from clearhouse.slices.interbank.parties import party, require_ours, require_payer
from clearhouse.slices.interbank.settlement import Bic
from clearhouse.transport.http import bulk
from clearhouse.transport.http.bulk import BODY_BYTES_MAX, Results
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

Asking = Request[Any, Any, Any]
CyclePath = Annotated[str, PathParameter(description="A cycle's id.", max_length=64)]
PositionPath = Annotated[str, PathParameter(description="A position's id.", max_length=64)]
ObligationPath = Annotated[str, PathParameter(description="An obligation's id, as it was recorded.", max_length=100)]
CurrencyQuery = Annotated[str | None, QueryParameter(name="currency", required=False, max_length=16)]
StateQuery = Annotated[CycleState | None, QueryParameter(name="state", required=False)]
ObligationQuery = Annotated[
    str, QueryParameter(name="obligation_id", max_length=100, description="An obligation's id, as it was recorded.")
]
BankQuery = Annotated[str | None, QueryParameter(name="bank", required=False, max_length=20, description="On either side.")]

_RECORDING = {
    "obligation_id": "OBL-2026-11-0001", "from_bank": "CHASUS33", "to_bank": "DEUTDEFF", "amount": "100.00",
    "currency": "USD",
}  # fmt: skip


_WITHDRAWING = {"obligation_id": "OBL-2026-11-0001", "reason": "It is paid by itself."}


class Closing(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whether it is settled as soon as it is netted, whether it is the last, and if not by which method the next one is."""

    settle: bool = False
    last: bool = False
    method: Method | None = None


class Abortion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is taken back."""

    reason: Why


class Carrying(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whose obligations stay behind, on either side."""

    without: Annotated[list[Bic], msgspec.Meta(max_length=BANKS_MAX)] = []


# Cycles --------------------------------------------------------------------------------------------------------------


@post("/cycles", summary="Open a netting cycle")
async def open_cycle(
    request: Asking, data: Annotated[OpenCycle, body({"currency": "USD", "method": "multilateral"})], book: Book = None,
    key: IdempotencyKey = None,
) -> Cycle:  # fmt: skip
    """Gather the obligations of a currency from now on; one cycle of a currency is open at a time."""
    require_ours(here(request).caller, "")
    return await here(request).submit(commands.OPEN, data, book=book, key=key)


@get("/cycles", summary="List netting cycles")
async def list_cycles(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100, currency: CurrencyQuery = None,
    standing: StateQuery = None,
) -> Response[Page[Cycle]]:  # fmt: skip
    """Return cycles, newest first."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        before = None if cursor is None else await cycles.row(tx, cursor)
        found = await cycles.listed(tx, currency=currency, state=standing, before=before, most=limit + 1)
    return page(request, [_seen(request, row.shown()) for row in found], limit, lambda each: each.id)


@get("/cycles/{cycle:str}", summary="Show a netting cycle")
async def show_cycle(request: Asking, cycle: CyclePath, book: Book = None) -> Cycle:
    """Return a cycle as it stands, with what it comes to once it is netted."""
    async with here(request).reading(commands.READ, book) as tx:
        return _seen(request, (await cycles.row(tx, cycle)).shown())


def _seen(request: Asking, cycle: Cycle) -> Cycle:
    """Keep from a bank what is about others too: the sums, and who could not pay."""
    if party(here(request).caller) is None:
        return cycle
    return msgspec.structs.replace(
        cycle, obligations=None, positions=None, gross=None, net=None, reason=None, waits_because=None
    )


@post("/cycles/{cycle:str}/close", summary="Close a netting cycle", status_code=200)
async def close_cycle(
    request: Asking, cycle: CyclePath, data: Annotated[Closing, body({"settle": True})], book: Book = None,
    key: IdempotencyKey = None,
) -> Cycle:  # fmt: skip
    """Let nothing more into a cycle, and open the next in the same moment; one with nothing in it is settled by that."""
    require_ours(here(request).caller, "")
    command = CloseCycle(cycle, data.settle, data.last, data.method)
    return await here(request).submit(commands.CLOSE, command, book=book, key=key)


@post("/cycles/{cycle:str}/settle", summary="Settle a netting cycle", status_code=200)
async def settle_cycle(request: Asking, cycle: CyclePath, book: Book = None, key: IdempotencyKey = None) -> Cycle:
    """Reserve what is to be paid in a closed cycle, and pay it; if somebody cannot, nobody does, and it is aborted."""
    require_ours(here(request).caller, "")
    return await here(request).submit(commands.SETTLE, SettleCycle(cycle), book=book, key=key)


@post("/cycles/{cycle:str}/abort", summary="Abort a netting cycle", status_code=200)
async def abort_cycle(
    request: Asking, cycle: CyclePath, data: Annotated[Abortion, body({"reason": "A bank asked for it."})],
    book: Book = None, key: IdempotencyKey = None,
) -> Cycle:  # fmt: skip
    """Take a closed cycle back before anything of it is paid; what was reserved is free again."""
    require_ours(here(request).caller, "")
    return await here(request).submit(commands.ABORT, AbortCycle(cycle, data.reason), book=book, key=key)


@post("/cycles/{cycle:str}/carry", summary="Carry an aborted cycle over", status_code=200)
async def carry_cycle(
    request: Asking, cycle: CyclePath, data: Annotated[Carrying, body({"without": ["CHASUS33"]})],
    book: Book = None, key: IdempotencyKey = None,
) -> Cycle:  # fmt: skip
    """Let the obligations of an aborted cycle count for the open one, once, but for those of some banks."""
    require_ours(here(request).caller, "")
    return await here(request).submit(commands.CARRY, CarryCycle(cycle, data.without), book=book, key=key)


# Obligations ---------------------------------------------------------------------------------------------------------


@post("/obligations", summary="Record an obligation")
async def record_obligation(
    request: Asking, data: Annotated[RecordObligation, body(_RECORDING)], book: Book = None, key: IdempotencyKey = None
) -> Obligation:
    """Record what one bank owes another in the open cycle; the same again is answered as it stands."""
    visit = here(request)
    require_payer(visit.caller, data.from_bank)
    return await visit.submit(commands.RECORD, data, book=book, key=key)


@post(
    "/obligations/batch", summary="Record up to 10,000 obligations", status_code=200, request_max_body_size=BODY_BYTES_MAX,
    operation_class=bulk.operation(RecordObligation, _RECORDING),
)  # fmt: skip
async def record_obligations(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Obligation]:
    """Record obligations, each by itself; the body is a JSON array or NDJSON."""
    visit = here(request)
    visit.require(commands.RECORD_SCOPE, book)
    found = bulk.items(await request.body(), request.headers.get("content-type", ""), RecordObligation)
    mine = [each for each in found if not isinstance(each, Refusal)]
    for each in mine:
        require_payer(visit.caller, each.from_bank)
    answers = iter(await visit.submit_all(commands.RECORD, mine, book=book, key=key) if mine else ())
    return bulk.results([each if isinstance(each, Refusal) else next(answers) for each in found])


@post("/obligations/withdraw", summary="Withdraw an obligation", status_code=200)
async def withdraw_obligation(
    request: Asking,
    data: Annotated[WithdrawObligation, body(_WITHDRAWING)],
    book: Book = None, key: IdempotencyKey = None,
) -> Obligation:  # fmt: skip
    """Take back what you recorded, before its cycle closes or once that is aborted: its id is free again."""
    visit = here(request)
    try:
        return await visit.submit(commands.WITHDRAW, data, book=book, key=key)
    except withdrawing.NotRecorder:
        mine = party(visit.caller)
        async with visit.reading(commands.READ, book) as tx:
            if mine is not None and not await obligations.named(tx, data.obligation_id, party=mine):
                raise ObligationNotFound(id=data.obligation_id) from None
        raise


@get("/obligations", summary="Find an obligation")
async def find_obligations(request: Asking, obligation_id: ObligationQuery, book: Book = None) -> Response[Page[Obligation]]:
    """Return the obligation of an id, whatever signs that has, or none."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        found = await obligations.named(tx, obligation_id, party=party(visit.caller))
    return page(request, found, 1, lambda each: each.obligation_id)


@get("/obligations/{obligation:str}", summary="Show an obligation")
async def show_obligation(request: Asking, obligation: ObligationPath, book: Book = None) -> Obligation:
    """Return an obligation with the last cycle that it counts for."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        return await obligations.find(tx, obligation, party=party(visit.caller))


@get("/cycles/{cycle:str}/obligations", summary="List the obligations of a netting cycle")
async def list_obligations(
    request: Asking, cycle: CyclePath, book: Book = None, cursor: Cursor = None, limit: Limit = 100, bank: BankQuery = None
) -> Response[Page[Obligation]]:
    """Return the obligations that count for a cycle, as they were recorded; a bank is shown its own."""
    visit = here(request)
    mine = party(visit.caller)
    async with visit.reading(commands.READ, book) as tx:
        own = (await cycles.row(tx, cycle)).id
        found = await obligations.listed(
            tx, own, bank=mine or bank, other=None if mine is None else bank, after=cursor, most=limit + 1
        )
    return page(request, found, limit, lambda each: each.obligation_id)


# Positions -----------------------------------------------------------------------------------------------------------


@get("/cycles/{cycle:str}/positions", summary="List the positions of a netting cycle")
async def list_positions(
    request: Asking, cycle: CyclePath, book: Book = None, cursor: Cursor = None, limit: Limit = 100, bank: BankQuery = None
) -> Response[Page[Position]]:
    """Return who is to pay and to get how much, once a cycle is netted; a bank is shown its own."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        found = await positions.listed(tx, cycle, bank=party(visit.caller) or bank, after=cursor, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/positions/{position:str}", summary="Explain a position")
async def explain_position(request: Asking, position: PositionPath, book: Book = None) -> Explanation:
    """Return a position with what it comes of, bank by bank and way by way."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        return await positions.explained(tx, position, party=party(visit.caller))


@get("/positions/{position:str}/obligations", summary="List the obligations of a position")
async def list_leaves(
    request: Asking, position: PositionPath, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Obligation]]:
    """Return the obligations that a position comes of: their amounts add up to what it has sent and received."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        found = await positions.leaves(tx, position, party=party(visit.caller), after=cursor, most=limit + 1)
    return page(request, found, limit, lambda each: each.obligation_id)


router = Router(
    "/netting",
    route_handlers=[
        open_cycle, list_cycles, show_cycle, close_cycle, settle_cycle, abort_cycle, carry_cycle, record_obligation,
        record_obligations, withdraw_obligation, find_obligations, show_obligation, list_obligations, list_positions,
        explain_position, list_leaves,
    ],
    tags=["netting"],
)  # fmt: skip

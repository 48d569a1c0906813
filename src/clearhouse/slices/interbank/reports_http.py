"""Reconciliation of nostros over HTTP: compare now, and what every comparison came to."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse.slices.interbank import commands, explaining, reconciling
from clearhouse.slices.interbank.engines import channel_of
from clearhouse.slices.interbank.explaining import Explanation
from clearhouse.slices.interbank.parties import NO_BANK, party, require_ours
from clearhouse.slices.interbank.reconciling import SCOPE, Report, compare
from clearhouse.slices.interbank.settlement import Bic
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post
from clearhouse.transport.http.visits import Book, here

Asking = Request[Any, Any, Any]
ReportPath = Annotated[str, PathParameter(description="A report's id.", max_length=64)]
BankQuery = Annotated[str | None, QueryParameter(name="bank", required=False, max_length=20, description="Of this bank.")]


class Comparison(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which nostros: of one bank or of all, in one currency or in all."""

    bank: Bic | None = None
    currency: Annotated[str, msgspec.Meta(max_length=16)] | None = None


@post("/reports", summary="Compare nostros with their banks' statements")
async def reconcile_accounts(
    request: Asking, data: Annotated[Comparison, body({"bank": "DEUTDEFF"})], book: Book = None
) -> list[Report]:
    """Ask the banks for their statements and compare them line by line; what is left over is a break."""
    visit = here(request)
    number = visit.require(SCOPE, book)
    require_ours(visit.caller, data.bank or "")
    channel = await channel_of(visit.door.database, number)
    return await compare(visit.door, channel, caller=visit.caller, book=number, bank=data.bank, currency=data.currency)


@get("/reports", summary="List reconciliation reports")
async def list_reports(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100, bank: BankQuery = None
) -> Response[Page[Report]]:
    """Return what comparisons came to, newest first."""
    visit = here(request)
    mine = party(visit.caller)
    async with visit.reading(commands.READ, book) as tx:
        after = None if cursor is None else await reconciling.find(tx, cursor, party=mine)
        only = bank if mine is None else mine if bank in {None, mine} else NO_BANK
        found = await reconciling.listed(tx, bank=only, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/reports/{report:str}", summary="Show a reconciliation report")
async def show_report(request: Asking, report: ReportPath, book: Book = None) -> Report:
    """Return what a comparison came to; its matches and breaks are those of the run it names."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        return await reconciling.find(tx, report, party=party(visit.caller))


@get("/reports/{report:str}/explain", summary="Explain a difference")
async def explain_report(request: Asking, report: ReportPath, book: Book = None) -> Explanation:
    """Return what a difference is made of: the lines that only we have, and those that only the bank has."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        return await explaining.difference(tx, report, party=party(visit.caller))


router = Router(
    "/reconciliation", route_handlers=[reconcile_accounts, list_reports, show_report, explain_report], tags=["interbank"]
)

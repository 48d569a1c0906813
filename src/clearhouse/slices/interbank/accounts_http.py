"""Banks, nostros and vostros over HTTP, with what is on them and how it came there; and the rules settlements go by."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse import clock
from clearhouse.kernel.ledger import accounts as ledger
from clearhouse.kernel.ledger import balances
from clearhouse.kernel.ledger.balances import Span, StatementLine
from clearhouse.kernel.ledger.transfers import MoneyText, Text
from clearhouse.slices.interbank import banks, commands, rules
from clearhouse.slices.interbank.banks import (
    Bank,
    BankAccount,
    BankNotFound,
    ChangeBankAccount,
    FundBankAccount,
    KeepBank,
    NoSuchAccount,
    OpenBankAccount,
    Side,
)
from clearhouse.slices.interbank.parties import party, require_ours
from clearhouse.slices.interbank.rules import Limit as Bound
from clearhouse.slices.interbank.rules import NamesSet, SetLimit, SetNames, SettlementWindow, SetWindow
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, patch, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

Asking = Request[Any, Any, Any]
SidePath = Annotated[Side, PathParameter(description="`nostro`: ours at a bank; `vostro`: a bank's with us.")]
BankPath = Annotated[str, PathParameter(description="A bank's BIC.", max_length=20)]
CurrencyPath = Annotated[str, PathParameter(description="A currency of ISO 4217.", max_length=16)]
Since = Annotated[str | None, QueryParameter(name="since", required=False, description="From this instant on.")]
Until = Annotated[str | None, QueryParameter(name="until", required=False, description="Before this instant.")]


class AccountOpening(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which bank's account in which currency; `number` is what the bank calls a nostro."""

    bank: str
    currency: str
    credit_line: MoneyText = "0"
    ceiling: MoneyText | None = None
    number: banks.Number | None = None


class AccountChange(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    state: Literal["open", "frozen"] | None = None
    credit_line: MoneyText | None = None
    ceiling: MoneyText | msgspec.UnsetType | None = msgspec.UNSET


class Funding(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much came from outside, or with `withdraw` went there."""

    amount: MoneyText
    withdraw: bool = False
    reference: Text | None = None


@get("/nostro", summary="List our accounts at other banks")
async def list_nostros(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[BankAccount]]:
    """Return nostros with what is on them, by bank and currency."""
    return await _listed(request, "nostro", book=book, cursor=cursor, limit=limit)


@get("/vostro", summary="List other banks' accounts with us")
async def list_vostros(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[BankAccount]]:
    """Return vostros with what is on them, by bank and currency."""
    return await _listed(request, "vostro", book=book, cursor=cursor, limit=limit)


async def _listed(
    request: Asking, side: Side, *, book: str | None, cursor: str | None, limit: int
) -> Response[Page[BankAccount]]:
    visit = here(request)
    bank, _, currency = (cursor or "").partition(":")
    async with visit.reading(commands.READ, book) as tx:
        found = await banks.listed(tx, side, after=(bank, currency), only=party(visit.caller), most=limit + 1)
    return page(request, found, limit, lambda each: f"{each.bank}:{each.currency}")


_OPENING = {"bank": "DEUTDEFF", "currency": "EUR", "credit_line": "1000000.00"}


@post("/nostro", summary="Open an account of ours at a bank")
async def open_nostro(
    request: Asking, data: Annotated[AccountOpening, body(_OPENING)], book: Book = None, key: IdempotencyKey = None
) -> BankAccount:
    """Open a nostro; opening the same again gives the one that is there."""
    return await _opened(request, "nostro", data, book=book, key=key)


@post("/vostro", summary="Open a bank's account with us")
async def open_vostro(
    request: Asking, data: Annotated[AccountOpening, body(_OPENING)], book: Book = None, key: IdempotencyKey = None
) -> BankAccount:
    """Open a vostro; opening the same again gives the one that is there."""
    return await _opened(request, "vostro", data, book=book, key=key)


async def _opened(request: Asking, side: Side, data: AccountOpening, *, book: str | None, key: str | None) -> BankAccount:
    require_ours(here(request).caller, data.bank)
    command = OpenBankAccount(side, data.bank, data.currency, data.credit_line, data.ceiling, data.number)
    return await here(request).submit(commands.OPEN_ACCOUNT, command, book=book, key=key)


@get("/{side:str}/{bank:str}/{currency:str}", summary="Show a nostro or a vostro")
async def show_account(
    request: Asking, side: SidePath, bank: BankPath, currency: CurrencyPath, book: Book = None
) -> BankAccount:
    """Return what is on an account, what of that is held, and what may leave."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        _visible(request, side, bank, currency)
        return await banks.find_account(tx, side, bank, currency)


def _visible(request: Asking, side: Side, bank: str, currency: str) -> None:
    if party(here(request).caller) not in {None, bank}:
        raise NoSuchAccount(side=side, bic=bank, currency=currency)


@patch("/{side:str}/{bank:str}/{currency:str}", summary="Freeze or re-limit a nostro or a vostro")
async def change_account(
    request: Asking, side: SidePath, bank: BankPath, currency: CurrencyPath,
    data: Annotated[AccountChange, body({"state": "frozen"})], book: Book = None, key: IdempotencyKey = None,
) -> BankAccount:  # fmt: skip
    """Freeze or unfreeze an account, or agree on another credit line or ceiling."""
    require_ours(here(request).caller, bank)
    command = ChangeBankAccount(side, bank, currency, data.state, data.credit_line, data.ceiling)
    return await here(request).submit(commands.CHANGE_ACCOUNT, command, book=book, key=key)


@post("/{side:str}/{bank:str}/{currency:str}/fund", summary="Fund a nostro or a vostro", status_code=200)
async def fund_account(
    request: Asking, side: SidePath, bank: BankPath, currency: CurrencyPath,
    data: Annotated[Funding, body({"amount": "1000.00"})], book: Book = None, key: IdempotencyKey = None,
) -> BankAccount:  # fmt: skip
    """Book what came to an account from outside, against the treasury; `withdraw` books what went there."""
    require_ours(here(request).caller, bank)
    command = FundBankAccount(side, bank, currency, data.amount, data.withdraw, data.reference)
    return await here(request).submit(commands.FUND_ACCOUNT, command, book=book, key=key)


@get("/{side:str}/{bank:str}/{currency:str}/statement", summary="A statement of a nostro or a vostro")
async def show_statement(
    request: Asking, side: SidePath, bank: BankPath, currency: CurrencyPath, book: Book = None, cursor: Cursor = None,
    limit: Limit = 100, since: Since = None, until: Until = None,
) -> Response[Page[StatementLine]]:  # fmt: skip
    """Return what was booked on an account, with the balance after each line."""
    span = Span(
        since=clock.parse(since) if since is not None else balances.EVER,
        until=clock.parse(until) if until is not None else balances.NEVER,
        cursor=cursor, newest_first=False, most=limit + 1,
    )  # fmt: skip
    async with here(request).reading(commands.READ, book) as tx:
        _visible(request, side, bank, currency)
        found = await banks.find_account(tx, side, bank, currency)
        lines = await balances.statement(tx, await ledger.find(tx, found.account), span)
    return page(request, lines, limit, lambda each: each.cursor)


@get("/", summary="List banks")
async def list_banks(request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100) -> Response[Page[Bank]]:
    """Return banks by their BIC; a bank is shown itself."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        found = await banks.banks(tx, after=cursor or "", only=party(visit.caller), most=limit + 1)
    return page(request, found, limit, lambda each: each.bic)


@get("/{bank:str}", summary="Show a bank")
async def show_bank(request: Asking, bank: BankPath, book: Book = None) -> Bank:
    """Return a bank."""
    visit = here(request)
    async with visit.reading(commands.READ, book) as tx:
        if party(visit.caller) not in {None, bank}:
            raise BankNotFound(bic=bank)
        return await banks.find_bank(tx, bank)


@post("/", summary="Add or change a bank", status_code=200)
async def keep_bank(
    request: Asking, data: Annotated[KeepBank, body({"bic": "DEUTDEFF", "name": "Deutsche Bank"})],
    book: Book = None, key: IdempotencyKey = None,
) -> Bank:  # fmt: skip
    """Let a bank be known by its BIC, or change its name; a suspended one settles nothing."""
    require_ours(here(request).caller, data.bic)
    return await here(request).submit(commands.KEEP_BANK, data, book=book, key=key)


@get("/", summary="List settlement windows")
async def list_windows(request: Asking, book: Book = None) -> list[SettlementWindow]:
    """Return when currencies are settled; one that is not listed is settled at any time."""
    async with here(request).reading(commands.READ, book) as tx:
        return await rules.windows(tx)


@post("/", summary="Set a settlement window", status_code=200)
async def set_window(
    request: Asking, data: Annotated[SetWindow, body({"currency": "EUR", "calendar": "TARGET2"})],
    book: Book = None, key: IdempotencyKey = None,
) -> SettlementWindow:  # fmt: skip
    """Settle a currency within the hours of a calendar; null settles it at any time. What waits is looked at again."""
    require_ours(here(request).caller, "")
    return await here(request).submit(commands.SET_WINDOW, data, book=book, key=key)


@get("/limits", summary="List what may leave unseen")
async def list_limits(request: Asking, book: Book = None) -> list[Bound]:
    """Return the limits beyond which a person looks at a settlement."""
    visit = here(request)
    mine = party(visit.caller)
    async with visit.reading(commands.READ, book) as tx:
        return [each for each in await rules.limits(tx) if mine is None or each.bank == mine]


@post("/limits", summary="Set what may leave unseen", status_code=200)
async def set_limit(
    request: Asking, data: Annotated[SetLimit, body({"currency": "USD", "single": "1000000.00", "hourly": 100})],
    book: Book = None, key: IdempotencyKey = None,
) -> Bound:  # fmt: skip
    """Let a person look at what passes these limits, of one bank or of every bank that has none of its own."""
    require_ours(here(request).caller, data.bank or "")
    return await here(request).submit(commands.SET_LIMIT, data, book=book, key=key)


@post("/names", summary="Set the names of a list", status_code=200, request_max_body_size=32 * 1024 * 1024)
async def set_names(
    request: Asking, data: Annotated[SetNames, body({"source": "eu-consolidated", "names": ["Ivan Grozny"]})],
    book: Book = None, key: IdempotencyKey = None,
) -> NamesSet:  # fmt: skip
    """Put the names of a source on the list, in place of those it brought before: a person looks at who is like one."""
    require_ours(here(request).caller, "")
    return await here(request).submit(commands.SET_NAMES, data, book=book, key=key)


accounts = Router(
    "/accounts",
    route_handlers=[
        list_nostros, list_vostros, open_nostro, open_vostro, show_account, change_account, fund_account, show_statement,
    ],
    tags=["interbank"],
)  # fmt: skip
bank_list = Router("/banks", route_handlers=[list_banks, show_bank, keep_bank], tags=["interbank"])
windows = Router("/windows", route_handlers=[list_windows, set_window], tags=["interbank"])
compliance = Router("/compliance", route_handlers=[list_limits, set_limit, set_names], tags=["interbank"])
ROUTERS = (accounts, bank_list, windows, compliance)

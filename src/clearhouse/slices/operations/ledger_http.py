"""The ledger over HTTP: accounts, transactions, holds, balances, statements, days."""

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, Router
from litestar.params import FromPath, PathParameter, QueryParameter

from clearhouse import clock, ids
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.ledger import accounts, balances, days, reading, verification
from clearhouse.kernel.ledger.accounts import Account, AddAsset, Asset, ChangeAccount, OpenAccount
from clearhouse.kernel.ledger.balances import Balance, Span, StatementLine, TrialBalanceLine
from clearhouse.kernel.ledger.days import CloseDay, ClosedDay
from clearhouse.kernel.ledger.opening import Imported, ImportOpening
from clearhouse.kernel.ledger.reading import Hold, HoldNotFound, Transaction
from clearhouse.kernel.ledger.refusals import TransferUnknown
from clearhouse.kernel.ledger.standing import State
from clearhouse.kernel.ledger.transfers import Leg, Metadata, MoneyText, Posted, PostTransaction, Text
from clearhouse.kernel.ledger.verification import Verified
from clearhouse.refusals import Malformed, Refusal
from clearhouse.slices.operations import commands
from clearhouse.transport.http import bulk
from clearhouse.transport.http.bulk import BODY_BYTES_MAX, Results
from clearhouse.transport.http.express import Express
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, patch, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "ledger:read"
Asking = Request[Any, Any, Any]
AccountPath = Annotated[
    str, PathParameter(description="An account's id, or its code with `asset` beside it.", max_length=520)
]
AssetQuery = Annotated[str | None, QueryParameter(name="asset", required=False, max_length=16, description="Such as USD.")]
Effective = date | None


class AccountChange(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to change: what is left out stays, null takes a limit or the metadata away."""

    state: State | None = None
    floor: MoneyText | msgspec.UnsetType | None = msgspec.UNSET
    ceiling: MoneyText | msgspec.UnsetType | None = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET


class Capture(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of a hold to capture (all that is left, if not said); `final` releases the rest."""

    amount: MoneyText | None = None
    final: bool = False
    reference: Text | None = None


class Reversal(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why a transaction is reversed, and on which day that counts."""

    reference: Text | None = None
    effective: Effective = None
    metadata: Metadata | None = None


_PAYMENT = {
    "transfers": [{"debit": "customer:7", "credit": "revenue", "amount": "100.00", "currency": "USD"}],
    "reference": "invoice 4711",
}
_EXCHANGE = {
    "transfers": [
        {"debit": "nostro:EUR", "credit": "position:EUR", "amount": "90.00", "currency": "EUR"},
        {"debit": "position:USD", "credit": "nostro:USD", "amount": "100.00", "currency": "USD"},
    ]
}
_HOLD = {"transfers": [{"debit": "customer:7", "credit": "revenue", "amount": "100.00", "currency": "USD", "pending": True}]}
_ACCOUNT = {"code": "customer:7", "asset": "USD", "floor": "0.00"}
_IMPORT = {"lines": [{"code": "customer:7", "asset": "USD", "balance": "12.50"}], "dry_run": True}


# Accounts ------------------------------------------------------------------------------------------------------------


@post("/accounts", summary="Open an account")
async def open_account(
    request: Asking, data: Annotated[OpenAccount, body(_ACCOUNT)], book: Book = None, key: IdempotencyKey = None
) -> Account:
    """Open an account for one asset under a code; opening the same again answers with the one that is there."""
    return await here(request).submit(commands.OPEN_ACCOUNT, data, book=book, key=key)


@post(
    "/accounts/batch", summary="Open up to 10,000 accounts", status_code=200, request_max_body_size=BODY_BYTES_MAX,
    operation_class=bulk.operation(OpenAccount, _ACCOUNT),
)  # fmt: skip
async def open_accounts(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Account]:
    """Open accounts, each by itself; the body is a JSON array or NDJSON."""
    return await _many(request, commands.OPEN_ACCOUNT, OpenAccount, book=book, key=key)


@get("/accounts", summary="List accounts")
async def list_accounts(
    request: Asking, book: Book = None, asset: AssetQuery = None, cursor: Cursor = None, limit: Limit = 100,
    prefix: Annotated[str, QueryParameter(name="prefix", required=False, max_length=520, description="Of codes.")] = "",
) -> Response[Page[Account]]:  # fmt: skip
    """Return accounts in the order of their codes."""
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else await accounts.find(tx, cursor)
        found = await accounts.listed(tx, after=after, prefix=prefix, asset=asset, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/accounts/{account:str}", summary="Show an account")
async def show_account(request: Asking, account: AccountPath, book: Book = None, asset: AssetQuery = None) -> Account:
    """Return an account with its counters as they are now."""
    async with here(request).reading(READ, book) as tx:
        return await accounts.find(tx, account, asset)


@patch("/accounts/{account:str}", summary="Freeze, unfreeze, close or re-limit an account")
async def change_account(
    request: Asking, account: AccountPath, data: Annotated[AccountChange, body({"state": "frozen"})], book: Book = None,
    asset: AssetQuery = None, key: IdempotencyKey = None,
) -> Account:  # fmt: skip
    """Change an account; it is closed for good, and only without balance and holds."""
    async with here(request).reading(READ, book) as tx:
        found = await accounts.find(tx, account, asset)
    change = ChangeAccount(found.id, data.state, data.floor, data.ceiling, data.metadata)
    return await here(request).submit(commands.CHANGE_ACCOUNT, change, book=book, key=key)


@get("/accounts/{account:str}/balance", summary="A balance: now, at an instant, or on a day")
async def show_balance(
    request: Asking, account: AccountPath, book: Book = None, asset: AssetQuery = None,
    at: Annotated[str | None, QueryParameter(name="at", required=False, description="Right after this instant.")] = None,
    on: Annotated[date | None, QueryParameter(name="on", required=False, description="At the end of this day.")] = None,
) -> Balance:  # fmt: skip
    """Return what an account holds. A figure for an instant never changes; one for a day may, until the day is closed."""
    if at is not None and on is not None:
        raise Malformed(field="at", problem="give an instant or a day, not both")
    async with here(request).reading(READ, book) as tx:
        found = await accounts.find(tx, account, asset)
        if at is not None:
            return await balances.balance_at(tx, found, clock.parse(at))
        return balances.balance_now(found) if on is None else await balances.balance_on(tx, found, on)


@get("/accounts/{account:str}/statement", summary="A statement with the balance after each line")
async def show_statement(
    request: Asking, account: AccountPath, book: Book = None, asset: AssetQuery = None, cursor: Cursor = None,
    limit: Limit = 100,
    since: Annotated[str | None, QueryParameter(name="since", required=False, description="From this instant on.")] = None,
    until: Annotated[str | None, QueryParameter(name="until", required=False, description="Before this instant.")] = None,
    order: Annotated[Literal["oldest", "newest"], QueryParameter(name="order", required=False)] = "oldest",
) -> Response[Page[StatementLine]]:  # fmt: skip
    """Return the transfers of an account as they were booked."""
    span = Span(
        since=clock.parse(since) if since is not None else balances.EVER,
        until=clock.parse(until) if until is not None else balances.NEVER,
        cursor=cursor, newest_first=order == "newest", most=limit + 1,
    )  # fmt: skip
    async with here(request).reading(READ, book) as tx:
        found = await balances.statement(tx, await accounts.find(tx, account, asset), span)
    return page(request, found, limit, lambda each: each.cursor)


# Transactions --------------------------------------------------------------------------------------------------------


def _status(posted: Posted) -> int:
    return 200 if posted.exists else 201


EXPRESS = Express("/api/v1/ledger/transactions", commands.POST, msgspec.json.Decoder(PostTransaction).decode, _status)


@post("/transactions", summary="Post a transaction")
async def post_transaction(
    request: Asking,
    data: Annotated[PostTransaction, body(_PAYMENT, _EXCHANGE, _HOLD)],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Response[Posted]:
    """Post transfers, all or none: 201, or 200 if this very transaction is there already."""
    posted = await here(request).submit(commands.POST, data, book=book, key=key)
    return Response(posted, status_code=_status(posted))


@post(
    "/transactions/batch", summary="Post up to 10,000 transactions", status_code=200, request_max_body_size=BODY_BYTES_MAX,
    operation_class=bulk.operation(PostTransaction, _PAYMENT),
)  # fmt: skip
async def post_transactions(request: Asking, book: Book = None, key: IdempotencyKey = None) -> Results[Posted]:
    """Post transactions, each by itself, in order; the body is a JSON array or NDJSON."""
    return await _many(request, commands.POST, PostTransaction, book=book, key=key)


@get("/transactions", summary="Find transactions by a reference")
async def find_transactions(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100,
    reference: Annotated[str | None, QueryParameter(name="reference", max_length=200)] = None,
    external_reference: Annotated[str | None, QueryParameter(name="external_reference", max_length=200)] = None,
) -> Response[Page[Transaction]]:  # fmt: skip
    """Return the transactions that carry a reference."""
    text = reference if external_reference is None else external_reference
    if text is None or (reference is not None and external_reference is not None):
        raise Malformed(field="reference", problem="give a reference or an external reference")
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else ids.parse("trx", (await reading.find_transaction(tx, cursor)).id)
        found = await reading.find_by_reference(
            tx, text, external=external_reference is not None, after=after, most=limit + 1
        )
    return page(request, found, limit, lambda each: each.id)


@get("/transactions/{transaction:str}", summary="Show a transaction")
async def show_transaction(request: Asking, transaction: FromPath[str], book: Book = None) -> Transaction:
    """Return a transaction as it was booked."""
    async with here(request).reading(READ, book) as tx:
        return await reading.find_transaction(tx, transaction)


@post("/transactions/{transaction:str}/reverse", summary="Reverse a transaction")
async def reverse_transaction(
    request: Asking,
    transaction: FromPath[str],
    data: Annotated[Reversal, body({"reference": "entered twice"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Posted:
    """Post what undoes a transaction, linked to it, as far as it is not reversed already."""
    async with here(request).reading(READ, book) as tx:
        found = await reading.find_transaction(tx, transaction)
    legs = [Leg(reverse=each.id) for each in reversed(found.transfers)]
    command = PostTransaction(legs, reference=data.reference, effective=data.effective, metadata=data.metadata)
    return await here(request).submit(commands.POST, command, book=book, key=key)


# Holds ---------------------------------------------------------------------------------------------------------------


@get("/holds", summary="List open holds")
async def list_holds(request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100) -> Response[Page[Hold]]:
    """Return the holds that are pending."""
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else ids.parse("trf", (await reading.find_hold(tx, cursor)).id)
        found = await reading.pending_holds(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@get("/holds/{hold:str}", summary="Show a hold")
async def show_hold(request: Asking, hold: FromPath[str], book: Book = None) -> Hold:
    """Return a hold and what is left of it."""
    async with here(request).reading(READ, book) as tx:
        return await reading.find_hold(tx, hold)


@post("/holds/{hold:str}/capture", summary="Capture a hold")
async def capture_hold(
    request: Asking,
    hold: FromPath[str],
    data: Annotated[Capture, body({"amount": "60.00"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Posted:
    """Post what a hold was made for, in full or in part, as often as something is left."""
    leg = Leg(capture=_hold(hold), amount=data.amount, final=data.final)
    return await _on_hold(request, hold, PostTransaction([leg], reference=data.reference), book=book, key=key)


@post("/holds/{hold:str}/release", summary="Release a hold")
async def release_hold(request: Asking, hold: FromPath[str], book: Book = None, key: IdempotencyKey = None) -> Posted:
    """Free what is left of a hold."""
    return await _on_hold(request, hold, PostTransaction([Leg(release=_hold(hold))]), book=book, key=key)


# The book ------------------------------------------------------------------------------------------------------------


@get("/trial-balance", summary="The trial balance")
async def show_trial_balance(request: Asking, book: Book = None) -> list[TrialBalanceLine]:
    """Return the sums of all accounts per asset; the difference is zero, always."""
    async with here(request).reading(READ, book) as tx:
        return await balances.trial_balance(tx)


@get("/assets", summary="List the book's own assets")
async def list_assets(request: Asking, book: Book = None) -> list[Asset]:
    """Return the assets that were added; the currencies of ISO 4217 are always there."""
    async with here(request).reading(READ, book) as tx:
        return await accounts.assets(tx)


@post("/assets", summary="Add an asset")
async def add_asset(
    request: Asking,
    data: Annotated[AddAsset, body({"code": "USDC", "exponent": 6})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Asset:
    """Let the book keep accounts in something that is no currency of ISO 4217."""
    return await here(request).submit(commands.ADD_ASSET, data, book=book, key=key)


@get("/days", summary="List closed days")
async def list_days(
    request: Asking, book: Book = None, limit: Limit = 100,
    cursor: Annotated[date | None, QueryParameter(name="cursor", required=False, description="A `next`.")] = None,
) -> Response[Page[ClosedDay]]:  # fmt: skip
    """Return closings, newest first."""
    async with here(request).reading(READ, book) as tx:
        found = await days.closed_days(tx, before=cursor or date.max, most=limit + 1)
    return page(request, found, limit, lambda each: str(each.day))


@post("/days", summary="Close a day")
async def close_day(
    request: Asking, data: Annotated[CloseDay, body({"day": "2026-01-31"})], book: Book = None, key: IdempotencyKey = None
) -> ClosedDay:
    """Close a day and every open one before it, for good; its totals follow a moment later."""
    return await here(request).submit(commands.CLOSE_DAY, data, book=book, key=key)


@get("/days/{day:date}", summary="Show a closed day")
async def show_day(request: Asking, day: FromPath[date], book: Book = None) -> ClosedDay:
    """Return a closing with its totals per asset."""
    async with here(request).reading(READ, book) as tx:
        return await days.find_day(tx, day)


@post("/import", summary="Bring accounts and opening balances", status_code=200, request_max_body_size=BODY_BYTES_MAX)
async def import_openings(
    request: Asking, data: Annotated[ImportOpening, body(_IMPORT)], book: Book = None, key: IdempotencyKey = None
) -> Imported:
    """Bring accounts with what they hold, all or none; `dry_run` only says what would be."""
    return await here(request).submit(commands.IMPORT, data, book=book, key=key)


@post("/verify", summary="Verify the ledger", status_code=200)
async def verify_ledger(request: Asking, book: Book = None) -> Verified:
    """Recompute every counter from the transfers and name the first account that differs."""
    async with here(request).reading("ledger:verify", book) as tx:
        return await verification.verify(tx)


def _hold(text: str) -> str:
    """Return the id of a hold that a path names; what cannot be read is not there."""
    if readable("trf", text) == ids.NOBODY:
        raise HoldNotFound(id=text)
    return text


async def _on_hold(request: Asking, hold: str, command: PostTransaction, *, book: str | None, key: str | None) -> Posted:
    try:
        return await here(request).submit(commands.POST, command, book=book, key=key)
    except TransferUnknown as error:
        raise HoldNotFound(id=hold) from error  # what a path names and is not there is a 404


async def _many(request: Asking, kind: Any, command: type[Any], *, book: str | None, key: str | None) -> Results[Any]:
    """Submit the items that can be read, and answer all of them in their order."""
    here(request).require(kind.scope, book)
    found = bulk.items(await request.body(), request.headers.get("content-type", ""), command)
    wanted = [each for each in found if not isinstance(each, Refusal)]
    answers = iter(await here(request).submit_all(kind, wanted, book=book, key=key)) if wanted else iter(())
    return bulk.results([each if isinstance(each, Refusal) else next(answers) for each in found])


router = Router(
    "/ledger",
    route_handlers=[
        open_account, open_accounts, list_accounts, show_account, change_account, show_balance, show_statement,
        post_transaction, post_transactions, find_transactions, show_transaction, reverse_transaction,
        list_holds, show_hold, capture_hold, release_hold,
        show_trial_balance, list_assets, add_asset, list_days, close_day, show_day, import_openings, verify_ledger,
    ],
    tags=["ledger"],
)  # fmt: skip

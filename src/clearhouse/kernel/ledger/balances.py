"""Balances at any time: now, right after an instant, or at the end of an effective day; statements; the trial balance.

Promise: a figure once read for an instant never changes, so an instant that writers may still book into is refused; and
none of them costs more because an account has more transfers.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from clearhouse import clock, ids
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.accounts import Account
from clearhouse.kernel.ledger.reading import Transfer, transfer
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.ledger", "ledger.sql")


class TooRecent(Refusal):
    """At {instant} something may still be booked; ask again in a moment, or for now."""

    code = "too_recent"
    kind = Kind.REFUSED
    retryable = True


class MalformedCursor(Refusal):
    """The cursor is none that this list gave out."""

    code = "malformed_cursor"
    kind = Kind.UNKNOWN


class Balance(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account's balance on its normal side, at one time. Pending figures have no meaning for an effective day."""

    account: str
    asset: str
    balance: str
    debits_posted: str
    credits_posted: str
    available: str | None = None
    debits_pending: str | None = None
    credits_pending: str | None = None
    at: datetime | None = None
    on: date | None = None


class StatementLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One transfer as the account sees it, with the balance right after it."""

    transfer: Transfer
    side: str
    booked: datetime
    effective: date
    transaction: str
    balance: str
    available: str
    cursor: str
    reference: str | None = None
    external_reference: str | None = None


class TrialBalanceLine(msgspec.Struct, frozen=True):
    """All accounts of an asset, added up: the difference is zero, always."""

    asset: str
    accounts: int
    debits_posted: str
    credits_posted: str
    debits_pending: str
    credits_pending: str
    difference: str


@dataclass(frozen=True, slots=True)
class _Counters:
    booked: datetime
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int


@dataclass(frozen=True, slots=True)
class _Sum:
    debits: int
    credits: int


@dataclass(frozen=True, slots=True)
class _Instant:
    instant: datetime


_NOTHING = _Counters(datetime(1970, 1, 1, tzinfo=UTC), 0, 0, 0, 0)


def exponent_of(account: Account) -> int:
    """Return how many decimals the account's figures have."""
    _, _, fraction = account.debits_posted.partition(".")
    return len(fraction)


def balance_now(account: Account) -> Balance:
    """Return what the account holds now."""
    return Balance(
        account.id, account.asset, account.balance, account.debits_posted, account.credits_posted, account.available,
        account.debits_pending, account.credits_pending,
    )  # fmt: skip


async def balance_at(tx: Tx, account: Account, instant: datetime) -> Balance:
    """Return what the account held right after everything booked up to an instant."""
    settled = await tx.row(_sql["settled_until"], _Instant)
    if settled is None or instant >= settled.instant:
        raise TooRecent(instant=clock.text(instant))
    counters = await _as_of(tx, account, instant)
    figures = _figures(account, counters)
    return msgspec.convert({"account": account.id, "asset": account.asset, "at": instant} | figures, Balance)


async def balance_on(tx: Tx, account: Account, day: date) -> Balance:
    """Return what the account holds at the end of an effective day, by everything booked so far."""
    exponent = exponent_of(account)
    counters = await _as_of(tx, account, _end_of(day))
    moved = await tx.row(_sql["shifted"], _Sum, book=tx.book, id=ids.parse("acc", account.id), day=day)
    debits = counters.debits_posted + (0 if moved is None else moved.debits)
    credits = counters.credits_posted + (0 if moved is None else moved.credits)
    balance = credits - debits if account.normal == "credit" else debits - credits
    shown, out, into = (decimal_text(each, exponent) for each in (balance, debits, credits))
    return Balance(account.id, account.asset, shown, out, into, on=day)


def _end_of(day: date) -> datetime:
    if day >= date.max:
        return datetime.max.replace(tzinfo=UTC)
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC) - timedelta(microseconds=1)


async def _as_of(tx: Tx, account: Account, instant: datetime) -> _Counters:
    found = await tx.row(_sql["as_of_instant"], _Counters, book=tx.book, id=ids.parse("acc", account.id), at=instant)
    return found or _NOTHING


def _figures(account: Account, counters: _Counters) -> dict[str, str]:
    exponent = exponent_of(account)
    c = counters
    is_credit = account.normal == "credit"
    balance = c.credits_posted - c.debits_posted if is_credit else c.debits_posted - c.credits_posted
    figures = {
        "balance": balance,
        "available": balance - (c.debits_pending if is_credit else c.credits_pending),
        "debits_posted": c.debits_posted,
        "credits_posted": c.credits_posted,
        "debits_pending": c.debits_pending,
        "credits_pending": c.credits_pending,
    }
    return {name: decimal_text(value, exponent) for name, value in figures.items()}


EVER = datetime(1, 1, 1, tzinfo=UTC)
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a statement: from an instant (inclusive) to another (exclusive), after or before a line."""

    since: datetime = EVER
    until: datetime = NEVER
    cursor: str | None = None
    newest_first: bool = False
    most: int = 100


async def statement(tx: Tx, account: Account, span: Span) -> list[StatementLine]:
    """Return the lines of an account with the balance after each; a line's cursor leads to the next page."""
    own = ids.parse("acc", account.id)
    if span.newest_first:
        before, sequence = read_cursor(span.cursor, account.id) if span.cursor else (span.until, -1)
        rows = await tx.rows(
            _sql["statement_backward"], _columns, book=tx.book, id=own, before=before, sequence=sequence,
            since=span.since, most=span.most,
        )  # fmt: skip
    else:
        after, sequence = read_cursor(span.cursor, account.id) if span.cursor else (span.since, -1)
        rows = await tx.rows(
            _sql["statement_forward"], _columns, book=tx.book, id=own, after=after, sequence=sequence,
            until=span.until, most=span.most,
        )  # fmt: skip
    return [_line(account, row) for row in rows]


def _columns(**row: Any) -> dict[str, Any]:
    return row


def _line(account: Account, row: dict[str, Any]) -> StatementLine:
    side = "debit" if row["is_debit"] else "credit"
    counters = _Counters(
        row["booked"],
        *(row[f"{side}_{name}"] for name in ("debits_posted", "credits_posted", "debits_pending", "credits_pending")),
    )
    figures = _figures(account, counters)
    return StatementLine(
        transfer=transfer(row, account.asset, exponent_of(account)), side=side, booked=row["booked"],
        effective=row["effective"], transaction=ids.text("trx", row["transaction"]), balance=figures["balance"],
        available=figures["available"], cursor=write_cursor(row["booked"], row["sequence"], account.id),
        reference=row["reference"], external_reference=row["external_reference"],
    )  # fmt: skip


def write_cursor(booked: datetime, sequence: int, account: str) -> str:
    """Return the cursor of a line; it is good for its own account only."""
    return f"{clock.text(booked)}~{sequence}~{account}"


def read_cursor(text: str, account: str) -> tuple[datetime, int]:
    """Read a cursor back; one of another account is none."""
    booked, _, rest = text.partition("~")
    sequence, _, owner = rest.partition("~")
    if owner != account or not sequence.isascii() or not sequence.isdigit() or len(sequence) > len(str(2**62)):
        raise MalformedCursor
    try:
        return clock.parse(booked), int(sequence)
    except (Refusal, ValueError) as error:
        raise MalformedCursor from error


async def trial_balance(tx: Tx) -> list[TrialBalanceLine]:
    """Return every asset's sums; a difference that is not zero would be a defect of ours."""
    return await tx.rows(_sql["trial_balance"], _trial_line, book=tx.book)


def _trial_line(**row: Any) -> TrialBalanceLine:
    exponent: int = row["exponent"]
    names = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")
    texts = {name: decimal_text(row[name], exponent) for name in names}
    difference = decimal_text(row["debits_posted"] - row["credits_posted"], exponent)
    return TrialBalanceLine(asset=row["asset"], accounts=row["accounts"], **texts, difference=difference)

"""Closing days: a cut through everything that is being posted, in order, never undone.

Promise: after a day is closed nothing becomes effective on it or before; every posting lands on exactly one side of the cut;
nobody waits longer than the cut takes, since the totals are computed after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.cuts import cuts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.recent import recent
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.ledger", "days.sql")


class DayNotOver(Refusal):
    """{day} has not begun; the latest day that can be closed is {today}."""

    code = "day_not_begun"
    kind = Kind.REFUSED


class DayAlreadyClosed(Refusal):
    """{day} is closed already; the book is closed up to {sealed_to}."""

    code = "day_already_closed"
    kind = Kind.REFUSED


class DayNotFound(Refusal):
    """{day} was not closed, or not by itself."""

    code = "day_not_found"
    kind = Kind.UNKNOWN


class CloseDay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Close a day, and every open day before it."""

    day: date


class DayTotal(msgspec.Struct, frozen=True):
    """What became effective in an asset on the days of one closing."""

    asset: str
    transfers: int
    debits: str
    credits: str


class ClosedDay(msgspec.Struct, frozen=True, omit_defaults=True):
    """A closing: it covers the days after `since`, up to and including `day`."""

    day: date
    since: date
    sealed_at: datetime
    sealed_by: str
    totalled_at: datetime | None = None
    totals: list[DayTotal] = []


@dataclass(frozen=True, slots=True)
class _Before:
    before: date


async def close_days(tx: Tx, asked: Sequence[Asked[CloseDay]], at: datetime) -> list[ClosedDay | Refusal]:
    """Close days, one after another."""
    return [await _close(tx, each, at) for each in asked]


async def _close(tx: Tx, asked: Asked[CloseDay], at: datetime) -> ClosedDay | Refusal:
    day = asked.command.day
    if day > at.date():
        return DayNotOver(day=str(day), today=str(at.date()))
    await cuts.hold(tx, cuts.LEDGER_DAY)
    row = await tx.row(_sql["close_day"], _Before, book=tx.book, day=day)
    if row is None:
        found = await tx.row(_sql["open_day"], _columns, book=tx.book)
        return DayAlreadyClosed(day=str(day), sealed_to=str(found["day"] if found else day))
    memory = recent(tx.database, tx.book)
    tx.if_rolled_back(lambda: setattr(memory, "sealed_to", date.min))
    by = ids.text("prn", asked.by)
    await tx.do(_sql["add_seal"], book=tx.book, day=day, since=row.before, at=at, by=by)
    return ClosedDay(day, row.before, at, by)


def _columns(**row: Any) -> dict[str, Any]:
    return row


async def total_days(tx: Tx, at: datetime, *, most: int = 100) -> int:
    """Compute the sums of closings that have none yet, after their cut; return how many that were."""
    due = await tx.rows(_sql["untotalled"], ClosedDay, book=tx.book, most=most)
    for closed in due:
        await _total_day(tx, closed)
        await tx.do(_sql["mark_totalled"], book=tx.book, day=closed.day, at=at)
    return len(due)


async def _total_day(tx: Tx, closed: ClosedDay) -> None:
    first = datetime.combine(max(closed.since, date(1970, 1, 1)), time(), UTC)
    last = datetime.combine(closed.day + timedelta(days=1), time(), UTC)
    await tx.do(_sql["add_totals"], book=tx.book, day=closed.day, since=closed.since, first=first, last=last)


async def closed_days(tx: Tx, *, before: date = date.max, most: int = 100) -> list[ClosedDay]:
    """Return closings, newest first."""
    return await tx.rows(_sql["seals"], ClosedDay, book=tx.book, before=before, most=most)


async def find_day(tx: Tx, day: date) -> ClosedDay:
    """Return one closing with its sums."""
    found = await tx.row(_sql["seal"], ClosedDay, book=tx.book, day=day)
    if found is None:
        raise DayNotFound(day=str(day))
    totals = await tx.rows(_sql["totals"], _total, book=tx.book, day=day)
    return msgspec.structs.replace(found, totals=totals)


def _total(*, asset: str, transfers: int, debits: int, credits: int, exponent: int) -> DayTotal:
    return DayTotal(asset, transfers, decimal_text(debits, exponent), decimal_text(credits, exponent))

"""Rules: when a currency is settled, how much may leave a bank unseen, and the names that make a person look."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from clearhouse import money
from clearhouse.asking import Asked
from clearhouse.kernel.calendars.own import find_calendar
from clearhouse.kernel.db.arrays import texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger.transfers import Currency, MoneyText
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import world
from clearhouse.slices.interbank.channel import Method
from clearhouse.slices.interbank.settlement import VALIDATE, Bic
from clearhouse.slices.interbank.validation import CurrencyUnknown
from clearhouse.slices.interbank.world import sql

NAMES_MAX = 200_000
ListedName = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
Source = Annotated[
    str, msgspec.Meta(min_length=1, max_length=60, pattern=r"^[a-z0-9-]+$(?!\n)", examples=["eu-consolidated"])
]


class SetWindow(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Settle a currency within the hours of a calendar, or with none at any time; one method may have hours of its own."""

    currency: Currency
    calendar: Annotated[str, msgspec.Meta(min_length=2, max_length=63, examples=["TARGET2"])] | None
    method: Method | None = None


class SettlementWindow(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a currency is settled; without a method, by every one that has no hours of its own."""

    currency: str
    calendar: str | None
    method: str | None = None
    set_at: datetime | None = None


class SetLimit(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Let a person look at what passes these limits; without a bank, they are those of every bank without its own."""

    currency: Currency
    bank: Bic | None = None
    single: MoneyText | None = None
    daily: MoneyText | None = None
    hourly: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may leave a bank's vostro unseen: in one settlement, in a day, and how many in an hour."""

    currency: str
    bank: str | None = None
    single: str | None = None
    daily: str | None = None
    hourly: int | None = None


class SetNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Put the names of a source on the list, in place of those it brought before."""

    source: Source
    names: Annotated[list[ListedName], msgspec.Meta(max_length=NAMES_MAX)]


class NamesSet(msgspec.Struct, frozen=True):
    """How many names a source has on the list now."""

    source: str
    names: int


async def set_windows(tx: Tx, asked: Sequence[Asked[SetWindow]], at: datetime) -> list[SettlementWindow | Refusal]:
    """Set hours; what waits for the currency is looked at again."""
    await world.changed(tx)
    answers: list[SettlementWindow | Refusal] = []
    for each in asked:
        try:
            answers.append(await _window(tx, each.command, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _window(tx: Tx, command: SetWindow, at: datetime) -> SettlementWindow:
    if money.iso(command.currency) is None:
        raise CurrencyUnknown(currency=command.currency)
    method = "" if command.method is None else command.method.value
    if command.calendar is None:
        await tx.do(sql["drop_window"], book=tx.book, currency=command.currency, method=method)
    else:
        await find_calendar(tx, command.calendar)
        await tx.do(
            sql["keep_window"], book=tx.book, currency=command.currency, method=method, calendar=command.calendar, at=at
        )
    await tx.do(sql["look_again"], book=tx.book, currency=command.currency, at=at)
    tx.wake(VALIDATE)
    return SettlementWindow(command.currency, command.calendar, method or None, at)


def shown(currency: str, method: str, calendar: str, set_at: datetime) -> SettlementWindow:
    """Read a window from its row."""
    return SettlementWindow(currency, calendar, method or None, set_at)


async def windows(tx: Tx) -> list[SettlementWindow]:
    """Return the hours of every currency that has any."""
    return await tx.rows(sql["windows"], shown, book=tx.book)


async def set_limits(tx: Tx, asked: Sequence[Asked[SetLimit]], at: datetime) -> list[Limit | Refusal]:
    """Set limits."""
    await world.changed(tx)
    answers: list[Limit | Refusal] = []
    for each in asked:
        try:
            answers.append(await _limit(tx, each.command, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _limit(tx: Tx, command: SetLimit, at: datetime) -> Limit:
    asset = money.iso(command.currency)
    if asset is None:
        raise CurrencyUnknown(currency=command.currency)
    single, daily = (None if each is None else minor_units(each, asset.exponent) for each in (command.single, command.daily))
    await tx.do(
        sql["keep_limit"], book=tx.book, bank=command.bank or "", currency=command.currency, single=single, daily=daily,
        hourly=command.hourly, at=at,
    )  # fmt: skip
    return Limit(command.currency, command.bank, command.single, command.daily, command.hourly)


def _shown_limit(bank: str, currency: str, single: int | None, daily: int | None, hourly: int | None) -> Limit:
    asset = money.iso(currency)
    exponent = 0 if asset is None else asset.exponent
    one, day = (None if each is None else decimal_text(each, exponent) for each in (single, daily))
    return Limit(currency, bank or None, one, day, hourly)


async def limits(tx: Tx) -> list[Limit]:
    """Return every limit."""
    return await tx.rows(sql["limits"], _shown_limit, book=tx.book)


async def set_names(tx: Tx, asked: Sequence[Asked[SetNames]], at: datetime) -> list[NamesSet | Refusal]:  # noqa: ARG001 — a command's shape
    """Replace the names of sources."""
    await world.changed(tx)
    for each in asked:
        source, names = each.command.source, sorted(set(each.command.names))
        await tx.do(sql["drop_names"], book=tx.book, source=source)
        await tx.do(sql["add_names"], book=tx.book, source=source, names=texts(names))
    return [NamesSet(each.command.source, len(set(each.command.names))) for each in asked]

"""Validation: what an obligation must fulfil before any money is locked for it. Pure: the world and the hour are given.

Promise: what is refused here has locked nothing. Limits and names do not refuse: they make the settlement wait for a
person. A closed window does not refuse either: it makes the settlement wait for the next.
Refusals in the order they are looked for: malformed_bic, bank_unknown, bank_suspended, same_bank, currency_unknown,
wrong_currency, malformed_amount, too_many_decimals, amount_not_positive, above_method_limit, correspondent_missing,
malformed_iban; then those of the ledger.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, time

from schwifty import IBAN
from schwifty.exceptions import SchwiftyException

from clearhouse import money
from clearhouse.calendars import NeverOpen
from clearhouse.kernel.ledger.refusals import AmountNotPositive
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.methods import RAILS, AboveMethod, WrongCurrency, hours
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Party
from clearhouse.slices.interbank.world import World
from clearhouse.windows import business_day_start, next_open_instant

IBAN_FORM = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
BIC = re.compile(r"[A-Z]{6}[A-Z0-9]{2}([A-Z0-9]{3})?")


class MalformedBic(Refusal):
    """{bic} is no BIC: four letters of a bank, two of a country, two or five more letters or digits."""

    code = "malformed_bic"
    kind = Kind.MALFORMED


class MalformedIban(Refusal):
    """{iban} is no IBAN: its country, length, bank or check digits are wrong."""

    code = "malformed_iban"
    kind = Kind.MALFORMED


class BankUnknown(Refusal):
    """{bic} is none of the banks that settle here."""

    code = "bank_unknown"
    kind = Kind.REFUSED


class BankSuspended(Refusal):
    """Bank {bic} is suspended; nothing is settled from or to it."""

    code = "bank_suspended"
    kind = Kind.REFUSED


class SameBank(Refusal):
    """{bic} stands on both sides; a settlement is between two banks."""

    code = "same_bank"
    kind = Kind.REFUSED


class CurrencyUnknown(Refusal):
    """{currency} is no currency of ISO 4217."""

    code = "currency_unknown"
    kind = Kind.REFUSED


class CorrespondentMissing(Refusal):
    """There is no {side} account of {bic} in {currency}, so nothing can be settled with it in that currency."""

    code = "correspondent_missing"
    kind = Kind.REFUSED


@dataclass(slots=True)
class Usage:
    """What a bank has had settled in a currency: the sum of a day, the number of an hour."""

    bank: str
    currency: str
    total: int
    count: int


@dataclass(frozen=True, slots=True)
class Valid:
    """A command that was found good: the amount in the smallest unit, what makes a person look, and when its time is."""

    minor: int
    exponent: int
    hits: list[str] = field(default_factory=list[str])
    opens_at: datetime | None = None


def validate(world: World, command: ExecuteSettlement, at: datetime) -> Valid:
    """Return what a settlement comes to, or raise why it cannot be; limits are looked at by `over`, since they add up."""
    for bic in (command.from_bank, command.to_bank):
        _bank(world, bic)
    if command.from_bank == command.to_bank:
        raise SameBank(bic=command.from_bank)
    minor, exponent = _amount(command)
    for side, bic in (("vostro", command.from_bank), ("nostro", command.to_bank)):
        if (side, bic, command.currency) not in world.accounts:
            raise CorrespondentMissing(side=side, bic=bic, currency=command.currency)
    for party in (command.debtor, command.creditor):
        _iban(party)
    return Valid(minor, exponent, _hits(world, command), opening(world, command, at))


def _bank(world: World, bic: str) -> None:
    bank = world.banks.get(bic)
    if bank is None:
        if BIC.fullmatch(bic) is None:
            raise MalformedBic(bic=bic)
        raise BankUnknown(bic=bic)
    if bank.state != "open":
        raise BankSuspended(bic=bic)


def _amount(command: ExecuteSettlement) -> tuple[int, int]:
    asset, rail = money.iso(command.currency), RAILS[command.method]
    if asset is None:
        raise CurrencyUnknown(currency=command.currency)
    if rail.currency not in {None, command.currency}:
        raise WrongCurrency(method=command.method.value, wanted=str(rail.currency), currency=command.currency)
    minor = minor_units(command.amount, asset.exponent)
    if minor <= 0:
        raise AmountNotPositive(amount=command.amount)
    if rail.most is not None and minor > rail.most:
        most = decimal_text(rail.most, asset.exponent)
        raise AboveMethod(method=command.method.value, most=most, currency=command.currency, amount=command.amount)
    return minor, asset.exponent


def _iban(party: Party) -> None:
    if not party.iban:
        return
    if IBAN_FORM.fullmatch(party.iban) is None:  # the library forgives blanks and ends of lines
        raise MalformedIban(iban=party.iban)
    try:
        IBAN(party.iban, validate_bban=True)
    except (SchwiftyException, ValueError) as error:
        raise MalformedIban(iban=party.iban) from error


def _hits(world: World, command: ExecuteSettlement) -> list[str]:
    """Say which names are like listed ones."""
    names = (
        world.banks[command.from_bank].name, world.banks[command.to_bank].name, command.debtor.name, command.creditor.name
    )  # fmt: skip
    found = [(name, world.screen.hit(name)) for name in names]
    return [f"{name} is like {listed} of the list" for name, listed in found if listed is not None]


def opening(world: World, command: ExecuteSettlement, at: datetime) -> datetime | None:
    """Return when the windows of the currency and of the rail are open next; None is now."""
    windows = (world.window(command.currency, command.method.value), hours(command.method))
    found = at
    for _ in range(8):  # each may be open when the other is not; beyond a few turns it is looked at again then
        before = found
        for window in windows:
            if window is not None:
                found = next_open_instant(window, found)
        if found == before:
            break
    return None if found == at else found


def day_start(world: World, currency: str, at: datetime) -> datetime:
    """Return since when what leaves counts for the same day: the business day of a currency's hours, or that of UTC."""
    window = world.window(currency, "")
    if window is not None:
        with suppress(NeverOpen):
            return business_day_start(window, at)
    return datetime.combine(at.astimezone(UTC).date(), time(), UTC)


def over(world: World, command: ExecuteSettlement, minor: int, used: Mapping[tuple[str, str], Usage]) -> list[str]:
    """Say which limits a settlement would pass, and count it."""
    place = (command.from_bank, command.currency)
    limit, usage = world.limit(*place), used.get(place)
    if limit is None or usage is None:
        return []
    usage.total += minor
    usage.count += 1
    tried = (
        (limit.single, minor, "more than the limit of a single settlement"),
        (limit.daily, usage.total, "more than the limit of a day"),
        (limit.hourly, usage.count, "more settlements than the limit of an hour"),
    )
    return [
        f"{command.from_bank} in {command.currency}: {words}"
        for most, value, words in tried
        if most is not None and value > most
    ]

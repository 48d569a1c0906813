"""The rules that everybody has: payment systems, markets, and the public holidays of countries and their parts.

Promise: outside the years that a rule knows it refuses to answer; it never calls a day open because it knows no better.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache, partial

import holidays
from holidays.constants import HALF_DAY
from holidays.registry import COUNTRIES

from clearhouse.calendars import Calendar
from clearhouse.kernel.calendars.zones import zone
from clearhouse.refusals import Kind, Refusal
from clearhouse.windows import Window

FIRST_YEAR, LAST_YEAR = 2000, 2100
_MONDAY, _THURSDAY, _SUNDAY = 0, 3, 6
_WEEK, _ONE = timedelta(days=7), timedelta(days=1)
_Closed = Callable[[int], frozenset[date]]


class RuleUnknown(Refusal):
    """{name} is neither a payment system or market known here nor a country or a part of one by ISO 3166, such as DE-BY."""

    code = "rule_unknown"
    kind = Kind.REFUSED


class YearUnknown(Refusal):
    """The calendar of {name} is known from {first} to {last}, and {year} is asked for."""

    code = "year_unknown"
    kind = Kind.REFUSED


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name, what it is called, and its window; that of a country is the whole day in UTC."""

    name: str
    title: str
    window: Window


def fedwire(year: int) -> frozenset[date]:
    """Return the holidays of the Federal Reserve: one on a Sunday is kept on Monday, one on a Saturday is not moved."""
    fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
    if year >= 2022:  # noqa: PLR2004 - Juneteenth became law in 2021, when it fell on a Saturday
        fixed.append(date(year, 6, 19))
    kept = {day + _ONE if day.weekday() == _SUNDAY else day for day in fixed}
    kept |= {_nth(year, 1, _MONDAY, 3), _nth(year, 2, _MONDAY, 3), _nth(year, 6, _MONDAY, 1) - _WEEK}
    kept |= {_nth(year, 9, _MONDAY, 1), _nth(year, 10, _MONDAY, 2), _nth(year, 11, _THURSDAY, 4)}
    return frozenset(kept)


def _nth(year: int, month: int, weekday: int, number: int) -> date:
    """Return the first, second, … Monday (0) or other day of the week of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7) + (number - 1) * _WEEK


def _financial(market: str, year: int) -> frozenset[date]:
    return frozenset(holidays.financial_holidays(market, years=year, expand=False))


def _half_days(market: str, year: int) -> frozenset[date]:
    return frozenset(holidays.financial_holidays(market, years=year, expand=False, categories=HALF_DAY))


def _country(country: str, part: str | None, year: int) -> frozenset[date]:
    """Return every day on which nobody works, weekends too: some countries work on a Saturday for a Monday that is free."""
    near = range(year - 1, year + 2)  # a day that is given instead may lie across the turn of the year
    known = holidays.country_holidays(country, subdiv=part, years=near, expand=False)
    first = date(year, 1, 1)
    days = (first + timedelta(days=each) for each in range((date(year, 12, 31) - first).days + 1))
    return frozenset(day for day in days if not known.is_working_day(day))


@dataclass(frozen=True, slots=True)
class _System:
    """A payment system or market: its closed days beside the weekends, and its hours as it publishes them."""

    title: str
    closed: _Closed
    zone: str
    opens: time
    closes: time
    eve: bool = False
    half_days: _Closed = lambda _: frozenset()
    half_day: time = time(13)


SYSTEMS = {
    "CHAPS": _System("CHAPS, Bank of England", partial(_country, "GB", "ENG"), "Europe/London", time(6), time(18)),
    "FEDWIRE": _System("Fedwire Funds Service", fedwire, "America/New_York", time(21), time(19), eve=True),
    "NYSE": _System(
        "New York Stock Exchange", partial(_financial, "NYSE"), "America/New_York", time(9, 30), time(16),
        half_days=partial(_half_days, "NYSE"),
    ),
    "TARGET2": _System("T2 of the Eurosystem", partial(_financial, "ECB"), "Europe/Berlin", time(2, 30), time(18)),
}  # fmt: skip


def rules() -> dict[str, str]:
    """Return the names of all rules with what they are called; parts of countries are known, but not listed."""
    return {name: system.title for name, system in SYSTEMS.items()} | _titles()


@lru_cache(maxsize=1_024)
def rule(name: str) -> Rule:
    """Return a rule by its name."""
    if name in SYSTEMS:
        return Rule(name, SYSTEMS[name].title, _hours(name, SYSTEMS[name]))
    country, _, part = name.partition("-")
    titles, parts = _titles(), _parts()
    if country not in titles or (part not in parts[country] if part else name != country):
        raise RuleUnknown(name=name[:64])
    made = holidays.country_holidays(country, subdiv=part or None)
    years = range(max(FIRST_YEAR, made.start_year), min(LAST_YEAR, made.end_year) + 1)
    closed = _within(name, years, partial(_country, country, part or None))
    title = f"{titles[country]}, {part}" if part else titles[country]
    return Rule(name, title, Window(Calendar(yearly=(closed,)), zone("UTC")))


def _hours(name: str, system: _System) -> Window:
    years = range(FIRST_YEAR, LAST_YEAR + 1)
    closed, half_days = (_within(name, years, each) for each in (system.closed, system.half_days))
    return Window(
        Calendar(frozenset({5, 6}), yearly=(closed,)), zone(system.zone), system.opens, system.closes, eve=system.eve,
        early=lambda day: system.half_day if day in half_days(day.year) else None,
    )  # fmt: skip


def _within(name: str, years: range, closed: _Closed) -> _Closed:
    """Return the same rule, refused outside the years it knows, and remembering what it said."""

    @lru_cache(maxsize=128)
    def known(year: int) -> frozenset[date]:
        if year not in years:
            raise YearUnknown(name=name, first=str(years.start), last=str(years.stop - 1), year=str(year))
        return closed(year)

    return known


@lru_cache(maxsize=1)
def _titles() -> dict[str, str]:
    """Return what countries are called by their two letters."""
    return {each[1]: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", each[0]) for each in COUNTRIES.values()}


@lru_cache(maxsize=1)
def _parts() -> dict[str, list[str]]:
    return holidays.list_supported_countries()

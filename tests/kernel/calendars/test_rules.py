"""The rules of systems, markets and countries: against QuantLib, which knows them its own way, and a slow model."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import pytest
import QuantLib as Oracle
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import windows
from clearhouse.calendars import Calendar, Convention, add_days, joint, next_open, previous_open, roll
from clearhouse.kernel.calendars.rules import FIRST_YEAR, LAST_YEAR, SYSTEMS, RuleUnknown, YearUnknown, rule, rules
from clearhouse.kernel.calendars.zones import ZoneUnknown, zone
from trying import tried

DAY = timedelta(days=1)
FIRST, LAST = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
# Systems, a country with another weekend, one that works on Saturdays for Mondays, and a part of one.
SAMPLED = [*SYSTEMS, "DE", "SA", "CN", "DE-BY"]
law = tried(300, many=20_000)


def oracles() -> dict[str, Any]:
    known: Any = Oracle
    american, british = known.UnitedStates, known.UnitedKingdom
    return {
        "CHAPS": british(british.Settlement),
        "FEDWIRE": american(american.FederalReserve),
        "NYSE": american(american.NYSE),
        "TARGET2": known.TARGET(),
    }


def every_day() -> Iterator[date]:
    return (FIRST + each * DAY for each in range((LAST - FIRST).days + 1))


def calendar(*names: str) -> Calendar:
    return joint(rule(name).window.calendar for name in names)


@lru_cache
def open_days(name: str) -> list[date]:
    """Return, slowly, every day on which a calendar is open."""
    return [day for day in every_day() if calendar(name).is_open(day)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_open_when_an_independent_oracle_says_so(name: str) -> None:
    oracle = oracles()[name]
    expected = [day for day in every_day() if oracle.isBusinessDay(Oracle.Date(day.day, day.month, day.year))]
    assert open_days(name) == expected


@pytest.mark.parametrize(
    ("name", "day", "is_open"),
    [
        ("FEDWIRE", "2026-07-03", True),  # the holiday is a Saturday, and stays there
        ("NYSE", "2026-07-03", False),
        ("FEDWIRE", "2027-07-05", False),  # the holiday is a Sunday
        ("FEDWIRE", "2022-06-20", False),
        ("FEDWIRE", "2021-06-18", True),
        ("NYSE", "2012-10-29", False),  # a storm
        ("CHAPS", "2022-09-19", False),  # a funeral
        ("CHAPS", "2026-12-28", False),  # Boxing Day is a Saturday
        ("TARGET2", "2026-04-03", False),
        ("TARGET2", "2026-12-31", True),
        ("TARGET2", "2001-12-31", False),
        ("DE", "2026-10-03", False),
        ("DE", "2026-01-06", True),
        ("DE-BY", "2026-01-06", False),
        ("SA", "2026-11-22", True),  # a Sunday
        ("SA", "2026-11-20", False),
        ("CN", "2026-02-14", True),  # a Saturday, worked for the festival
    ],
)
def test_days_that_are_easily_got_wrong_are_right(name: str, day: str, is_open: bool) -> None:
    assert calendar(name).is_open(date.fromisoformat(day)) is is_open


@pytest.mark.parametrize(
    ("name", "day", "opens", "closes"),
    [
        ("TARGET2", "2026-11-20", "2026-11-20T01:30Z", "2026-11-20T17:00Z"),
        ("TARGET2", "2026-07-20", "2026-07-20T00:30Z", "2026-07-20T16:00Z"),
        ("FEDWIRE", "2026-11-23", "2026-11-23T02:00Z", "2026-11-24T00:00Z"),
        ("FEDWIRE", "2026-03-09", "2026-03-09T01:00Z", "2026-03-09T23:00Z"),
        ("CHAPS", "2026-11-20", "2026-11-20T06:00Z", "2026-11-20T18:00Z"),
        ("NYSE", "2026-11-25", "2026-11-25T14:30Z", "2026-11-25T21:00Z"),
        ("NYSE", "2026-11-27", "2026-11-27T14:30Z", "2026-11-27T18:00Z"),
        ("DE", "2026-11-20", "2026-11-20T00:00Z", "2026-11-21T00:00Z"),
    ],
)
def test_a_rule_has_the_hours_that_are_published(name: str, day: str, opens: str, closes: str) -> None:
    found = windows.session(rule(name).window, date.fromisoformat(day))
    assert found is not None
    assert (found.opens, found.closes) == (datetime.fromisoformat(opens), datetime.fromisoformat(closes))


def test_sunday_evening_is_mondays_business_for_fedwire() -> None:
    sunday = datetime(2026, 11, 23, 2, tzinfo=UTC)
    window = rule("FEDWIRE").window
    assert windows.session_at(window, sunday - timedelta(seconds=1)) is None
    assert windows.next_open_instant(window, sunday - DAY) == sunday
    assert windows.business_date_of(window, sunday) == date(2026, 11, 23)


# A slow model --------------------------------------------------------------------------------------------------------


@law
@given(st.sampled_from(SAMPLED), st.dates(date(2001, 1, 1), date(2099, 12, 31)), st.integers(-200, 200))
def test_business_days_are_counted_as_on_a_list_of_all_open_days(name: str, day: date, count: int) -> None:
    listed = open_days(name)
    before, after = bisect_left(listed, day), bisect_right(listed, day)
    assert next_open(calendar(name), day) == listed[after]
    assert previous_open(calendar(name), day) == listed[before - 1]
    place = before if count == 0 else after - 1 + count if count > 0 else before + count
    assert add_days(calendar(name), day, count) == listed[place]


@law
@given(st.sampled_from(SAMPLED), st.dates(date(2001, 1, 1), date(2099, 12, 31)), st.sampled_from(Convention))
def test_a_modified_convention_never_leaves_the_month(name: str, day: date, convention: Convention) -> None:
    listed = open_days(name)
    on, back = listed[bisect_left(listed, day)], listed[bisect_right(listed, day) - 1]
    forward = convention in {Convention.FOLLOWING, Convention.MODIFIED_FOLLOWING}
    wanted, other = (on, back) if forward else (back, on)
    modified = convention in {Convention.MODIFIED_FOLLOWING, Convention.MODIFIED_PRECEDING}
    assert roll(calendar(name), day, convention) == (other if modified and wanted.month != day.month else wanted)


@law
@given(st.lists(st.sampled_from(SAMPLED), min_size=1, max_size=3), st.dates(FIRST, LAST))
def test_two_currencies_settle_when_both_of_their_systems_are_open(names: list[str], day: date) -> None:
    assert calendar(*names).is_open(day) == all(calendar(name).is_open(day) for name in names)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "XX", "DE-", "DE-XX", "DE-BY-BY", "GBR", "target2", "TARGET", "Germany", "DE\0", "-"])
def test_a_rule_that_nobody_has_is_refused(name: str) -> None:
    with pytest.raises(RuleUnknown):
        rule(name)


def test_years_that_a_rule_does_not_know_are_refused_and_not_called_open() -> None:
    with pytest.raises(YearUnknown, match="The calendar of TARGET2 is known from 2000 to 2100, and 2101 is asked for"):
        add_days(calendar("TARGET2"), date(2100, 12, 1), 30)
    with pytest.raises(YearUnknown):
        calendar("DE").is_open(date(1999, 12, 31))


def test_every_rule_that_is_listed_is_there_and_knows_this_year() -> None:
    today = date(2026, 11, 21)
    assert len(rules()) > 250
    for name, title in rules().items():
        assert rule(name).title == title
        assert next_open(rule(name).window.calendar, today) - today < timedelta(days=14)


@pytest.mark.parametrize(
    "name", ["", "utc", "Europe", "Europe/Nowhere", "../etc/passwd", "/etc/localtime", "UTC\0", "U" * 300]
)
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ZoneUnknown):
        zone(name)

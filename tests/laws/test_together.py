"""Laws of several calendars at once: against each of them by itself, watched day by day and hour by hour."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import QuantLib as Oracle
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import together, windows
from clearhouse.calendars import EVERY_DAY, Calendar, Convention, NeverOpen, add_days, next_open, previous_open, roll
from clearhouse.kernel.calendars.rules import SYSTEMS, rule
from clearhouse.together import NoHourTogether
from clearhouse.windows import Session, Window
from trying import tried

DAY = timedelta(days=1)
SAMPLED = [*SYSTEMS, "DE", "SA", "CN"]
TOKYO, NEW_YORK, BERLIN = (ZoneInfo(each) for each in ("Asia/Tokyo", "America/New_York", "Europe/Berlin"))
law = tried(150, many=10_000)

hours = st.sampled_from(
    [(time(), time()), (time(8), time(17)), (time(21), time(19)), (time(13), time(3)), (time(0, 5), time())]
)


@st.composite
def own(draw: st.DrawFn) -> Window:
    """A window of somebody's own, with closed days around the turn of a year in which clocks jump, too."""
    opens, closes = draw(hours)
    eve = closes <= opens and draw(st.booleans())
    zone = draw(st.sampled_from([TOKYO, NEW_YORK, BERLIN, ZoneInfo("Pacific/Apia"), ZoneInfo("UTC")]))
    closed = frozenset(date(2026, 3, 25) + each * DAY for each in draw(st.frozensets(st.integers(0, 10), max_size=4)))
    weekend = frozenset(draw(st.sampled_from([(), (5, 6), (4, 5), (2,)])))
    cut_off = draw(st.sampled_from([None, closes]))
    return Window(Calendar(weekend, closed), zone, opens, closes, eve=eve, cut_off=cut_off)


several = st.lists(st.sampled_from(SAMPLED).map(lambda name: rule(name).window) | own(), min_size=1, max_size=3)
instants = st.integers(0, 21 * 24 * 12).map(lambda each: datetime(2026, 3, 20, tzinfo=UTC) + each * timedelta(minutes=5))
days = st.dates(date(2001, 1, 1), date(2099, 12, 31))


def model(asked: Sequence[Window], day: date) -> list[Session]:
    """Return, by looking at each, the hours of a day that is a business day of all."""
    found = [windows.session(each, day) for each in asked]
    return [] if None in found else [each for each in found if each]


@law
@given(several, instants)
def test_what_several_have_in_common_is_what_each_has_by_itself(asked: list[Window], instant: datetime) -> None:
    near = [model(asked, date(2026, 3, 15) + each * DAY) for each in range(90)]
    open_days = [each for each in near if each]
    due = [each[0].day for each in open_days if all(instant < one.cut_off for one in each)]
    assert together.business_date_of(asked, instant) == due[0]
    common = [(max(one.opens for one in each), min(one.closes for one in each)) for each in open_days]
    ahead = [(opens, closes) for opens, closes in common if opens < closes and instant < closes]
    if not ahead:
        with pytest.raises(NoHourTogether):
            together.next_session(asked, instant)
        return
    found = together.next_session(asked, instant)
    assert (found.opens, found.closes) == ahead[0]
    inside = max(instant, found.opens)
    assert all((now := windows.session_at(each, inside)) is not None and now.day == found.day for each in asked)


@law
@given(own() | st.sampled_from(SAMPLED).map(lambda name: rule(name).window), instants, days)
def test_one_calendar_together_with_itself_is_itself(window: Window, instant: datetime, day: date) -> None:
    for asked in ([window], [window, window]):
        assert together.business_date_of(asked, instant) == windows.business_date_of(window, instant)
        assert together.next_session(asked, instant) == windows.next_session(window, instant)
        assert together.session(asked, day) == windows.session(window, day)


@law
@given(several, instants)
def test_neither_the_business_date_nor_the_next_opening_ever_goes_back(asked: list[Window], instant: datetime) -> None:
    moments = [instant + each * timedelta(hours=5) for each in range(30)]
    dates = [together.business_date_of(asked, each) for each in moments]
    assert dates == sorted(dates)
    try:
        openings = [max(each, together.next_session(asked, each).opens) for each in moments]
    except NoHourTogether:
        return
    assert openings == sorted(openings)


# An independent oracle -----------------------------------------------------------------------------------------------


def oracle() -> Any:
    """Return what QuantLib knows of euros and dollars together."""
    known: Any = Oracle
    american = known.UnitedStates(known.UnitedStates.FederalReserve)
    return known.JointCalendar(known.TARGET(), american, known.JoinHolidays)


def theirs(day: date) -> Any:
    return Oracle.Date(day.day, day.month, day.year)


def ours(day: Any) -> date:
    return date(day.year(), day.month(), day.dayOfMonth())


EUROS_AND_DOLLARS = [rule("TARGET2").window, rule("FEDWIRE").window]
CONVENTIONS = {
    Convention.FOLLOWING: "Following",
    Convention.PRECEDING: "Preceding",
    Convention.MODIFIED_FOLLOWING: "ModifiedFollowing",
    Convention.MODIFIED_PRECEDING: "ModifiedPreceding",
}


EVERY_DAY_OF_ALL = [date(2000, 1, 1) + each * DAY for each in range((date(2100, 12, 31) - date(2000, 1, 1)).days + 1)]


def test_euros_and_dollars_are_paid_on_the_days_that_an_independent_oracle_says() -> None:
    joint, other = together.calendar(EUROS_AND_DOLLARS), oracle()
    assert [day for day in EVERY_DAY_OF_ALL if joint.is_open(day) != other.isBusinessDay(theirs(day))] == []


def test_at_the_ends_of_months_and_years_a_date_turns_as_an_independent_oracle_turns_it() -> None:
    joint, other = together.calendar(EUROS_AND_DOLLARS), oracle()
    ends = [day for day in EVERY_DAY_OF_ALL[30:-30] if (day - 4 * DAY).month != (day + 4 * DAY).month]
    assert len(ends) > 9_000
    assert [
        (day, convention)
        for day in ends
        for convention in Convention
        if roll(joint, day, convention) != ours(other.adjust(theirs(day), getattr(Oracle, CONVENTIONS[convention])))
    ] == []


@law
@given(days, st.integers(-300, 300), st.sampled_from(Convention))
def test_euros_and_dollars_move_as_an_independent_oracle_moves_them(day: date, count: int, convention: Convention) -> None:
    joint, other = together.calendar(EUROS_AND_DOLLARS), oracle()
    assert roll(joint, day, convention) == ours(other.adjust(theirs(day), getattr(Oracle, CONVENTIONS[convention])))
    assert add_days(joint, day, count) == ours(other.advance(theirs(day), count, Oracle.Days))
    assert next_open(joint, day) == ours(other.advance(theirs(day), 1, Oracle.Days))
    assert previous_open(joint, day) == ours(other.advance(theirs(day), -1, Oracle.Days))


# Examples ------------------------------------------------------------------------------------------------------------


def test_a_morning_in_tokyo_and_one_in_new_york_are_one_business_day_without_an_hour_in_common() -> None:
    asked = [Window(EVERY_DAY, zone, time(9), time(12)) for zone in (TOKYO, NEW_YORK)]
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert len(together.sessions(asked, date(2026, 11, 20))) == len(asked)
    assert together.session(asked, date(2026, 11, 20)) is None
    assert together.business_date_of(asked, noon) == date(2026, 11, 21)
    with pytest.raises(NoHourTogether, match="share business days, but no hour of any of them within a year of 2026-11-20"):
        together.next_session(asked, noon)


@pytest.mark.parametrize("instant", [datetime(2026, 11, 20, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_calendars_that_share_no_day_are_refused_and_not_searched(instant: datetime) -> None:
    weekdays, weekends = Calendar(frozenset({5, 6})), Calendar(frozenset(range(5)))
    asked = [Window(each, NEW_YORK) for each in (weekdays, weekends)]
    for ask in (together.next_session, together.business_date_of):
        with pytest.raises(NeverOpen):
            ask(asked, instant)

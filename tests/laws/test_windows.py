"""Laws of windows: against a clock on the wall that is watched minute by minute, most of all where it jumps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import windows
from clearhouse.calendars import EVERY_DAY, WEEKDAYS, Calendar, NeverOpen
from clearhouse.windows import EveTooEarly, OutsideHours, Session, Window
from trying import tried

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
MINUTES = 24 * 60
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 12, 31, tzinfo=UTC)
BEHIND, AHEAD = 3 * DAY, 9 * DAY
# Half an hour, two hours, at midnight, a minute past it, around Ramadan, in winter instead of summer, and a day left out.
ZONES = [
    "UTC", "America/New_York", "Europe/London", "Europe/Berlin", "Europe/Dublin", "Australia/Lord_Howe", "Antarctica/Troll",
    "America/Sao_Paulo", "America/St_Johns", "Asia/Beirut", "Africa/Casablanca", "Asia/Kathmandu", "Pacific/Apia",
]  # fmt: skip
NEW_YORK, APIA = ZoneInfo("America/New_York"), ZoneInfo("Pacific/Apia")
law = tried(150, many=5_000)


def offset(zone: ZoneInfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


@lru_cache
def jumps(zone: ZoneInfo) -> list[datetime]:
    """Return the instants, to the day, at which the clocks of a zone jump between 2000 and 2100."""
    days = [FIRST + each * DAY for each in range((LAST - FIRST).days)]
    return [day for day in days if offset(zone, day) != offset(zone, day + DAY)] or [FIRST]


@dataclass(frozen=True, slots=True)
class Watch:
    """Somebody who looks at the wall clock each minute, and remembers the latest time that it has shown so far."""

    minutes: list[datetime]
    latest: list[datetime]

    @classmethod
    def around(cls, zone: ZoneInfo, instant: datetime) -> "Watch":
        start = instant.replace(second=0, microsecond=0) - BEHIND
        minutes = [start + each * MINUTE for each in range((BEHIND + AHEAD) // MINUTE)]
        shown = (each.astimezone(zone).replace(tzinfo=None, fold=0) for each in minutes)
        return cls(minutes, list(accumulate(shown, max)))

    def reached(self, wall: datetime) -> datetime:
        """Return when the clock had shown a time, or a later one."""
        return next(minute for minute, latest in zip(self.minutes, self.latest, strict=True) if latest >= wall)


def sessions(window: Window, watch: Watch) -> Iterator[Session]:
    """Give the sessions that a watch can tell of, by the words of what a window is."""
    day = watch.latest[0].date() + 2 * DAY
    while day < watch.latest[-1].date() - 2 * DAY:
        found = watched(window, watch, day)
        if day.weekday() in window.days and window.calendar.is_open(day) and found.opens < found.closes:
            yield found
        day += DAY


def watched(window: Window, watch: Watch, day: date) -> Session:
    begins = day - DAY if window.eve else day
    opens = datetime.combine(begins, window.opens)
    closes, regular = (after(opens, each) for each in (window.early(day) or window.closes, window.closes))
    cut_off = after(opens, window.cut_off or window.closes)
    assert closes <= regular
    return Session(day, *map(watch.reached, (opens, closes, min(cut_off, closes))))


def after(opens: datetime, at: time) -> datetime:
    """Return the next time after the opening at which a steady clock shows a time of the day."""
    found = datetime.combine(opens.date(), at)
    return found if found > opens else found + DAY


clock_minutes = st.integers(0, 23).flatmap(lambda hour: st.integers(0, 59).map(lambda minute: 60 * hour + minute))


def clock_time(minutes: int) -> time:
    return time(minutes // 60 % 24, minutes % 60)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Window, datetime]:
    """A window of any kind and an instant, mostly near one at which the clocks jump."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    near = (
        draw(st.sampled_from(jumps(zone)))
        if draw(st.booleans())
        else draw(st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=st.just(UTC)))
    )
    instant = near + timedelta(seconds=draw(st.integers(-86_400, 2 * 86_400)))
    early_time, late_time = sorted(draw(st.tuples(clock_minutes, clock_minutes)))
    opens, closes = draw(st.sampled_from([(early_time, late_time), (late_time, early_time)]))
    lasts = (closes - opens) % MINUTES or MINUTES
    within = st.integers(1, lasts).map(lambda each: clock_time(opens + each))
    eve = closes <= opens and draw(st.booleans())
    calendar = Calendar(draw(st.frozensets(st.integers(0, 6), max_size=2)), draw_days(draw, instant))
    early = {day: draw(within) for day in draw_days(draw, instant)}
    window = Window(
        calendar, zone, clock_time(opens), clock_time(closes), frozenset(range(WEEKDAYS)) - {draw(st.integers(0, 9))},
        eve=eve, cut_off=draw(st.none() | within), early=early.get,
    )  # fmt: skip
    return window, instant


def draw_days(draw: st.DrawFn, instant: datetime) -> frozenset[date]:
    return frozenset(instant.date() + each * DAY for each in draw(st.frozensets(st.integers(-2, 3), max_size=2)))


@law
@given(asked())
def test_sessions_are_what_a_watch_at_the_wall_clock_sees(given_window: tuple[Window, datetime]) -> None:
    window, instant = given_window
    watch = Watch.around(window.zone, instant)  # type: ignore[arg-type] - the zones here are such
    seen = list(sessions(window, watch))
    assert [windows.session(window, each.day) for each in seen] == seen
    ahead = next(each for each in seen if instant < each.closes)
    assert windows.next_session(window, instant) == ahead
    assert windows.next_open_instant(window, instant) == max(instant, ahead.opens)
    assert windows.session_at(window, instant) == (ahead if ahead.opens <= instant else None)
    assert windows.business_date_of(window, instant) == next(each.day for each in seen if instant < each.cut_off)


@law
@given(asked())
def test_sessions_never_meet_and_business_dates_never_go_back(given_window: tuple[Window, datetime]) -> None:
    window, instant = given_window
    now = windows.next_session(window, instant)
    later = windows.next_session(window, now.closes)
    assert now.day < later.day
    assert now.opens < now.closes <= later.opens
    assert now.cut_off <= now.closes
    days = [windows.business_date_of(window, instant + each * 7 * MINUTE) for each in range(200)]
    assert days == sorted(days)


@law
@given(st.sampled_from(ZONES).map(ZoneInfo), st.data())
def test_a_wall_clock_time_is_first_reached_right_after_the_last_instant_before_it(
    zone: ZoneInfo, data: st.DataObject
) -> None:
    near = data.draw(st.sampled_from(jumps(zone))).replace(tzinfo=None)
    wall = near + timedelta(microseconds=data.draw(st.integers(-(10**11), 2 * 10**11)))
    found = windows.first_instant(zone, wall)
    before = [found - timedelta(microseconds=1), *(found - each * 5 * MINUTE for each in range(1, 400))]
    assert found.astimezone(zone).replace(tzinfo=None) >= wall
    assert all(each.astimezone(zone).replace(tzinfo=None) < wall for each in before)


# Where clocks jump ---------------------------------------------------------------------------------------------------


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("wall", "reached"),
    [
        ("2026-03-08T01:59", "2026-03-08T06:59Z"),
        ("2026-03-08T02:00", "2026-03-08T07:00Z"),
        ("2026-03-08T02:30", "2026-03-08T07:00Z"),
        ("2026-03-08T03:00", "2026-03-08T07:00Z"),
        ("2026-03-08T03:01", "2026-03-08T07:01Z"),
        ("2026-11-01T00:59", "2026-11-01T04:59Z"),
        ("2026-11-01T01:00", "2026-11-01T05:00Z"),
        ("2026-11-01T01:30", "2026-11-01T05:30Z"),
        ("2026-11-01T02:00", "2026-11-01T07:00Z"),
    ],
)
def test_a_time_that_is_skipped_comes_at_the_jump_and_one_that_comes_twice_counts_once(wall: str, reached: str) -> None:
    assert windows.first_instant(NEW_YORK, at(wall)) == at(reached)


def test_a_night_in_which_an_hour_comes_twice_is_longer_and_one_that_misses_an_hour_is_shorter() -> None:
    night = Window(EVERY_DAY, NEW_YORK, time(22), time(6))
    lasting = [windows.session(night, each) for each in (date(2026, 3, 6), date(2026, 3, 7), date(2026, 10, 31))]
    assert [each and (each.closes - each.opens) // timedelta(hours=1) for each in lasting] == [8, 7, 9]


def test_the_small_hours_belong_to_the_night_before_or_to_the_day_itself() -> None:
    night = Window(EVERY_DAY, NEW_YORK, time(22), time(6))
    small_hour = at("2026-11-20T09:00Z")
    for window, day in ((night, 19), (replace(night, eve=True), 20)):
        found = windows.session_at(window, small_hour)
        assert found is not None
        assert (found.day.day, found.opens) == (day, at("2026-11-20T03:00Z"))


def test_an_hour_that_is_skipped_has_no_session_and_its_day_is_no_business_day() -> None:
    window = Window(EVERY_DAY, NEW_YORK, time(2), time(2, 45))
    assert windows.session(window, date(2026, 3, 8)) is None
    assert windows.business_date_of(window, at("2026-03-08T04:00Z")) == date(2026, 3, 9)


def test_the_day_that_samoa_left_out_is_nobodys_business_day() -> None:
    whole = Window(EVERY_DAY, APIA)
    assert windows.session(whole, date(2011, 12, 30)) is None
    assert [windows.business_date_of(whole, at(f"2011-12-30T{each}Z")) for each in ("09:59:59.999999", "10:00")] == [
        date(2011, 12, 29), date(2011, 12, 31),
    ]  # fmt: skip


def test_a_window_is_open_at_its_opening_and_not_at_its_closing() -> None:
    window = Window(EVERY_DAY, NEW_YORK, time(9, 30), time(16), cut_off=time(15))
    opens, closes, cut_off = at("2026-11-20T14:30Z"), at("2026-11-20T21:00Z"), at("2026-11-20T20:00Z")
    tick = timedelta(microseconds=1)
    assert [windows.session_at(window, each) is None for each in (opens - tick, opens, closes - tick, closes)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert [windows.business_date_of(window, each).day for each in (cut_off - tick, cut_off)] == [20, 21]


def test_a_day_that_closes_early_is_cut_off_then_at_the_latest() -> None:
    window = Window(EVERY_DAY, NEW_YORK, time(9, 30), time(16), cut_off=time(15), early={date(2026, 11, 27): time(13)}.get)
    found = windows.session(window, date(2026, 11, 27))
    assert found is not None
    assert found.cut_off == found.closes == at("2026-11-27T18:00Z")


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opens", "closes", "cut_off"),
    [("09:00", "17:00", "09:00"), ("09:00", "17:00", "17:01"), ("22:00", "06:00", "22:00"), ("22:00", "06:00", "12:00")],
)
def test_a_cut_off_outside_of_the_hours_is_refused(opens: str, closes: str, cut_off: str) -> None:
    with pytest.raises(OutsideHours, match=f"{cut_off} does not lie within the hours from {opens} to {closes}"):
        Window(
            EVERY_DAY, NEW_YORK, time.fromisoformat(opens), time.fromisoformat(closes), cut_off=time.fromisoformat(cut_off)
        )


def test_hours_of_more_than_a_day_are_refused() -> None:
    with pytest.raises(EveTooEarly, match="would last longer than a day"):
        Window(EVERY_DAY, NEW_YORK, time(17), time(18), eve=True)


@pytest.mark.parametrize("instant", [FIRST, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
def test_a_window_that_never_opens_is_refused_and_not_searched(instant: datetime) -> None:
    never = Window(EVERY_DAY, ZoneInfo("UTC"), days=frozenset())
    for window in (never, replace(never, days=frozenset({0}), calendar=Calendar(frozenset({0})), zone=NEW_YORK)):
        for ask in (windows.next_session, windows.session_at, windows.next_open_instant, windows.business_date_of):
            with pytest.raises(NeverOpen):
                ask(window, instant)

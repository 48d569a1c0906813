"""Cron held to a slow obvious model: every minute of UTC looked at one after another, through every change of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse.kernel.pipelines.cron import CronMalformed, CronNeverFires, check, next_instant
from trying import tried

MINUTE = timedelta(minutes=1)
HOURS_LOOKED_AT = 72
# Around these the clock jumps: forward and back, by an hour, by half of one, at midnight, and once over a whole day.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2026, 3, 28, 22, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),
    ("UTC", datetime(2026, 6, 1, tzinfo=UTC)),
]
minutes = st.sampled_from(["*", "*/15", "*/7", "0", "30", "59", "5,35", "10-20/5"])
hours = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "2-3", "0,2,23", "12"])
days = st.sampled_from(["*", "*", "*", "1", "25", "29-31"])
weekdays = st.sampled_from(["*", "*", "*", "SUN", "MON-FRI", "0,6"])
crons = st.tuples(minutes, hours, days, st.just("*"), weekdays).map(" ".join)


def numbers(field: str, least: int, most: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, last = (least, most) if span == "*" else (int(span.split("-")[0]), int(span.split("-")[-1]))
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def matches(cron: str, wall: datetime) -> bool:
    minute, hour, day, _, weekday = cron.split()
    names = {"SUN": "0", "MON-FRI": "1-5"}
    on_day = wall.day in numbers(day, 1, 31)
    on_weekday = wall.isoweekday() % 7 in numbers(names.get(weekday, weekday), 0, 6)
    fits = on_day and on_weekday if "*" in {day, weekday} else on_day or on_weekday
    return fits and wall.hour in numbers(hour, 0, 23) and wall.minute in numbers(minute, 0, 59)


def modelled(cron: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Look at each minute of UTC; for a cron that names its hour, also at what the clock jumped over to get there."""
    passing = cron.split(maxsplit=1)[0].startswith("*") or cron.split()[1].startswith("*")
    instant = after.replace(second=0, microsecond=0) - timedelta(days=2)
    latest = shown(zone, instant - MINUTE)
    for _ in range(60 * (HOURS_LOOKED_AT + 48)):
        wall = shown(zone, instant)
        if passing:
            fires = matches(cron, wall)
        else:  # each wall-clock minute counts once, when it is first reached or passed
            reached = [latest + MINUTE * step for step in range(1, int((wall - latest) / MINUTE) + 1)]
            fires = any(matches(cron, each) for each in reached)
        latest = max(latest, wall)
        if fires and instant > after:
            return instant
        instant += MINUTE
    return None


def shown(zone: ZoneInfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


@tried(150, many=5_000)
@given(st.sampled_from(CHANGES), crons, st.integers(-40 * 3600, 3 * 3600))
def test_a_cron_fires_when_the_obvious_model_says(change: tuple[str, datetime], cron: str, seconds: int) -> None:
    name, near = change
    zone, after = ZoneInfo(name), near + timedelta(seconds=seconds)
    expected = modelled(cron, zone, after)
    found = next_instant(check(cron), zone, after)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or found > after + timedelta(hours=HOURS_LOOKED_AT - 1)


def fired(cron: str, zone: str, first: datetime, last: datetime) -> list[str]:
    found: list[str] = []
    while (each := next_instant(cron, ZoneInfo(zone), first)) is not None and each <= last:
        found.append(f"{each:%H:%M}")
        first = each
    return found


@pytest.mark.parametrize(
    ("cron", "spring", "autumn"),
    [
        ("30 2 * * *", ["01:00"], ["00:30"]),
        ("0 * * * *", ["00:00", "01:00", "02:00"], ["00:00", "01:00", "02:00"]),
        ("0,30 2 * * *", ["01:00"], ["00:00", "00:30"]),
        ("0 3 * * *", ["01:00"], ["02:00"]),
    ],
)
def test_a_named_hour_comes_once_a_day_and_every_hour_goes_by_time_that_passes(
    cron: str, spring: list[str], autumn: list[str]
) -> None:
    jump, back = datetime(2026, 3, 28, 23, 59, tzinfo=UTC), datetime(2026, 10, 24, 23, 59, tzinfo=UTC)
    assert fired(cron, "Europe/Berlin", jump, jump + timedelta(hours=2, minutes=31)) == spring
    assert fired(cron, "Europe/Berlin", back, back + timedelta(hours=2, minutes=31)) == autumn


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "* * * * * *", "60 * * * *", "a b c d e", "* * * * \n0", "٣ * * * *", "5-1 * * * *"]
)
def test_what_is_no_cron_is_refused(cron: str) -> None:
    with pytest.raises(CronMalformed):
        check(cron)


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * 31 2 *"])
def test_a_cron_that_can_never_fire_is_refused(cron: str) -> None:
    with pytest.raises(CronNeverFires):
        check(cron)


def test_a_leap_day_comes_however_far_away() -> None:
    leap = next_instant("0 12 29 2 *", ZoneInfo("Europe/Berlin"), datetime(2096, 3, 1, tzinfo=UTC))
    assert leap == datetime(2104, 2, 29, 11, tzinfo=UTC)


def test_beyond_the_calendar_nothing_comes() -> None:
    assert next_instant("0 0 1 1 *", ZoneInfo("UTC"), datetime(9999, 12, 31, tzinfo=UTC)) is None

"""Laws of the words that everything else is said in: ids, the clock, business days, refusals."""

import importlib
import pickle
import pkgutil
import re
import string
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from random import Random
from uuid import UUID

import msgspec
import pytest
import time_machine
from hypothesis import assume, example, given
from hypothesis import strategies as st

import clearhouse
from clearhouse import calendars, clock, ids
from clearhouse.calendars import Calendar, Convention, NeverOpen, TooManyDays
from clearhouse.clock import MalformedTime
from clearhouse.ids import MalformedId
from clearhouse.refusals import Kind, Refusal, as_problem, revive
from trying import law

DAY = timedelta(days=1)
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ZONE_MINUTES = 24 * 60 - 1

uuids = st.integers(1, 2**128 - 1).map(lambda number: UUID(int=number))
prefixes = st.sampled_from(["acc", "trx", "trf", "prn", "key"])
texts = st.lists(st.text(max_size=6), max_size=4)
zones = st.integers(-ZONE_MINUTES, ZONE_MINUTES).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(timezones=st.just(UTC)).filter(lambda each: 1 < each.toordinal() < date.max.toordinal())
days = st.dates(min_value=date(1900, 1, 1), max_value=date(2200, 1, 1))
weekends = st.frozensets(st.integers(0, 6), max_size=6)
near = st.integers(-40, 40)


@st.composite
def calendar_and_day(draw: st.DrawFn) -> tuple[Calendar, date]:
    """A calendar that is closed here and there around a day, and the day."""
    day = draw(days)
    closed = frozenset(day + each * DAY for each in draw(st.frozensets(near, max_size=40)))
    return Calendar(draw(weekends), closed), day


def between(first: date, last: date) -> Iterator[date]:
    """Give the days after the first, up to and including the last."""
    return (first + each * DAY for each in range(1, (last - first).days + 1))


class Unlucky(Random):
    """Chance that always draws zero."""

    def getrandbits(self, _: int, /) -> int:
        return 0


# Ids -----------------------------------------------------------------------------------------------------------------


@law
@given(uuids, prefixes)
def test_an_id_survives_being_written_and_read(each: UUID, prefix: str) -> None:
    written = ids.text(prefix, each)
    assert ids.parse(prefix, written) == each
    assert re.fullmatch(f"{prefix}_[0-7][{CROCKFORD}]{{25}}", written)


@law
@given(uuids, uuids, prefixes)
def test_ids_are_in_the_same_order_as_their_texts(one: UUID, other: UUID, prefix: str) -> None:
    assert (one < other) == (ids.text(prefix, one) < ids.text(prefix, other))


@law
@given(uuids, prefixes, st.integers(0, 29), st.characters())
@example(UUID(int=1), "acc", 29, "i")
@example(UUID(int=1), "acc", 29, "L")
@example(UUID(int=1), "acc", 28, "O")
@example(UUID(int=1), "acc", 28, "_")
@example(UUID(int=1), "acc", 28, "\N{ARABIC-INDIC DIGIT ZERO}")
@example(UUID(int=1), "acc", 4, "8")
def test_one_id_has_one_text(each: UUID, prefix: str, place: int, other: str) -> None:
    written = ids.text(prefix, each)
    changed = written[:place] + other + written[place + 1 :]
    assume(changed != written)
    try:
        read = ids.parse(prefix, changed)
    except MalformedId:
        return
    assert (read != each, ids.text(prefix, read)) == (True, changed)


@law
@given(uuids, prefixes, st.sampled_from(["", " ", "\n", "0"]))
def test_an_id_in_other_letters_or_lengths_or_with_another_prefix_is_none(each: UUID, prefix: str, more: str) -> None:
    written = ids.text(prefix, each)
    wrong = {written.lower(), written[:-1], written[4:], f"x{written}", written.replace("_", "-"), str(each)}
    if more:
        wrong |= {written + more, more + written}
    for text in wrong - {written}:
        with pytest.raises(MalformedId):
            ids.parse(prefix, text)
    with pytest.raises(MalformedId):
        ids.parse("hld", written)


def test_the_id_of_nobody_is_never_read() -> None:
    with pytest.raises(MalformedId):
        ids.parse("acc", ids.text("acc", ids.NOBODY))


@pytest.mark.parametrize("step", [timedelta(0), timedelta(milliseconds=1), timedelta(days=-1), timedelta(days=400)])
def test_fresh_ids_rise_whatever_the_clock_does(step: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_steps", Unlucky())
    monkeypatch.setattr(ids._Last, "number", 0)  # afterwards the process goes on from today, not from where this went
    monkeypatch.setattr(ids._Last, "millisecond", 0)
    made: list[UUID] = []
    with time_machine.travel(clock.now(), tick=False) as traveller:
        for _ in range(50):
            made += [ids.fresh() for _ in range(40)]
            traveller.shift(step)
    assert all(ids.after(one, ids.LEGS_MAX - 1) < later for one, later in pairwise(made))
    assert {each.version for each in made} == {7}


def test_a_millisecond_that_is_full_goes_over_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with time_machine.travel(clock.now(), tick=False):
        last = ids.fresh().int | ids._LOW
        monkeypatch.setattr(ids._Last, "number", last)
        assert last < ids.fresh().int < ids.fresh().int


@law
@given(uuids, st.integers(0, ids.LEGS_MAX), st.integers(0, ids.LEGS_MAX))
def test_the_ids_after_an_id_are_others_each(first: UUID, count: int, more: int) -> None:
    assert ids.after(first, 0) == first
    assert (ids.after(first, count) == ids.after(first, more)) == (count == more)
    assert ids.after(ids.after(first, count), more) == ids.after(first, count + more)


@law
@given(texts, texts)
@example(["ab", "c"], ["a", "bc"])
@example(["a", ""], ["a"])
@example(["1:a"], ["a"])
@example(["a", "1:b"], ["a1:b"])
def test_an_id_derived_from_the_same_parts_is_the_same_and_from_others_another(parts: list[str], others: list[str]) -> None:
    assert ids.derived(*parts) == ids.derived(*parts)
    assert (ids.derived(*parts) == ids.derived(*others)) == (parts == others)
    assert (ids.derived(*parts).version, ids.derived(*parts).variant) == (8, ids.fresh().variant)


def test_a_derived_id_is_the_same_in_every_release() -> None:
    assert str(ids.derived("ledger.post", "1", "key")) == "1ac37c22-9d53-852e-b9bb-b0e37b723035"


# The clock -----------------------------------------------------------------------------------------------------------


@law
@given(instants, zones)
def test_a_time_survives_being_written_and_read_from_wherever(instant: datetime, zone: timezone) -> None:
    written = clock.text(instant.astimezone(zone))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", written)
    assert clock.parse(written) == clock.parse(written.lower()) == clock.parse(written.replace("T", " ")) == instant
    assert clock.parse(instant.astimezone(zone).isoformat()) == instant
    assert clock.parse(written).tzinfo is UTC


@law
@given(instants, instants)
def test_times_are_in_the_same_order_as_their_texts(one: datetime, other: datetime) -> None:
    assert (one < other) == (clock.text(one) < clock.text(other))


@law
@given(st.text(string.digits + "TtZz:+-. ٣W,", max_size=30))
@example("2026-11-21T04:10:18")
@example("2026-11-21")
@example("20261121T041018Z")
@example("2026-W47-6T04:10:18Z")
@example("2026-11-21T04:10Z")
@example("2026-11-21T04:10:18,5Z")
@example("2026-11-21T04:10:18.Z")
@example("2026-11-21T04:10:18.1234567Z")
@example("2026-11-21T04:10:18+01")
@example("2026-11-21T04:10:18+0100")
@example("2026-11-21T04:10:18+01:60")
@example("2026-11-21T04:10:18+24:00")
@example("2026-11-21T04:10:18Z ")
@example("2026-11-21T04:10:18Z\n")
@example("٢026-11-21T04:10:18Z")
@example("2026-02-29T04:10:18Z")
@example("2026-11-21T24:00:00Z")
@example("2026-11-21T23:59:60Z")
@example("0000-01-01T00:00:00Z")
@example("0001-01-01T00:00:00+00:01")
@example("9999-12-31T23:59:59-00:01")
@example("12026-11-21T04:10:18Z")
def test_what_is_no_time_of_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(MalformedTime):
        clock.parse(text)


@given(instants)
def test_a_time_without_a_zone_is_refused(instant: datetime) -> None:
    with pytest.raises(MalformedTime):
        clock.parse(instant.replace(tzinfo=None).isoformat())


def test_today_is_the_day_in_utc() -> None:
    with time_machine.travel(datetime(2026, 11, 21, 23, 30, tzinfo=timezone(timedelta(hours=-5))), tick=False):
        assert clock.today() == date(2026, 11, 22)
        assert clock.now() == datetime(2026, 11, 22, 4, 30, tzinfo=UTC)


# Business days -------------------------------------------------------------------------------------------------------


@law
@given(calendar_and_day())
def test_the_next_open_day_is_the_first_one_and_the_previous_the_last(given_rules: tuple[Calendar, date]) -> None:
    calendar, day = given_rules
    later, earlier = calendars.next_open(calendar, day), calendars.previous_open(calendar, day)
    assert [each for each in between(day, later) if calendar.is_open(each)] == [later]
    assert [each for each in between(earlier - DAY, day - DAY) if calendar.is_open(each)] == [earlier]


@law
@given(calendar_and_day(), st.sampled_from(Convention))
def test_a_date_is_rolled_to_the_nearest_open_day_that_its_convention_allows(
    given_rules: tuple[Calendar, date], convention: Convention
) -> None:
    calendar, day = given_rules
    ways = [day - each * DAY for each in range(90)], [day + each * DAY for each in range(90)]
    back, on = (next(each for each in way if calendar.is_open(each)) for way in ways)
    first, second = (on, back) if "following" in convention.value else (back, on)
    leaves = convention.value.startswith("modified") and (first.year, first.month) != (day.year, day.month)
    assert calendars.roll(calendar, day, convention) == (second if leaves else first)


@law
@given(calendar_and_day(), st.integers(1, 60))
def test_so_many_business_days_later_lie_so_many_open_days_between(given_rules: tuple[Calendar, date], count: int) -> None:
    calendar, day = given_rules
    later, earlier = calendars.add_days(calendar, day, count), calendars.add_days(calendar, day, -count)
    assert calendar.is_open(later)
    assert calendar.is_open(earlier)
    assert sum(map(calendar.is_open, between(day, later))) == count
    assert sum(map(calendar.is_open, between(earlier - DAY, day - DAY))) == count


@law
@given(calendar_and_day(), near)
def test_going_there_and_back_ends_on_the_open_day_it_began_on(given_rules: tuple[Calendar, date], count: int) -> None:
    calendar, day = given_rules
    start = calendars.add_days(calendar, day, 0)
    assert start == calendars.roll(calendar, day, Convention.FOLLOWING)
    assert calendars.add_days(calendar, calendars.add_days(calendar, start, count), -count) == start


@law
@given(st.lists(calendar_and_day(), max_size=4), days)
def test_a_joint_calendar_is_open_when_all_of_its_parts_are(parts: list[tuple[Calendar, date]], day: date) -> None:
    several = [calendar for calendar, _ in parts]
    together = calendars.joint(several)
    for each in (day, *(other for _, other in parts)):
        assert together.is_open(each) == all(calendar.is_open(each) for calendar in several)


@given(days)
def test_a_calendar_that_is_never_open_is_refused_and_not_searched(day: date) -> None:
    never = Calendar(frozenset(range(calendars.WEEKDAYS)))
    for seek in (calendars.next_open, calendars.previous_open):
        with pytest.raises(NeverOpen):
            seek(never, day)
    with pytest.raises(NeverOpen):
        calendars.roll(never, day, Convention.MODIFIED_FOLLOWING)


def test_the_calendar_ends_where_time_does() -> None:
    with pytest.raises(NeverOpen):
        calendars.next_open(calendars.EVERY_DAY, date.max)
    with pytest.raises(NeverOpen):
        calendars.add_days(calendars.EVERY_DAY, date.min, -1)


@pytest.mark.parametrize("count", [calendars.DAYS_ADDED_MAX + 1, -calendars.DAYS_ADDED_MAX - 1, 10**30])
def test_more_business_days_than_can_be_counted_are_refused(count: int) -> None:
    with pytest.raises(TooManyDays):
        calendars.add_days(calendars.EVERY_DAY, date(2026, 11, 21), count)


# Refusals ------------------------------------------------------------------------------------------------------------


for module in pkgutil.walk_packages(clearhouse.__path__, "clearhouse."):
    if ".bench" not in module.name:  # has an extra of its own
        importlib.import_module(module.name)


def every(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Return every way to say no that the program has."""
    below = [each for one in kind.__subclasses__() for each in every(one)]
    return [kind, *below] if kind.__module__.startswith("clearhouse.") else below


def names(kind: type[Refusal]) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(kind.__doc__ or "") if name is not None]


@st.composite
def some_refusals(draw: st.DrawFn) -> Refusal:
    """A refusal of any kind with values of any kind."""
    kind = draw(st.sampled_from(every()))
    return kind(**{name: draw(st.text(max_size=20)) for name in names(kind)})


@law
@given(some_refusals())
def test_a_refusal_says_its_sentence_with_its_values_as_they_are(refusal: Refusal) -> None:
    said = type(refusal).__doc__ or ""
    pieces = re.split(r"\{\w+\}", said)
    values = [refusal.values[name] for name in names(type(refusal))]
    spoken = "".join(piece + value for piece, value in zip(pieces, [*values, ""], strict=True))
    assert str(refusal) == spoken


@law
@given(some_refusals())
def test_a_refusal_that_was_kept_comes_back_as_the_same(refusal: Refusal) -> None:
    kept = msgspec.json.decode(msgspec.json.encode(refusal.values), type=dict[str, str])
    for back in (revive(refusal.code, kept), pickle.loads(pickle.dumps(refusal))):
        assert type(back) is type(refusal)
        assert (back, hash(back), str(back), repr(back)) == (refusal, hash(refusal), str(refusal), repr(refusal))


@law
@given(some_refusals(), some_refusals())
def test_two_refusals_are_equal_if_they_say_the_same(one: Refusal, other: Refusal) -> None:
    assert (one == other) == ((one.code, one.values) == (other.code, other.values))
    assert one != str(one)


@law
@given(some_refusals())
def test_a_problem_tells_the_code_the_sentence_and_whether_to_try_again(refusal: Refusal) -> None:
    problem = as_problem(refusal)
    assert (problem["code"], problem["detail"], problem["values"]) == (refusal.code, str(refusal), refusal.values)
    assert problem["type"] == f"urn:clearhouse:refusal:{refusal.code}"
    assert problem["retryable"] is refusal.retryable


def test_every_refusal_has_a_code_of_its_own() -> None:
    codes = [each.code for each in every()]
    assert sorted({code for code in codes if codes.count(code) > 1}) == []
    assert [code for code in codes if re.fullmatch("[a-z0-9]+(_[a-z0-9]+)*", code) is None] == []
    assert {each.code: each for each in every()}.items() <= Refusal.codes().items()


def test_every_refusal_is_a_sentence_of_its_own() -> None:
    sentences = [each.__doc__ or "" for each in every()]
    assert [each for each in sentences if not each or "\n" in each or each[-1] not in ".}"] == []
    assert sorted({each for each in sentences if sentences.count(each) > 1}) == []


def test_what_may_be_tried_again_is_never_what_was_asked_wrongly() -> None:
    hopeless = {Kind.MALFORMED, Kind.DENIED, Kind.UNAUTHENTICATED, Kind.TOO_LARGE, Kind.UNKNOWN}
    assert [each.code for each in every() if each.retryable and each.kind in hopeless] == []

"""The limit of a day counts the business day of the currency, from one cut-off to the next, and without hours UTC's day."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import time_machine

from clearhouse.kernel.calendars.rules import rule
from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.rules import SetLimit, SetWindow
from clearhouse.windows import Window, business_date_of, business_day_start
from house import House, ok
from people import Person, add
from town import Town, obligation

NEW_YORK = ZoneInfo("America/New_York")
# Fedwire's day in New York ends at 19:00 on its date.
FRIDAY, FRIDAY_NIGHT, SUNDAY, MONDAY_NIGHT = (
    datetime(2026, 11, day, hour, tzinfo=NEW_YORK).astimezone(UTC) for day, hour in ((20, 12), (20, 20), (22, 12), (23, 20))
)


@pytest.fixture
async def town(house: House) -> Town:
    made = await Town.built(house, funds="10000.00")
    await made.ask(commands.SET_LIMIT, SetLimit("USD", daily="150.00"))
    return made


@pytest.fixture
async def operator(house: House) -> Person:
    return await add(house, "operator", name="who settles at all hours")


async def looked_at(operator: Person, name: str, at: datetime) -> bool:
    """Execute a settlement at an hour, and tell whether a person has to look at it."""
    with time_machine.travel(at, tick=True):
        answer = ok(await operator.client.post("/api/v1/settlements", json=obligation(name, amount="100.00")))
    return bool(answer.get("waiting_for") == "review")


async def test_without_hours_a_day_ends_at_midnight_in_utc(town: Town, operator: Person) -> None:
    del town
    late, early = datetime(2030, 5, 6, 23, 30, tzinfo=UTC), datetime(2030, 5, 7, 0, 30, tzinfo=UTC)
    assert not await looked_at(operator, "OBL-1", late)
    assert await looked_at(operator, "OBL-2", late)
    assert not await looked_at(operator, "OBL-3", early)


async def test_with_hours_a_day_goes_from_one_cut_off_to_the_next_however_long_that_is(town: Town, operator: Person) -> None:
    await town.ask(commands.SET_WINDOW, SetWindow("USD", "FEDWIRE"))
    assert not await looked_at(operator, "OBL-1", FRIDAY)
    assert not await looked_at(operator, "OBL-2", FRIDAY_NIGHT)  # eight hours later, and Monday's already
    assert await looked_at(operator, "OBL-3", SUNDAY)  # forty hours later, and Monday's still
    assert not await looked_at(operator, "OBL-4", MONDAY_NIGHT)


@pytest.mark.parametrize("name", ["FEDWIRE", "TARGET2", "CHAPS"])
def test_the_start_of_a_business_day_is_the_first_instant_of_its_date(name: str) -> None:
    window: Window = rule(name).window
    for at in (FRIDAY, FRIDAY_NIGHT, SUNDAY, MONDAY_NIGHT):
        start = business_day_start(window, at)
        assert start <= at
        assert business_date_of(window, start) == business_date_of(window, at)
        assert business_date_of(window, start - datetime.resolution) < business_date_of(window, at)

"""A settlement from acceptance to its end, as the bank's word has it: whole, in part, late, twice, never, and given back."""

import pytest

from clearhouse.slices.interbank.settlement import State
from house import House
from town import Town


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


async def test_a_settlement_is_sent_confirmed_and_booked_on_both_sides(town: Town) -> None:
    accepted = await town.execute("100.00")
    assert accepted.state is State.FUNDS_LOCKED
    assert await town.funds() == {"vostro": ("1000.00", "100.00"), "nostro": ("1000.00", "100.00")}
    await town.settle()
    assert (await town.show(accepted)).state is State.COMPLETED
    assert await town.funds() == {"vostro": ("900.00", "0.00"), "nostro": ("900.00", "0.00")}
    assert await town.paid(accepted) == (1, "100.00")

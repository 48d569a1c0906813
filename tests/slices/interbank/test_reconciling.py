"""Our nostros against what their banks say: the same line by line, or a break for whatever is not."""

import pytest

from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.reconciling import Report
from house import House
from town import PAYEE, Town


@pytest.fixture
async def town(house: House) -> Town:
    made = await Town.built(house)
    for _ in range(5):
        await made.execute("10.00")
    await made.settle()
    return made


async def compared(town: Town) -> Report:
    return (await town.compare())[0]


def told(report: Report) -> tuple[str, str, int, int, int]:
    return report.status, report.difference, report.matched, report.missing, report.unexpected


async def test_what_both_say_alike_is_balanced_however_often_it_is_compared(town: Town) -> None:
    assert told(await compared(town)) == ("BALANCED", "0.00", 6, 0, 0)
    assert told(await compared(town)) == ("BALANCED", "0.00", 0, 0, 0)


async def test_a_line_that_the_bank_leaves_out_is_a_break_until_it_says_it(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.MISSING, next=1))
    assert (await compared(town)).missing == 1


async def test_a_line_that_only_the_bank_has_is_a_break(town: Town) -> None:
    await town.bank.control.fund(f"{PAYEE}:USD", "7.00", reference="interest")
    first = await compared(town)
    assert told(first) == ("IDENTIFIED", "-7.00", 6, 0, 1)
    assert told(await compared(town)) == ("UNRESOLVED", "-7.00", 0, 0, 1)


async def test_a_line_with_another_amount_is_a_break_on_both_sides(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.WRONG, next=1))
    found = await compared(town)
    assert (found.status, found.missing, found.unexpected) == ("INVESTIGATION_REQUIRED", 1, 1)


async def test_a_return_is_matched_with_what_we_booked_for_it(town: Town) -> None:
    done = await town.execute("20.00")
    await town.settle()
    await town.give_back(done)
    await town.settle()
    assert told(await compared(town)) == ("BALANCED", "0.00", 8, 0, 0)

"""Settlements against a bank that lies, the worker killed again and again: nobody is paid twice, no lock freed early."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine

from clearhouse import clock
from clearhouse.app.worker import expire_holds
from clearhouse.slices.interbank import commands, reading
from clearhouse.slices.interbank.bank.lies import Fault, Lie, Rest
from clearhouse.slices.interbank.reading import Wanted
from clearhouse.slices.interbank.settlement import ENDED, ExecuteSettlement, Settlement, State
from house import House
from settling import working
from town import PAYEE, PAYER, Town
from trying import SOAK

SETTLEMENTS = 10_000 if SOAK else 200
KILLS = 20 if SOAK else 3
FUNDS = "1000000.00"
LIES = (
    Lie(Fault.LOSE_AFTER, share=0.1),
    Lie(Fault.LOSE_BEFORE, share=0.05),
    Lie(Fault.TWICE, share=0.1),
    Lie(Fault.PART, share=0.05, part=0.3, rest=Rest.LATER, seconds=60),
    Lie(Fault.PART, share=0.04, part=0.3, rest=Rest.REJECTED, seconds=60),
    Lie(Fault.REJECT, share=0.1, code="AC04"),
    Lie(Fault.REFUSE, share=0.05, code="AC04"),
    Lie(Fault.SLOW, share=0.2, seconds=400),
    Lie(Fault.RETURN, share=0.05, seconds=3600),
)


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house, funds=FUNDS)


async def everything(town: Town) -> list[Settlement]:
    async with town.house.database.reading([1]) as tx:
        found = await reading.listed(tx, Wanted(), most=1_000_000)
    return [each for each in found if each.compensates is None]


async def ask(town: Town, batch: int, count: int) -> None:
    asked = [ExecuteSettlement(f"OBL-{batch}-{each}", PAYER, PAYEE, "10.00", "USD") for each in range(count)]
    await town.ask_all(commands.EXECUTE_SETTLEMENT, asked)


async def waiting(town: Town) -> set[str]:
    """Return what was not sent yet."""
    async with town.house.database.reading([1]) as tx:
        found = await reading.listed(tx, Wanted(state=State.FUNDS_LOCKED.value), most=1_000_000)
    return {each.id for each in found}


async def killed(town: Town, dsn: str) -> None:
    """Let a worker work until it has sent something, and kill it as it stands."""
    before = await waiting(town)
    with working(dsn) as process:
        while before and before <= await waiting(town) and process.poll() is None:  # noqa: ASYNC110 - it happens in the rows
            await asyncio.sleep(0)
        process.kill()


async def test_whatever_the_bank_tells_and_however_often_we_die_nobody_is_paid_twice(town: Town, app_dsn: str) -> None:
    await town.bank.control.lie(*LIES)
    share = SETTLEMENTS // KILLS
    for kill in range(KILLS):
        await ask(town, kill, share)
        await killed(town, app_dsn)
    await ask(town, KILLS, share)  # and these meet the lies alone
    await town.settle()
    for hours in range(1, 6):
        with time_machine.travel(clock.now() + timedelta(hours=hours), tick=True):
            await expire_holds(town.house.database)
            await town.settle()
    found = await everything(town)
    assert len(found) == share * (KILLS + 1)
    assert {each.state for each in found} <= ENDED | {State.IN_DOUBT}
    assert all(each.reason for each in found if each.state is State.IN_DOUBT)
    truth = {each.id: each for each in await town.bank.control.paid([UUID(each.uetr) for each in found])}
    wrong = [
        (each.id, each.state, each.captured, truth[UUID(each.uetr)].debited)
        for each in found
        if UUID(each.uetr) in truth and each.captured != truth[UUID(each.uetr)].debited
    ]
    assert wrong == []
    assert sum(each.state is State.COMPLETED for each in found) > len(found) / 2
    assert all(each.captured in {"0.00", "3.00", "10.00"} for each in found)
    await balanced(town, found)


async def balanced(town: Town, found: list[Settlement]) -> None:
    """Our nostro is what the bank says it is, both sides moved alike, and nothing is held but what is in doubt."""
    ours = await town.funds()
    theirs = next(each for each in await town.bank.control.balances() if each.account == f"{PAYEE}:USD")
    doubtful = sum(1 for each in found if each.state is State.IN_DOUBT)
    assert ours["nostro"][0] == ours["vostro"][0] == theirs.balance
    assert doubtful or ours["nostro"][1] == ours["vostro"][1] == "0.00"
    (report,) = await town.compare()
    assert (report.status, report.difference) == ("BALANCED", "0.00")

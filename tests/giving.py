"""Giving up what is in doubt: orders that left and came nowhere yet, and two people who want their funds free."""

from uuid import UUID

from clearhouse.slices.interbank import commands, doubts
from clearhouse.slices.interbank.channel import PaymentOrder
from clearhouse.slices.interbank.settlement import Settlement, State
from clearhouse.slices.interbank.stopping import Release, ReleaseSettlement
from papers import Desk
from town import Town


def giving_up(settlement: Settlement) -> ReleaseSettlement:
    return ReleaseSettlement(settlement.id, "the bank denies it")


async def overdue(town: Town) -> None:
    """Let the time for a word be over for what was sent."""
    async with town.house.database.writing(book=1) as tx:
        await tx.do(
            "UPDATE settlement_transactions SET next_at = now() - interval '1 second'"
            " WHERE state IN ('EXECUTING', 'CONFIRMING')"
        )
    await town.advance(*doubts.STAGES[:2])


async def doubtful(town: Town, count: int) -> tuple[list[Settlement], list[PaymentOrder]]:
    """Return settlements whose orders left and came nowhere yet, and those orders."""
    made = [await town.execute("10.00") for _ in range(count)]
    orders = await town.initiated()
    await overdue(town)
    return [await town.show(each) for each in made], orders


async def asked_for(town: Town, desk: Desk, *wanted: Settlement) -> None:
    """Let two people want to give settlements up."""
    for each in wanted:
        approval = (await town.ask(commands.RELEASE, giving_up(each))).approval
        assert await desk.approve("anna", approval.id) == "approved"


async def freed(town: Town, *wanted: Settlement) -> list[State]:
    """Return what becomes of settlements that two people want to give up."""
    answers: list[Release] = [await town.ask(commands.RELEASE, giving_up(each)) for each in wanted]
    return [each.settlement.state for each in answers]


async def given_up(town: Town, desk: Desk, *wanted: Settlement) -> None:
    """Give up settlements that are in doubt, once their bank has denied them."""
    await asked_for(town, desk, *wanted)
    await town.advance(*doubts.STAGES)
    assert {*await freed(town, *wanted)} == {State.FAILED}


async def lost(town: Town, desk: Desk) -> tuple[Settlement, PaymentOrder]:
    """Return a settlement that was given up, and its order, which is in the network still."""
    (one,), (order,) = await doubtful(town, 1)
    await given_up(town, desk, one)
    assert (await town.bank.ask([UUID(one.uetr)]))[0].state.value == "unknown"
    return await town.show(one), order

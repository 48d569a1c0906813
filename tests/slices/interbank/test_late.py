"""Words that come when nobody waits for them any more: none is booked twice or lost, and none keeps others waiting."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine

from clearhouse import clock
from clearhouse.slices.interbank import commands, doubts, listening, reading
from clearhouse.slices.interbank.answers import Said, Word
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.banks import ChangeBankAccount
from clearhouse.slices.interbank.channel import Ack, PaymentOrder, Status
from clearhouse.slices.interbank.channel import Said as BankSaid
from clearhouse.slices.interbank.settlement import Settlement, State
from clearhouse.slices.interbank.stopping import AlreadyEnded, BeingAsked, CancelSettlement, ReleaseSettlement
from house import House, balance
from papers import Desk
from town import PAYER, Town

UNTOUCHED = {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}
PAID = {"vostro": ("900.00", "0.00"), "nostro": ("900.00", "0.00")}
PAUSE = timedelta(minutes=2)


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
async def desk(house: House) -> Desk:
    made = Desk(house)
    await made.hire("anna", "approver")
    return made


async def say(town: Town, settlement: Settlement, said: Said, total: str) -> None:
    await listening.hear(town.line, [Word(UUID(settlement.uetr), said, total, "AC04" if said == "returned" else "")])


async def suspense(town: Town) -> str:
    """Return what lies in suspense, as the house's accounts have it: a debit has a minus."""
    return await balance(await town.house.caller("auditor", name="who looks"), "suspense:USD")


async def refused(town: Town, attempts: int = 1) -> Sequence[Settlement]:
    """Return a settlement as it was after each attempt that the bank has refused for now."""
    accepted = await town.execute()
    await town.bank.control.lie(Lie(Fault.REFUSE, code="AM04"))
    seen: list[Settlement] = []
    for number in range(attempts):
        with time_machine.travel(clock.now() + timedelta(hours=number), tick=True):
            await town.settle()
            seen.append(await town.show(accepted))
    await town.bank.control.honest()
    return seen


async def released(town: Town, desk: Desk) -> Settlement:
    """Return a settlement that two people have given up."""
    doubtful = await town.doubtful("100.00")
    asked = ReleaseSettlement(doubtful.id, "the bank denies it")
    approval = (await town.ask(commands.RELEASE, asked)).approval
    assert await desk.approve("anna", approval.id) == "approved"
    await town.advance(*doubts.STAGES)
    await town.ask(commands.RELEASE, asked)
    return doubtful


async def test_an_order_that_was_refused_and_is_confirmed_twice_after_all_goes_to_suspense_once(town: Town) -> None:
    (first,) = await refused(town)
    with time_machine.travel(clock.now() + PAUSE, tick=True):
        await town.settle()
    assert ((await town.show(first)).state, await town.funds()) == (State.COMPLETED, PAID)
    for total in ("40.00", "40.00", "100.00", "100.00"):
        await say(town, first, "confirmed", total)
    assert await town.funds() == {"vostro": ("900.00", "0.00"), "nostro": ("800.00", "0.00")}
    assert (await suspense(town), await town.alerts()) == ("-100.00", 2)


async def test_of_two_orders_that_were_refused_and_confirmed_after_all_each_goes_to_suspense(town: Town) -> None:
    tried = await refused(town, attempts=2)
    assert len({each.uetr for each in tried}) == 2
    for each in tried:
        await say(town, each, "confirmed", "100.00")
    assert await town.funds() == {"vostro": ("1000.00", "0.00"), "nostro": ("800.00", "0.00")}
    assert await suspense(town) == "-200.00"


async def test_what_was_given_up_left_and_came_back_leaves_nothing_in_suspense(town: Town, desk: Desk) -> None:
    given_up = await released(town, desk)
    for said, total in (("confirmed", "100.00"), ("returned", "30.00"), ("returned", "100.00"), ("returned", "100.00")):
        await say(town, given_up, said, total)  # type: ignore[arg-type] - words of the table
    assert (await town.funds(), await suspense(town)) == (UNTOUCHED, "0.00")
    assert (await town.show(given_up)).state is State.FAILED


async def test_what_comes_back_to_a_frozen_account_waits_in_suspense_with_an_alert(town: Town) -> None:
    done = await town.execute()
    await town.settle()
    await town.ask(commands.CHANGE_ACCOUNT, ChangeBankAccount("vostro", PAYER, "USD", "frozen"))
    for _ in range(2):
        await say(town, done, "returned", "100.00")
    assert await town.funds() == {"vostro": ("900.00", "0.00"), "nostro": ("1000.00", "0.00")}
    assert (await suspense(town), await town.alerts()) == ("100.00", 1)
    async with town.house.database.reading([1]) as tx:
        found = await reading.detail(tx, done.id)
    assert (found.settlement.state, found.settlement.returned) == (State.COMPLETED, "100.00")
    assert [(each.cause, each.amount, each.settlement) for each in found.compensations] == [("return", "100.00", None)]


async def test_a_word_that_cannot_be_booked_of_what_has_ended_is_told_as_an_alert(town: Town) -> None:
    done = await town.execute()
    await town.settle()
    for side, bank in (("vostro", PAYER), ("nostro", "DEUTDEFF")):
        await town.ask(commands.CHANGE_ACCOUNT, ChangeBankAccount(side, bank, "USD", "frozen"))  # type: ignore[arg-type] - one of the two sides
    await say(town, done, "returned", "100.00")
    assert ((await town.show(done)).state, await town.alerts()) == (State.COMPLETED, 1)


async def test_an_obligation_named_like_a_return_keeps_no_return_out(town: Town) -> None:
    done = await town.execute()
    await town.settle()
    for name in (f"return:100.00:{done.id}", f"return:100.00{done.id}"):
        await town.execute("1.00", obligation_id=name)
    await say(town, done, "returned", "100.00")
    assert (await town.show(done)).returned == "100.00"


async def test_nobody_gives_up_what_the_bank_is_being_asked_about(town: Town, desk: Desk) -> None:
    doubtful = await town.doubtful()
    asked = ReleaseSettlement(doubtful.id, "the bank denies it")
    approval = (await town.ask(commands.RELEASE, asked)).approval
    assert await desk.approve("anna", approval.id) == "approved"

    async def meanwhile(orders: Sequence[UUID]) -> list[Status]:
        with pytest.raises(BeingAsked):
            await town.ask(commands.RELEASE, asked)
        return await ask(orders)

    ask, town.bank.ask = town.bank.ask, meanwhile  # what happens while the bank is asked
    await town.advance(*doubts.STAGES)
    assert (await town.ask(commands.RELEASE, asked)).settlement.state is State.FAILED


async def test_a_bank_that_has_the_id_already_has_refused_nothing(town: Town) -> None:
    accepted = await town.execute()

    async def twice(orders: Sequence[PaymentOrder]) -> list[Ack]:
        await send(orders)
        return [Ack(each.id, BankSaid.REFUSED, "AM05", "this id was used") for each in orders]

    send, town.bank.send = town.bank.send, twice  # as if a line had brought it twice
    await listening.hear(town.line, await town.line.pay(await town.initiated()))
    assert ((await town.show(accepted)).state, (await town.funds())["vostro"]) == (State.IN_DOUBT, ("1000.00", "100.00"))
    await town.settle()
    assert ((await town.show(accepted)).state, await town.funds()) == (State.COMPLETED, PAID)


async def test_what_failed_and_would_be_tried_again_can_be_stopped(town: Town) -> None:
    (failed,) = await refused(town)
    assert failed.waiting_for == "retry"
    stopped = await town.ask(commands.CANCEL, CancelSettlement(failed.id))
    assert (stopped.state, stopped.waiting_for, stopped.due_at) == (State.FAILED, None, None)
    with time_machine.travel(clock.now() + PAUSE, tick=True):
        await town.settle()
    assert ((await town.show(failed)).state, await town.funds()) == (State.FAILED, UNTOUCHED)
    with pytest.raises(AlreadyEnded):
        await town.ask(commands.CANCEL, CancelSettlement(failed.id))

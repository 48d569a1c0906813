"""A settlement from acceptance to its end, as the bank's word has it: whole, in part, late, twice, never, and given back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import time_machine

from clearhouse import clock
from clearhouse.app.worker import expire_holds
from clearhouse.slices.interbank import commands, listening, reading, turns
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.bank.lies import Fault, Lie, Outage, Rest
from clearhouse.slices.interbank.channel import Method
from clearhouse.slices.interbank.settlement import Priority, Settlement, State
from clearhouse.slices.interbank.stopping import AlreadySent, CancelSettlement
from house import House
from town import Town

UNTOUCHED = {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}
HELD = {"vostro": ("1000.00", "100.00"), "nostro": ("1000.00", "100.00")}
PAID = {"vostro": ("900.00", "0.00"), "nostro": ("900.00", "0.00")}
TUESDAY = datetime(2026, 11, 24, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
Lying = Callable[[Settlement], Lie]


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


async def met(town: Town, fault: Fault, **how: object) -> Settlement:
    """Return a settlement that met a lie, after everything that can be done at this hour."""
    accepted = await town.execute()
    await town.bank.control.lie(Lie(fault, ids=[UUID(accepted.uetr)], **how))  # pyright: ignore[reportArgumentType] - as the lie has them
    await town.settle()
    return await town.show(accepted)


async def test_a_settlement_is_sent_confirmed_and_booked_on_both_sides(town: Town) -> None:
    accepted = await town.execute("100.00")
    assert accepted.state is State.FUNDS_LOCKED
    assert await town.funds() == HELD
    await town.settle()
    assert (await town.show(accepted)).state is State.COMPLETED
    assert await town.funds() == PAID
    assert await town.paid(accepted) == (1, "100.00")


async def test_every_step_leaves_its_time(town: Town) -> None:
    accepted = await town.execute()
    await town.settle()
    async with town.house.database.reading([1]) as tx:
        steps = (await reading.detail(tx, accepted.id)).checkpoints
    assert [each.step for each in steps] == ["LOCK", "VALIDATION", "INITIATE", "CONFIRM", "FINALIZE"]
    assert [each.at for each in steps] == sorted(each.at for each in steps)


@pytest.mark.parametrize("method", list(Method))
async def test_a_settlement_completes_by_every_method(house: House, method: Method) -> None:
    currency = "EUR" if method is Method.SEPA else "USD"
    with time_machine.travel(TUESDAY, tick=True):
        town = await Town.built(house, currency=currency)
        accepted = await town.execute(currency=currency, method=method)
        await town.settle()
        assert (await town.show(accepted)).state is State.COMPLETED
        assert await town.funds(currency) == PAID


async def test_the_urgent_go_before_the_high_and_those_before_the_normal_until_these_have_waited_long(town: Town) -> None:
    old = await town.execute("1.00")
    with time_machine.travel(clock.now() + 6 * MINUTE, tick=True):
        made = {
            each: await town.execute("1.00", priority=each) for each in (Priority.NORMAL, Priority.HIGH, Priority.URGENT)
        }
        turn = await town.initiated()
    wanted = [old, made[Priority.URGENT], made[Priority.HIGH], made[Priority.NORMAL]]
    assert [str(each.id) for each in turn] == [each.uetr for each in wanted]


async def test_a_bank_that_loses_the_answer_after_accepting_leaves_it_in_doubt_until_it_is_asked(town: Town) -> None:
    accepted = await town.execute()
    one = [UUID(accepted.uetr)]
    await town.bank.control.lie(Lie(Fault.LOSE_AFTER, ids=one), Lie(Fault.SLOW, ids=one, seconds=60))
    await town.advance(turns.STAGE)
    assert (await town.show(accepted)).state is State.IN_DOUBT
    assert await town.funds() == HELD
    with time_machine.travel(clock.now() + 2 * MINUTE, tick=True):
        await town.settle()
    assert (await town.show(accepted)).state is State.COMPLETED
    assert await town.paid(accepted) == (1, "100.00")


async def test_what_never_reached_the_bank_is_sent_again_under_the_same_id_and_paid_once(town: Town) -> None:
    accepted = await met(town, Fault.LOSE_BEFORE)
    for _ in range(3):
        with time_machine.travel(clock.now() + 20 * MINUTE, tick=True):
            await town.bank.control.honest()
            await town.settle()
    assert (await town.show(accepted)).state is State.COMPLETED
    assert await town.paid(accepted) == (1, "100.00")


async def test_a_word_that_does_not_come_in_time_is_a_doubt_and_no_failure(town: Town) -> None:
    slow = await met(town, Fault.SLOW, seconds=3600)
    assert slow.state is State.CONFIRMING
    with time_machine.travel(clock.now() + 6 * MINUTE, tick=True):
        await town.settle()
        doubted = await town.show(slow)
    assert (doubted.state, doubted.reason) == (State.IN_DOUBT, "no_word_in_time")
    assert await town.funds() == HELD


async def test_a_late_confirmation_completes_it_long_after_its_lock_would_have_expired(town: Town) -> None:
    slow = await met(town, Fault.SLOW, seconds=7200)
    for hours in (1, 3):
        with time_machine.travel(clock.now() + timedelta(hours=hours), tick=True):
            await expire_holds(town.house.database)
            await town.settle()
    assert (await town.show(slow)).state is State.COMPLETED
    assert await town.funds() == PAID


async def test_a_confirmation_that_comes_twice_is_booked_once(town: Town) -> None:
    twice = await met(town, Fault.TWICE)
    await listening.hear(town.line, [Word(UUID(twice.uetr), "confirmed", "100.00")] * 2)
    assert (await town.show(twice)).state is State.COMPLETED
    assert await town.funds() == PAID


async def test_a_partial_confirmation_books_its_part_and_holds_the_rest(town: Town) -> None:
    partly = await met(town, Fault.PART, part=0.4, rest=Rest.LATER, seconds=3600)
    assert (partly.state, partly.captured) == (State.CONFIRMING, "40.00")
    assert await town.funds() == {"vostro": ("960.00", "60.00"), "nostro": ("960.00", "60.00")}
    with time_machine.travel(clock.now() + timedelta(hours=2), tick=True):
        await expire_holds(town.house.database)
        await town.settle()
    assert (await town.show(partly)).state is State.COMPLETED
    assert await town.funds() == PAID


async def test_when_the_rest_of_a_partial_confirmation_is_rejected_the_part_stays_and_the_rest_is_free(town: Town) -> None:
    partly = await met(town, Fault.PART, part=0.4, rest=Rest.REJECTED)
    assert (partly.state, partly.captured) == (State.FAILED, "40.00")
    assert await town.funds() == {"vostro": ("960.00", "0.00"), "nostro": ("960.00", "0.00")}
    assert await town.paid(partly) == (1, "40.00")


async def test_a_payment_that_is_refused_frees_its_funds(town: Town) -> None:
    refused = await met(town, Fault.REFUSE, code="AC04")
    assert (refused.state, refused.reason, refused.waiting_for) == (State.FAILED, "AC04", None)
    assert await town.funds() == UNTOUCHED


async def test_a_payment_that_is_rejected_after_it_was_accepted_frees_its_funds(town: Town) -> None:
    rejected = await met(town, Fault.REJECT, code="AC04")
    assert (rejected.state, rejected.reason) == (State.FAILED, "AC04")
    assert await town.funds() == UNTOUCHED


async def test_what_may_succeed_another_time_is_tried_again_under_a_new_id(town: Town) -> None:
    refused = await met(town, Fault.REFUSE, code="AM04")
    assert (refused.state, refused.waiting_for) == (State.FAILED, "retry")
    with time_machine.travel(clock.now() + 2 * MINUTE, tick=True):
        await town.settle()
    again = await town.show(refused)
    assert (again.state, again.attempts) == (State.COMPLETED, 2)
    assert again.uetr != refused.uetr
    assert await town.funds() == PAID


async def test_after_three_retries_it_is_over(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.REFUSE, code="AM04"))
    accepted = await town.execute()
    for hours in range(8):
        with time_machine.travel(clock.now() + timedelta(hours=hours), tick=True):
            await town.settle()
    over = await town.show(accepted)
    assert (over.state, over.attempts, over.waiting_for) == (State.FAILED, 4, None)
    assert await town.funds() == UNTOUCHED


async def test_what_comes_back_days_later_is_a_settlement_of_its_own_and_the_first_stays_completed(town: Town) -> None:
    returned = await met(town, Fault.RETURN, seconds=3 * 86400, code="AC04")
    assert returned.state is State.COMPLETED
    await town.bank.control.move_clock(4 * 86400)
    await town.settle()
    async with town.house.database.reading([1]) as tx:
        found = await reading.detail(tx, returned.id)
        back = await reading.find(tx, str(found.compensations[0].settlement))
    assert (found.settlement.state, found.settlement.returned) == (State.COMPLETED, "100.00")
    assert (back.state, back.compensates, back.from_bank) == (State.COMPLETED, returned.id, returned.to_bank)
    assert await town.funds() == UNTOUCHED


async def test_a_return_that_is_told_twice_is_booked_once(town: Town) -> None:
    done = await town.execute()
    await town.settle()
    for _ in range(2):
        await listening.hear(town.line, [Word(UUID(done.uetr), "returned", "100.00", "AC04")])
    assert await town.funds() == UNTOUCHED


async def test_a_bank_that_cannot_be_reached_fails_nothing_for_good(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.DOWN, outage=Outage.NOT_SENT))
    accepted = await town.execute()
    await town.settle()
    failed = await town.show(accepted)
    assert (failed.state, failed.reason, failed.waiting_for) == (State.FAILED, "bank_not_reached", "retry")
    assert await town.funds() == UNTOUCHED
    await town.bank.control.honest()
    with time_machine.travel(clock.now() + 2 * MINUTE, tick=True):
        await town.settle()
    assert (await town.show(accepted)).state is State.COMPLETED


async def test_a_lock_that_expires_before_it_was_sent_rolls_the_settlement_back(town: Town) -> None:
    accepted = await town.execute()
    with time_machine.travel(clock.now() + 11 * MINUTE, tick=True):
        await expire_holds(town.house.database)
        await town.settle()
    rolled_back = await town.show(accepted)
    assert (rolled_back.state, rolled_back.reason) == (State.ROLLED_BACK, "lock_expired")
    assert await town.funds() == UNTOUCHED
    assert await town.paid(accepted) == (0, "0")


async def test_before_it_is_sent_it_is_cancelled_and_afterwards_it_is_not(town: Town) -> None:
    unsent = await town.execute()
    cancelled = await town.ask(commands.CANCEL, CancelSettlement(unsent.id))
    assert (cancelled.state, cancelled.reason) == (State.ROLLED_BACK, "CANCELLED")
    assert await town.funds() == UNTOUCHED
    sent = await town.doubtful()
    with pytest.raises(AlreadySent):
        await town.ask(commands.CANCEL, CancelSettlement(sent.id))

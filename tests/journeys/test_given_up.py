"""What was in doubt and given up, once the bank has denied it: whatever is heard after that, our books are the bank's."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from uuid import UUID

import pytest
import time_machine

from clearhouse import clock
from clearhouse.slices.interbank import commands, doubts, listening
from clearhouse.slices.interbank.answers import Word
from clearhouse.slices.interbank.bank.lies import Fault, Lie, Outage, Rest
from clearhouse.slices.interbank.channel import Notice, PaymentOrder
from clearhouse.slices.interbank.settlement import PartlyPaid, Settlement, State
from clearhouse.slices.interbank.stopping import NotDenied
from giving import asked_for, doubtful, freed, given_up, giving_up, overdue
from house import House, balance
from papers import Desk
from town import PAYEE, Town

BEGAN = {"vostro": "1000.00", "nostro": "1000.00"}
UNTOUCHED = {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}
# What the bank says of an order that it pays in two parts, confirms twice, and returns, in every order that words may have.
ORDERS = sorted(set(permutations(("partly", "confirmed", "confirmed", "returned"))))
ENDS = (State.FAILED, State.COMPLETED)


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
async def desk(house: House) -> Desk:
    made = Desk(house)
    await made.hire("anna", "approver")
    return made


async def notices(town: Town, orders: Sequence[PaymentOrder]) -> dict[UUID, dict[str, list[Notice]]]:
    """Let the bank pay orders in two parts, say the end twice, and return it all; return what it says of each."""
    own = [each.id for each in orders]
    part = Lie(Fault.PART, ids=own, part=0.4, rest=Rest.LATER, seconds=60)
    await town.bank.control.lie(part)
    await town.bank.send(orders)
    await town.bank.control.move_clock(60)
    await town.bank.news()
    await town.bank.control.send_back(own)
    found: dict[UUID, dict[str, list[Notice]]] = defaultdict(lambda: defaultdict(list))
    for each in (await town.bank.news()).notices:
        found[each.id][each.state.value].append(each)
    return found


async def hear(town: Town, said: dict[str, list[Notice]], words: Sequence[str]) -> None:
    for each in words:
        for notice in said[each][:1]:
            word = listening.told(notice)
            assert word is not None
            await listening.hear(town.line, [word])


@pytest.mark.parametrize("end", ENDS, ids=["given up", "in doubt"])
async def test_in_whatever_order_words_come_our_books_are_the_banks(town: Town, desk: Desk, end: State) -> None:
    made, orders = await doubtful(town, len(ORDERS))
    if end is State.FAILED:
        await asked_for(town, desk, *made)
        await town.advance(*doubts.STAGES)
        assert {*await freed(town, *made)} == {State.FAILED}
    said, auditor = await notices(town, orders), await town.house.caller("auditor")
    for words, each in zip(ORDERS, made, strict=True):
        await hear(town, said[UUID(each.uetr)], words)
        assert {side: funds for side, (funds, _) in (await town.funds()).items()} == BEGAN, words
        assert end is State.COMPLETED or await balance(auditor, "suspense:USD") == "0.00", words
        assert (await town.show(each)).state is end
    assert await town.funds() == UNTOUCHED
    theirs = next(each for each in await town.bank.control.balances() if each.account == f"{PAYEE}:USD")
    (report,) = await town.compare()
    assert (theirs.balance, report.difference, report.status) == ("1000.00", "0.00", "BALANCED")


async def test_what_the_bank_denies_is_sent_no_more_and_freed_by_two_people(town: Town, desk: Desk) -> None:
    (one,), _ = await doubtful(town, 1)
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    assert (await town.paid(one), (await town.show(one)).state) == ((0, "0"), State.IN_DOUBT)
    assert await freed(town, one) == [State.FAILED]
    assert await town.funds() == UNTOUCHED


@pytest.mark.parametrize("outage", [Outage.NOT_SENT, Outage.BEFORE])
async def test_what_the_bank_was_not_asked_about_cannot_be_given_up(town: Town, desk: Desk, outage: Outage) -> None:
    (one,), _ = await doubtful(town, 1)
    await town.bank.control.lie(Lie(Fault.DOWN, outage=outage))
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    with pytest.raises(NotDenied):
        await freed(town, one)
    assert (await town.funds())["vostro"] == ("1000.00", "10.00")


async def test_what_the_bank_has_cannot_be_given_up_whoever_approves_it(town: Town, desk: Desk) -> None:
    (one,), orders = await doubtful(town, 1)
    await town.bank.control.lie(Lie(Fault.SLOW, seconds=900))
    await town.bank.send(orders)
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    with pytest.raises(NotDenied):
        await freed(town, one)
    await town.bank.control.move_clock(900)
    await listening.listen(town.line)
    assert ((await town.show(one)).state, await town.paid(one)) == (State.COMPLETED, (1, "10.00"))


async def test_a_denial_of_long_ago_is_none(town: Town, desk: Desk) -> None:
    (one,), _ = await doubtful(town, 1)
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    with time_machine.travel(clock.now() + timedelta(hours=1), tick=True):
        with pytest.raises(NotDenied):
            await freed(town, one)
        await town.advance(*doubts.STAGES)
        assert await freed(town, one) == [State.FAILED]


async def paid_in_part(town: Town, rest: Rest) -> Settlement:
    """Return a settlement of which the bank has paid a part, and is in doubt about the rest."""
    await town.bank.control.lie(Lie(Fault.PART, part=0.4, rest=rest))
    one = await town.execute("10.00")
    await town.settle()
    await town.bank.control.honest()
    await overdue(town)
    shown = await town.show(one)
    assert (shown.state, shown.captured) == (State.IN_DOUBT, "4.00")
    return shown


async def test_what_is_left_of_a_part_is_freed_by_two_people_when_the_bank_pays_no_more(town: Town, desk: Desk) -> None:
    one = await paid_in_part(town, Rest.ENDED)
    assert await town.funds() == {"vostro": ("996.00", "6.00"), "nostro": ("996.00", "6.00")}
    await given_up(town, desk, one)
    assert await town.funds() == {"vostro": ("996.00", "0.00"), "nostro": ("996.00", "0.00")}
    shown = await town.show(one)
    assert (shown.captured, shown.reason, (await town.compare())[0].status) == ("4.00", "released_by_hand", "BALANCED")
    with pytest.raises(PartlyPaid):
        await town.execute("6.00", obligation_id=one.obligation_id)
    await town.confirm(one, "10.00")
    assert await balance(await town.house.caller("auditor"), "suspense:USD") == "-6.00"
    assert (await town.funds(), await town.alerts()) == ({"vostro": ("996.00", "0.00"), "nostro": ("990.00", "0.00")}, 1)


async def test_what_is_left_of_a_part_cannot_be_given_up_while_the_bank_does_not_say(town: Town, desk: Desk) -> None:
    one = await paid_in_part(town, Rest.NEVER)
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    with pytest.raises(NotDenied):
        await freed(town, one)
    assert (await town.funds())["vostro"] == ("996.00", "6.00")


async def test_what_is_left_of_a_part_is_freed_when_the_bank_denies_the_rest(town: Town, desk: Desk) -> None:
    (one,), _ = await doubtful(town, 1)
    await town.confirm(one, "4.00")
    await given_up(town, desk, one)
    assert ((await town.show(one)).captured, (await town.funds())["vostro"]) == ("4.00", ("996.00", "0.00"))


async def test_a_part_that_the_bank_names_only_when_it_is_asked_is_kept_and_a_word_for_less_frees_nothing(
    town: Town, desk: Desk
) -> None:
    (one,), orders = await doubtful(town, 1)
    await town.bank.control.lie(Lie(Fault.PART, part=0.4, rest=Rest.ENDED))
    await town.bank.send(orders)
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    assert (await town.show(one)).captured == "4.00"
    assert (
        await town.ask(commands.RELEASE, giving_up(one))
    ).settlement.state is State.IN_DOUBT  # another amount: asked anew
    assert (await town.funds())["vostro"] == ("996.00", "6.00")


async def test_when_the_rest_is_rejected_after_it_was_given_up_the_obligation_is_free(town: Town, desk: Desk) -> None:
    one = await paid_in_part(town, Rest.ENDED)
    await given_up(town, desk, one)
    await listening.hear(town.line, [Word(UUID(one.uetr), "rejected", "4.00", "MS03")])
    rest = await town.execute("6.00", obligation_id=one.obligation_id)
    await town.settle()
    assert ((await town.show(rest)).state, rest.uetr == one.uetr) == (State.COMPLETED, False)
    assert await town.funds() == {"vostro": ("990.00", "0.00"), "nostro": ("990.00", "0.00")}


async def test_when_people_do_not_want_to_give_it_up_it_is_sent_again(town: Town, desk: Desk) -> None:
    (one,), _ = await doubtful(town, 1)
    approval = (await town.ask(commands.RELEASE, giving_up(one))).approval
    await town.advance(*doubts.STAGES)
    await desk.say("anna", "reject", approval.id, remark="it is urgent")
    with time_machine.travel(clock.now() + timedelta(minutes=1), tick=True):
        await town.advance(*doubts.STAGES)
        await listening.listen(town.line)
    assert ((await town.show(one)).state, await town.paid(one)) == (State.COMPLETED, (1, "10.00"))


async def test_an_order_that_arrives_after_it_was_given_up_is_in_suspense_with_an_alert(town: Town, desk: Desk) -> None:
    (one,), late = await doubtful(town, 1)
    await asked_for(town, desk, one)
    await town.advance(*doubts.STAGES)
    assert await freed(town, one) == [State.FAILED]
    await town.bank.send(late)
    await town.settle()
    assert (await town.show(one)).state is State.FAILED
    assert await town.funds() == {"vostro": ("1000.00", "0.00"), "nostro": ("990.00", "0.00")}
    assert await balance(await town.house.caller("auditor"), "suspense:USD") == "-10.00"
    assert (await town.alerts(), (await town.compare())[0].status) == (1, "BALANCED")

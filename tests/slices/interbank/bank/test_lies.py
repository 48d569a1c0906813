"""Every lie, over both ways to the bank: what it says, what it does, and what really happened."""

import asyncio
from decimal import Decimal

import pytest

from clearhouse.slices.interbank.bank.lies import Fault, Lie, Outage, Rest, chance
from clearhouse.slices.interbank.channel import NoAnswer, NotSent, State
from correspondent import NOSTRO, Correspondent, amounts, order

DAY = 86_400


async def test_an_order_that_it_refuses_is_refused_whenever_it_is_asked(bank: Correspondent) -> None:
    one = order()
    assert await bank.meet(Fault.REFUSE, one, code="RR04") == ["RR04"]
    await bank.control.honest()
    assert await bank.send(one) == ["RR04"]
    assert (await bank.status(one)).code == "RR04"
    assert await bank.holds() == ("1000.00", "0.00")


async def test_an_order_lost_on_its_way_is_unknown_until_it_is_sent_again(bank: Correspondent) -> None:
    one, other = order(), order()
    await bank.control.lie(Lie(Fault.LOSE_BEFORE, ids=[one.id]))
    assert await bank.send(one, other) == ["silent", "accepted"]
    assert (await bank.state(one), await bank.paid(one)) == (State.UNKNOWN, (0, "0.00", "0.00"))
    assert await bank.send(one) == ["accepted"]
    assert (await bank.state(one), await bank.paid(one)) == (State.CONFIRMED, (1, "100.00", "0.00"))


async def test_an_order_whose_answer_is_lost_was_paid_and_is_not_paid_again(bank: Correspondent) -> None:
    one = order()
    assert await bank.meet(Fault.LOSE_AFTER, one) == ["silent"]
    assert await bank.state(one) is State.CONFIRMED
    assert await bank.send(one) == ["accepted"]
    assert await bank.paid(one) == (1, "100.00", "0.00")


async def test_a_slow_order_keeps_its_money_aside_until_it_is_confirmed(bank: Correspondent) -> None:
    one = order()
    assert await bank.meet(Fault.SLOW, one, seconds=DAY) == ["accepted"]
    await bank.control.move_clock(DAY - 60)
    assert (await bank.state(one), await bank.holds()) == (State.ACCEPTED, ("1000.00", "100.00"))
    assert await bank.send(order("900.01")) == ["AM04"]
    await bank.control.move_clock(60)
    assert await bank.news() == [(one.id, "confirmed", "100.00", "100.00")]
    assert await bank.holds() == ("900.00", "0.00")


async def test_a_confirmation_that_comes_twice_is_of_one_payment(bank: Correspondent) -> None:
    one = order()
    await bank.meet(Fault.TWICE, one, seconds=60)
    first = await bank.channel.news()
    await bank.control.move_clock(60)
    again = await bank.channel.news(after=first.cursor)
    said, repeated = first.notices[0], again.notices[0]
    assert said.number != repeated.number
    assert (said.id, said.state, said.total) == (repeated.id, repeated.state, repeated.total)
    assert await bank.paid(one) == (1, "100.00", "0.00")
    assert amounts(await bank.lines()) == ["1000.00", "-100.00"]


async def test_an_order_is_confirmed_in_part_and_the_rest_comes_later(bank: Correspondent) -> None:
    one = order("100.01")
    await bank.meet(Fault.PART, one, part=0.4, seconds=DAY)
    status = await bank.status(one)
    assert (status.state, status.confirmed) == (State.PARTLY, "40.00")
    assert await bank.holds() == ("960.00", "60.01")
    await bank.control.move_clock(DAY)
    assert await bank.news() == [(one.id, "partly", "40.00", "40.00"), (one.id, "confirmed", "60.01", "100.01")]
    assert await bank.paid(one) == (2, "100.01", "0.00")


async def test_the_rest_of_a_part_may_never_come_or_be_rejected(bank: Correspondent) -> None:
    never, rejected = order(), order()
    await bank.meet(Fault.PART, never, rest=Rest.NEVER)
    await bank.meet(Fault.PART, rejected, rest=Rest.REJECTED, seconds=60, code="AC06")
    await bank.control.move_clock(400 * DAY)
    assert (await bank.state(never), (await bank.status(rejected)).code) == (State.PARTLY, "AC06")
    assert await bank.notices() != []
    assert (await bank.news())[-1] == (rejected.id, "rejected", "50.00", "50.00")
    assert await bank.holds() == ("900.00", "50.00")


async def test_a_part_of_the_smallest_unit_is_all_of_it(bank: Correspondent) -> None:
    one = order("0.01")
    await bank.meet(Fault.PART, one, part=0.5)
    assert await bank.news() == [(one.id, "confirmed", "0.01", "0.01")]


async def test_an_order_is_rejected_after_it_was_accepted_and_its_money_is_free_again(bank: Correspondent) -> None:
    one = order("1000.00")
    assert await bank.meet(Fault.REJECT, one, seconds=60) == ["accepted"]
    assert await bank.holds() == ("1000.00", "1000.00")
    await bank.control.move_clock(60)
    status = await bank.status(one)
    assert (status.state, status.code, status.confirmed) == (State.REJECTED, "MS03", "0.00")
    assert await bank.send(order("1000.00")) == ["accepted"]
    assert await bank.paid(one) == (0, "0.00", "0.00")


async def test_a_payment_is_returned_days_later_and_waited_in_suspense_meanwhile(bank: Correspondent) -> None:
    one = order()
    await bank.meet(Fault.RETURN, one, seconds=3 * DAY, code="AC04")
    assert (await bank.state(one), await bank.holds("(suspense)")) == (State.CONFIRMED, ("100.00", "0.00"))
    await bank.control.move_clock(3 * DAY)
    status = await bank.status(one)
    assert (status.state, status.confirmed, status.returned) == (State.RETURNED, "100.00", "100.00")
    assert (await bank.lines())[-1].kind == "return"
    assert await bank.paid(one) == (1, "100.00", "100.00")
    assert (await bank.holds(), await bank.holds("(suspense)")) == (("1000.00", "0.00"), ("0.00", "0.00"))


async def test_a_payment_that_was_credited_can_be_sent_back_from_the_payee(bank: Correspondent) -> None:
    one = order()
    await bank.send(one)
    await bank.control.send_back([one.id], code="AC06")
    await bank.control.send_back([one.id], code="AC06")
    assert (await bank.status(one)).code == "AC06"
    assert (await bank.paid(one), await bank.holds("BNPAFRPP")) == ((1, "100.00", "100.00"), ("0.00", "0.00"))
    assert await bank.is_balanced()


# A bank that is down -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outage", "raised", "state"),
    [
        (Outage.NOT_SENT, NotSent, State.UNKNOWN),
        (Outage.BEFORE, NoAnswer, State.UNKNOWN),
        (Outage.AFTER, NoAnswer, State.CONFIRMED),
    ],
)
async def test_what_a_bank_did_when_it_went_down_is_learned_by_asking_when_it_is_up(
    bank: Correspondent, outage: Outage, raised: type[Exception], state: State
) -> None:
    one = order()
    await bank.control.lie(Lie(Fault.DOWN, next=2, outage=outage))
    with pytest.raises(raised):
        await bank.send(one)
    with pytest.raises(raised):
        await bank.state(one)
    assert await bank.state(one) is state
    assert await bank.send(one) == ["accepted"]
    assert await bank.paid(one) == (1, "100.00", "0.00")


async def test_a_bank_that_is_down_for_all_is_so_until_it_is_told_to_be_honest(bank: Correspondent) -> None:
    await bank.control.lie(Lie(Fault.DOWN))
    for call in (bank.lines, bank.notices, bank.lines):
        with pytest.raises(NotSent):
            await call()
    await bank.control.honest()
    assert amounts(await bank.lines()) == ["1000.00"]


# Statements ----------------------------------------------------------------------------------------------------------


async def test_a_statement_has_missing_wrong_and_extra_lines_but_its_balances_are_true(bank: Correspondent) -> None:
    missing, wrong, right = order("1.00"), order("2.00"), order("3.00")
    await bank.send(missing, wrong, right)
    await bank.control.lie(Lie(Fault.MISSING, ids=[missing.id]), Lie(Fault.WRONG, ids=[wrong.id]))
    await bank.control.lie(Lie(Fault.EXTRA, ids=[right.id]))
    page = await bank.channel.statement(NOSTRO)
    assert amounts(page.lines) == ["1000.00", "-2.01", "-3.00", "-3.00"]
    assert (page.lines[-1].id, page.opening, page.closing) == (None, "0.00", "994.00")
    assert page == await bank.channel.statement(NOSTRO)
    await bank.control.honest()
    told = amounts(await bank.lines())
    assert (told, sum(map(Decimal, told))) == (["1000.00", "-1.00", "-2.00", "-3.00"], Decimal("994.00"))


async def test_the_first_lines_of_every_statement_are_told_wrong(bank: Correspondent) -> None:
    await bank.send(order("1.00"), order("2.00"))
    await bank.control.lie(Lie(Fault.WRONG, next=2))
    for _ in range(2):
        assert amounts(await bank.lines()) == ["1000.01", "-1.01", "-2.00"]


# Of whom -------------------------------------------------------------------------------------------------------------


async def test_a_lie_of_the_next_orders_is_told_so_often_and_no_more(bank: Correspondent) -> None:
    await bank.control.lie(Lie(Fault.REFUSE, next=3))
    orders = [order("1.00") for _ in range(5)]
    assert await bank.send(*orders[:2]) == ["MS03", "MS03"]
    assert await bank.send(*orders[2:]) == ["MS03", "accepted", "accepted"]
    assert (await bank.control.settings()).lies == []


async def test_the_answer_and_the_course_of_one_order_may_both_be_lies(bank: Correspondent) -> None:
    one = order()
    await bank.control.lie(Lie(Fault.LOSE_AFTER, next=1), Lie(Fault.PART, next=1, rest=Rest.NEVER))
    assert await bank.send(one) == ["silent"]
    assert (await bank.status(one)).confirmed == "50.00"


async def test_under_one_seed_the_same_orders_meet_the_same_lies_in_whatever_batches(bank: Correspondent) -> None:
    await bank.control.set_seed(7)
    await bank.control.lie(Lie(Fault.LOSE_BEFORE, share=0.5))
    orders = [order("1.00") for _ in range(20)]
    drawn = ["silent" if chance(7, Fault.LOSE_BEFORE, str(each.id)) < 0.5 else "accepted" for each in orders]
    assert {"silent", "accepted"} == set(drawn)
    assert [*await bank.send(*orders[:3]), *await bank.send(*orders[3:])] == drawn
    assert await bank.send(*orders) == ["accepted"] * len(orders)


async def test_a_lie_that_says_twice_of_whom_it_is_told_is_refused(bank: Correspondent) -> None:
    for lie in (Lie(Fault.SLOW, next=1, share=0.5), Lie(Fault.DOWN, share=0.5)):
        with pytest.raises(Exception, match=r"one of the three|took nothing"):
            await bank.control.lie(lie)


async def test_while_many_send_at_once_news_leave_nobody_out(bank: Correspondent) -> None:
    batches = [[order("0.01") for _ in range(20)] for _ in range(10)]
    heard: list[str] = []

    async def listen() -> None:
        cursor = ""
        while len(heard) < 200:
            news = await bank.channel.news(after=cursor, most=7)
            heard.extend(str(each.id) for each in news.notices)
            cursor = news.cursor

    async with asyncio.timeout(60):
        await asyncio.gather(listen(), *(bank.send(*each) for each in batches))
    assert len(heard) == len(set(heard)) == 200
    assert await bank.is_balanced()

"""Orders at an honest bank: taken once, paid once, refused for a reason, and told by news and statements."""

from datetime import UTC, datetime, time
from decimal import Decimal

import pytest
import time_machine

from clearhouse import clock
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.bank.control import AccountMissing, ClockTurnedBack, DecimalsUnknown, OpenAccount
from clearhouse.slices.interbank.bank.methods import AS_IN_LIFE, Late, Terms
from clearhouse.slices.interbank.channel import BATCH_MAX, Method, NotTaken, State, StatementLine
from correspondent import NOSTRO, Correspondent, amounts, order

EURO = "DEUTDEFF:EUR"


async def test_an_honest_bank_pays_at_once_and_says_so_by_itself(bank: Correspondent) -> None:
    one = order("100.00", reference="bill 7")
    assert await bank.send(one) == ["accepted"]
    status = await bank.status(one)
    assert (status.state, status.confirmed, status.returned) == (State.CONFIRMED, "100.00", "0.00")
    assert await bank.news() == [(one.id, "confirmed", "100.00", "100.00")]
    assert await bank.paid(one) == (1, "100.00", "0.00")
    assert await bank.holds() == ("900.00", "0.00")
    assert await bank.holds("BNPAFRPP") == ("100.00", "0.00")
    assert await bank.is_balanced()


async def test_the_same_order_again_has_the_same_answer_and_pays_nothing(bank: Correspondent) -> None:
    one = order()
    assert await bank.send(one, one) == ["accepted", "accepted"]
    assert await bank.send(one) == ["accepted"]
    assert await bank.paid(one) == (1, "100.00", "0.00")
    assert len(await bank.notices()) == 1


async def test_another_order_under_a_used_id_is_refused_and_the_first_one_stands(bank: Correspondent) -> None:
    one = order("100.00")
    others = [order("100.01", id=one.id), order(id=one.id, payee="CITIUS33"), order(id=one.id, reference="another")]
    assert await bank.send(one, *others) == ["accepted", "AM05", "AM05", "AM05"]
    assert await bank.paid(one) == (1, "100.00", "0.00")


async def test_a_refused_order_is_refused_again_even_if_it_could_be_paid_by_now(bank: Correspondent) -> None:
    dear = order("1000.01")
    assert await bank.send(dear) == ["AM04"]
    await bank.control.fund(NOSTRO, "500.00", reference="top up")
    assert await bank.send(dear, order("1000.01")) == ["AM04", "accepted"]
    status = await bank.status(dear)
    assert (status.state, status.code) == (State.REJECTED, "AM04")
    assert await bank.paid(dear) == (0, "0.00", "0.00")


async def test_an_order_that_never_came_is_unknown(bank: Correspondent) -> None:
    never, came = order(), order()
    await bank.send(came)
    assert [each.state for each in await bank.channel.ask([never.id, came.id])] == [State.UNKNOWN, State.CONFIRMED]
    assert await bank.channel.ask([]) == []
    assert await bank.channel.send([]) == []


WRONG = [
    ("AC01", {"account": "nobody's"}),
    ("AC01", {"account": "(cash)"}),
    ("AC01", {"payee": NOSTRO}),
    ("AM03", {"currency": "EUR"}),
    ("AM01", {"amount": "0.00"}),
    ("FF01", {"amount": "-1.00"}),
    ("FF01", {"amount": "1.001"}),
    ("FF01", {"amount": "1e2"}),
    ("FF01", {"amount": ""}),
    ("FF01", {"payee": ""}),
    ("FF01", {"reference": "a\0b"}),
    ("FF01", {"payee": "x" * 141}),
]


async def test_an_order_that_is_wrong_is_refused_for_its_reason_and_nothing_moves(bank: Correspondent) -> None:
    bad = [order(**{"amount": "1.00", **wrong}) for _, wrong in WRONG]
    assert await bank.send(*bad, order("1.00")) == [*(code for code, _ in WRONG), "accepted"]
    assert {await bank.paid(each) for each in bad} == {(0, "0.00", "0.00")}
    assert await bank.holds() == ("999.00", "0.00")


async def test_a_batch_is_decided_in_order_until_the_money_is_gone(bank: Correspondent) -> None:
    assert await bank.send(order("600.00"), order("600.00"), order("400.00"), order("0.01")) == [
        "accepted", "AM04", "accepted", "AM04",
    ]  # fmt: skip
    assert await bank.holds() == ("0.00", "0.00")


async def test_a_credit_line_can_be_spent_and_not_a_unit_more(bank: Correspondent) -> None:
    await bank.control.open([OpenAccount("line", "JPY", "0", "500")])
    yen = {"account": "line", "currency": "JPY"}
    assert await bank.send(order("501", **yen), order("500", **yen), order("1", **yen)) == ["AM04", "accepted", "AM04"]
    assert await bank.holds("line") == ("-500", "0")


async def test_amounts_beyond_sixty_four_bits_are_paid_to_the_last_decimal(bank: Correspondent) -> None:
    await bank.control.open([OpenAccount("vault", "ETH", "98765432109876543210.000000000000000001", exponent=18)])
    one = order("98765432109876543210.000000000000000001", account="vault", currency="ETH")
    assert await bank.send(one) == ["accepted"]
    assert (await bank.status(one)).confirmed == "98765432109876543210.000000000000000001"
    assert await bank.is_balanced()


async def test_an_account_that_is_there_stays_as_it_is_when_it_is_opened_again(bank: Correspondent) -> None:
    await bank.send(order("100.00"))
    again = await bank.control.open([OpenAccount(NOSTRO, "USD", "5000.00")])
    assert [each.balance for each in again] == ["900.00"]


async def test_the_payee_may_be_another_account_of_ours(bank: Correspondent) -> None:
    await bank.control.open([OpenAccount("second", "USD")])
    await bank.send(order("30.00", payee="second"))
    assert amounts((await bank.channel.statement("second")).lines) == ["30.00"]
    assert await bank.holds("second") == ("30.00", "0.00")


# Telling -------------------------------------------------------------------------------------------------------------


async def test_a_statement_of_an_honest_bank_adds_up_and_agrees_with_its_books(bank: Correspondent) -> None:
    orders = [order(f"{number}.00") for number in range(1, 8)]
    await bank.send(*orders)
    await bank.control.fund(NOSTRO, "50.00", reference="top up")
    await bank.control.fund(NOSTRO, "-5.00")
    page = await bank.channel.statement(NOSTRO)
    assert [each.id for each in page.lines] == [None, *(each.id for each in orders), None, None]
    assert Decimal(page.opening) + sum(map(Decimal, amounts(page.lines))) == Decimal(page.closing) == Decimal("1017.00")
    assert (page.complete, page.closing) == (True, (await bank.holds())[0])
    assert {each.kind for each in page.lines} == {"funding", "payment"}
    assert page.lines[-2].reference == "top up"


async def test_pages_of_a_statement_join_without_a_gap(bank: Correspondent) -> None:
    await bank.send(*[order("1.00") for _ in range(7)])
    whole, cursor = await bank.channel.statement(NOSTRO), ""
    opening, joined = whole.opening, list[StatementLine]()
    while True:
        page = await bank.channel.statement(NOSTRO, after=cursor, most=3)
        assert page.opening == opening
        joined += page.lines
        opening, cursor = page.closing, page.cursor
        if page.complete:
            break
    assert joined == whole.lines
    after = await bank.channel.statement(NOSTRO, after=cursor)
    assert (after.lines, after.opening, after.closing, after.complete) == ([], whole.closing, whole.closing, True)


async def test_a_statement_of_a_time_has_what_was_booked_in_it(bank: Correspondent) -> None:
    await bank.send(order("1.00"))
    await bank.control.move_clock(3_600)
    start = (await bank.control.settings()).at
    await bank.send(order("2.00"))
    await bank.control.move_clock(3_600)
    end = (await bank.control.settings()).at
    await bank.send(order("3.00"))
    page = await bank.channel.statement(NOSTRO, since=start, until=end)
    assert (amounts(page.lines), page.opening, page.closing) == (["-2.00"], "999.00", "997.00")
    assert amounts((await bank.channel.statement(NOSTRO, until=start)).lines) == ["1000.00", "-1.00"]
    nothing = await bank.channel.statement(NOSTRO, until=datetime(2020, 1, 1, tzinfo=UTC))
    assert (nothing.lines, nothing.opening, nothing.closing) == ([], "0.00", "0.00")


async def test_news_go_on_where_a_cursor_left_off(bank: Correspondent) -> None:
    orders = [order("1.00") for _ in range(5)]
    await bank.send(*orders)
    first = await bank.channel.news(most=2)
    rest = await bank.channel.news(after=first.cursor)
    assert [each.id for each in first.notices + rest.notices] == [each.id for each in orders]
    nothing = await bank.channel.news(after=rest.cursor)
    assert (nothing.notices, nothing.cursor) == ([], rest.cursor)


async def test_what_the_bank_cannot_answer_it_does_not_take(bank: Correspondent) -> None:
    with pytest.raises(NotTaken, match="keeps no account"):
        await bank.channel.statement("nobody's")
    with pytest.raises(NotTaken, match="no cursor"):
        await bank.channel.news(after="yesterday")
    with pytest.raises(NotTaken, match="more than"):
        await bank.channel.send([order("0.01")] * (BATCH_MAX + 1))
    assert await bank.holds() == ("1000.00", "0.00")


async def test_control_refuses_what_makes_no_sense(bank: Correspondent) -> None:
    for call, code in (
        (bank.control.fund("nobody's", "1.00"), AccountMissing.code),
        (bank.control.open([OpenAccount("gold", "XAU")]), DecimalsUnknown.code),
        (bank.control.move_clock(-1), ClockTurnedBack.code),
        (bank.control.set_terms([Terms(Method.SEPA, calendar="ATLANTIS")]), "rule_unknown"),
    ):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.code in {code, NotTaken.code}


# Methods -------------------------------------------------------------------------------------------------------------


async def test_a_method_has_its_currencies_its_limit_and_its_speed(bank: Correspondent) -> None:
    await bank.control.set_terms([Terms(Method.SEPA, ["EUR"]), Terms(Method.SWIFT, amount_max="99.99", seconds=20)])
    swift = order("99.99", method=Method.SWIFT)
    assert await bank.send(order(method=Method.SEPA), order("100.00", method=Method.SWIFT), swift) == [
        "AM03", "AM02", "accepted",
    ]  # fmt: skip
    assert (await bank.state(swift), await bank.holds()) == (State.ACCEPTED, ("1000.00", "99.99"))
    await bank.control.move_clock(20)
    assert (await bank.state(swift), await bank.holds()) == (State.CONFIRMED, ("900.01", "0.00"))


async def test_an_order_after_the_cut_off_is_carried_out_when_the_next_day_opens(bank: Correspondent) -> None:
    await bank.control.open([OpenAccount(EURO, "EUR", "100.00")])
    await bank.control.set_terms(AS_IN_LIFE)
    friday = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # half past four in Berlin
    late = order("10.00", account=EURO, currency="EUR", method=Method.SEPA)
    with time_machine.travel(friday, tick=False):
        ahead = (await bank.control.settings()).at - clock.now()
        assert not ahead
        assert await bank.send(late) == ["accepted"]
        assert await bank.state(late) is State.RECEIVED
    with time_machine.travel(datetime(2026, 11, 23, 1, 30, 3, tzinfo=UTC), tick=False):
        assert await bank.state(late) is State.RECEIVED
    with time_machine.travel(datetime(2026, 11, 23, 1, 30, 4, tzinfo=UTC), tick=False):
        assert await bank.state(late) is State.CONFIRMED
        line = (await bank.channel.statement(EURO)).lines[-1]
        assert (line.value.isoformat(), line.booked.isoformat()) == ("2026-11-23", "2026-11-23T01:30:04+00:00")


async def test_an_order_that_comes_too_late_may_be_refused_instead(bank: Correspondent) -> None:
    terms = Terms(Method.LOCAL_ACH, calendar="FEDWIRE", cut_off=time(16, 45), late=Late.REFUSE)
    await bank.control.set_terms([terms])
    one, two = (order("1.00", method=Method.LOCAL_ACH) for _ in range(2))
    with time_machine.travel(datetime(2026, 11, 20, 21, 44, 59, tzinfo=UTC), tick=False):
        assert await bank.send(one) == ["accepted"]
        assert await bank.state(one) is State.CONFIRMED
    with time_machine.travel(datetime(2026, 11, 20, 21, 45, tzinfo=UTC), tick=False):
        assert await bank.send(two) == ["TM01"]

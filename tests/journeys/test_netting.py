"""Netting, walked end to end: gross, bilateral, multilateral with figures worked by hand; empty, aborted, carried over."""

from collections.abc import AsyncGenerator, Awaitable
from datetime import timedelta

import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting import commands
from clearhouse.slices.interbank.netting.cycle import Cycle, CycleState, Method, SettleCycle
from clearing import ANN, BANKS, BOB, CID, Clearing, hall, in_own_book
from house import House

# Ann owes Bob 100 and Cid 50, Bob owes Ann 30 and Cid 20, Cid owes Ann 10 and Bob 5: 215 in all.
OWED = [
    (ANN, BOB, "100.00"), (ANN, CID, "50.00"), (BOB, ANN, "30.00"), (BOB, CID, "20.00"), (CID, ANN, "10.00"),
    (CID, BOB, "5.00"),
]  # fmt: skip
PAID = {ANN: "890.00", BOB: "1055.00", CID: "1055.00"}


@pytest.fixture(scope="module")
async def house(shared_database: Database) -> AsyncGenerator[House]:
    async with hall(shared_database) as opened:
        yield opened


@pytest.fixture
async def clearing(house: House) -> Clearing:
    return await in_own_book(house)


async def refusal(asking: Awaitable[object]) -> str:
    with pytest.raises(Refusal) as caught:
        await asking
    return caught.value.code


async def filled(clearing: Clearing, *owed: tuple[str, str, str], method: Method = "multilateral") -> Cycle:
    """Return a cycle that is closed and netted."""
    cycle = await clearing.open(method)
    await clearing.owe(*(owed or OWED))
    await clearing.close(cycle)
    return await clearing.worked(cycle)


async def test_a_multilateral_cycle_pays_what_is_left_when_everything_is_set_off(clearing: Clearing) -> None:
    cycle = await filled(clearing)
    assert (cycle.state, cycle.obligations, cycle.positions, cycle.gross, cycle.net) == (
        CycleState.CLOSED, 6, 3, "215.00", "110.00",
    )  # fmt: skip
    assert await clearing.nets(cycle) == {ANN: "-110.00", BOB: "55.00", CID: "55.00"}
    settled = await clearing.settle(cycle)
    assert settled.state is CycleState.SETTLED
    assert await clearing.stands(cycle) == ["SETTLED"] * 3
    assert await clearing.funds() == {bic: (balance, "0.00") for bic, balance in PAID.items()}


async def test_a_bilateral_cycle_pays_what_two_banks_still_owe_each_other(clearing: Clearing) -> None:
    cycle = await filled(clearing, method="bilateral")
    assert await clearing.nets(cycle) == {f"{ANN}>{BOB}": "-70.00", f"{ANN}>{CID}": "-40.00", f"{BOB}>{CID}": "-15.00"}
    assert (await clearing.settle(cycle)).net == "125.00"
    assert await clearing.funds() == {bic: (balance, "0.00") for bic, balance in PAID.items()}


async def test_a_gross_cycle_pays_each_obligation_by_itself(clearing: Clearing) -> None:
    cycle = await filled(clearing, method="gross")
    assert [(each.obligation_id, each.net) for each in await clearing.positions(cycle)] == [
        (f"NET-{place}", f"-{amount}") for place, (*_, amount) in enumerate(OWED)
    ]
    assert (await clearing.settle(cycle)).net == "215.00"
    assert await clearing.funds() == {bic: (balance, "0.00") for bic, balance in PAID.items()}


async def test_banks_that_owe_each_other_the_same_pay_nothing(clearing: Clearing) -> None:
    cycle = await filled(clearing, (ANN, BOB, "7.00"), (BOB, ANN, "7.00"))
    assert await clearing.nets(cycle) == {ANN: "0.00", BOB: "0.00"}
    assert (await clearing.settle(cycle)).state is CycleState.SETTLED
    assert (await clearing.balances())[ANN] == "1000.00"


async def test_an_empty_cycle_is_settled_by_closing_it(clearing: Clearing) -> None:
    closed = await clearing.close(await clearing.open())
    assert (closed.state, closed.obligations, closed.net) == (CycleState.SETTLED, 0, "0.00")


async def test_what_is_recorded_after_the_closing_is_in_the_next_cycle(clearing: Clearing) -> None:
    first = await filled(clearing)
    late = (await clearing.owe((BOB, ANN, "1.00")))[0]
    assert late.cycle != first.id
    assert (await clearing.worked(first)).obligations == 6


async def test_the_next_cycle_may_have_another_method_or_not_be_there_at_all(clearing: Clearing) -> None:
    first = await clearing.open("gross")
    await clearing.close(first, method="bilateral")
    following = (await clearing.owe((ANN, BOB, "1.00")))[0].cycle
    second = await clearing.show(Cycle(following, "USD", 2, "gross", CycleState.OPEN, clock.now()))
    assert (second.number, second.method) == (2, "bilateral")
    await clearing.close(second, last=True)
    assert await refusal(clearing.owe((ANN, BOB, "1.00"))) == "no_open_cycle"
    assert (await clearing.open()).number == 3


async def test_a_cycle_that_is_asked_for_before_it_is_netted_is_settled_as_soon_as_it_is(clearing: Clearing) -> None:
    first = await clearing.open()
    await clearing.owe(*OWED)
    await clearing.close(first, settle=True)
    assert (await clearing.worked(first)).state is CycleState.SETTLED
    second = (await clearing.owe((BOB, ANN, "1.00")))[0]
    closed = await clearing.close(await clearing.show(Cycle(second.cycle, "USD", 2, "gross", CycleState.OPEN, clock.now())))
    asked = await clearing.ask(commands.SETTLE, SettleCycle(closed.id))
    assert (asked.state, asked.settling_asked) == (CycleState.CLOSED, True)
    assert (await clearing.worked(closed)).state is CycleState.SETTLED


async def test_a_bank_that_cannot_pay_lets_the_cycle_abort_before_anything_moves(clearing: Clearing) -> None:
    aborted = await clearing.settle(await filled(clearing, *OWED, (ANN, BOB, "5000.00"), (BOB, CID, "60.00")))
    assert aborted.state is CycleState.ABORTED
    assert aborted.reason == (
        "insufficient_funds: Account vostro:ANNBUS33:USD has 1000.00 USD available above its floor; 5110.00 is needed."
    )
    assert await clearing.funds() == dict.fromkeys(BANKS, ("1000.00", "0.00"))
    assert set(await clearing.stands(aborted)) == {"RECORDED"}


async def test_what_was_reserved_beside_a_bank_that_cannot_pay_is_free_again(clearing: Clearing) -> None:
    cycle = await filled(clearing, (ANN, BOB, "10.00"), (CID, BOB, "5000.00"))
    await clearing.ask(commands.SETTLE, SettleCycle(cycle.id))
    await clearing.step(cycle)
    assert (await clearing.funds())[ANN] == ("1000.00", "10.00")
    assert (await clearing.worked(cycle)).state is CycleState.ABORTED
    assert await clearing.funds() == dict.fromkeys(BANKS, ("1000.00", "0.00"))


async def test_an_aborted_cycle_is_carried_over_whole_and_settled_when_the_bank_has_funds(clearing: Clearing) -> None:
    aborted = await clearing.settle(await filled(clearing, *OWED, (ANN, BOB, "1000.00")))
    target = await clearing.carry(aborted)
    assert (await clearing.show(aborted)).carried_to == target.id
    await clearing.owe((CID, ANN, "1.00"))
    await clearing.fund(ANN, "500.00")
    await clearing.close(target)
    settled = await clearing.settle(target)
    assert (settled.state, settled.obligations) == (CycleState.SETTLED, 8)
    assert await clearing.balances() == {ANN: "391.00", BOB: "2055.00", CID: "1054.00"}


async def test_an_aborted_cycle_is_carried_over_without_the_bank_that_could_not_pay(clearing: Clearing) -> None:
    aborted = await clearing.settle(await filled(clearing, *OWED, (ANN, BOB, "5000.00")))
    target = await clearing.carry(aborted, ANN)
    await clearing.close(target)
    settled = await clearing.settle(target)
    assert (settled.state, settled.obligations) == (CycleState.SETTLED, 2)
    assert await clearing.balances() == {ANN: "1000.00", BOB: "985.00", CID: "1015.00"}


async def test_who_was_left_behind_once_stays_behind_when_the_rest_is_carried_again(clearing: Clearing) -> None:
    aborted = await clearing.settle(await filled(clearing, *OWED, (ANN, BOB, "5000.00"), (BOB, CID, "2000.00")))
    second = await clearing.carry(aborted, ANN)
    await clearing.close(second)
    again = await clearing.settle(second)
    assert again.state is CycleState.ABORTED
    third = await clearing.carry(again)
    await clearing.fund(BOB, "5000.00")
    await clearing.close(third)
    assert (await clearing.settle(third)).obligations == 3
    assert await clearing.balances() == {ANN: "1000.00", BOB: "3985.00", CID: "3015.00"}


async def test_an_aborted_cycle_is_carried_once(clearing: Clearing) -> None:
    aborted = await clearing.abort(await filled(clearing))
    await clearing.carry(aborted)
    assert await refusal(clearing.carry(aborted)) == "carried_already"


async def test_only_an_aborted_cycle_is_carried_and_only_into_an_open_one(clearing: Clearing) -> None:
    cycle = await clearing.open()
    await clearing.owe(*OWED)
    assert await refusal(clearing.carry(cycle)) == "cycle_state"
    await clearing.close(cycle, last=True)
    await clearing.abort(cycle)
    assert await refusal(clearing.carry(cycle)) == "no_open_cycle"


async def test_a_closed_cycle_is_aborted_at_once_and_one_that_is_reserved_gives_back_what_it_held(
    clearing: Clearing,
) -> None:
    cycle = await filled(clearing)
    await clearing.ask(commands.SETTLE, SettleCycle(cycle.id))
    await clearing.step(cycle)
    assert (await clearing.funds())[ANN] == ("1000.00", "110.00")
    assert (await clearing.abort(cycle, "a mistake")).reason == "a mistake"
    ended = await clearing.worked(cycle)
    assert (ended.state, ended.reason) == (CycleState.ABORTED, "a mistake")
    assert await clearing.funds() == dict.fromkeys(BANKS, ("1000.00", "0.00"))


async def test_nothing_is_aborted_from_the_first_commit_on(clearing: Clearing) -> None:
    cycle = await filled(clearing)
    await clearing.ask(commands.SETTLE, SettleCycle(cycle.id))
    while (await clearing.step(cycle)).committing_at is None:
        pass
    assert await refusal(clearing.abort(cycle)) == "cycle_committed"
    assert (await clearing.worked(cycle)).state is CycleState.SETTLED
    assert await refusal(clearing.abort(cycle)) == "cycle_committed"


async def test_who_pays_has_paid_before_who_gets_is_paid(clearing: Clearing) -> None:
    cycle = await filled(clearing)
    await clearing.ask(commands.SETTLE, SettleCycle(cycle.id))
    seen: list[list[str]] = []
    while (await clearing.step(cycle)).state is CycleState.SETTLING:
        seen.append([stand[:3] for stand in await clearing.stands(cycle)])
    assert [" ".join(each) for each in dict.fromkeys(map(tuple, seen))] == [
        "RES REC REC", "RES RES RES", "COM RES RES", "COM COM COM", "SET COM COM", "SET SET SET",
    ]  # fmt: skip


async def test_an_account_that_is_frozen_after_the_first_commit_is_waited_for(clearing: Clearing) -> None:
    cycle = await filled(clearing)
    await clearing.ask(commands.SETTLE, SettleCycle(cycle.id))
    while (await clearing.step(cycle)).committing_at is None:
        pass
    await clearing.freeze(BOB)
    waiting = await clearing.worked(cycle)
    assert (waiting.state, str(waiting.waits_because)[:14]) == (CycleState.SETTLING, "account_frozen")
    assert await clearing.funds() == {ANN: ("890.00", "0.00"), BOB: ("1000.00", "0.00"), CID: ("1055.00", "0.00")}
    await clearing.freeze(BOB, "open")
    with time_machine.travel(clock.now() + timedelta(minutes=1), tick=True):
        assert (await clearing.worked(cycle)).state is CycleState.SETTLED
    assert await clearing.balances() == PAID


async def test_an_account_that_is_frozen_before_lets_the_cycle_abort(clearing: Clearing) -> None:
    cycle = await filled(clearing)
    await clearing.freeze(CID)
    aborted = await clearing.settle(cycle)
    assert (aborted.state, str(aborted.reason)[:14]) == (CycleState.ABORTED, "account_frozen")
    assert await clearing.balances() == dict.fromkeys(BANKS, "1000.00")


async def test_a_cycle_is_closed_once_and_settled_only_when_closed(clearing: Clearing) -> None:
    cycle = await clearing.open()
    assert await refusal(clearing.open()) == "cycle_open_already"
    assert await refusal(clearing.settle(cycle)) == "cycle_state"
    assert await refusal(clearing.abort(cycle)) == "cycle_state"
    await clearing.owe(*OWED)
    await clearing.close(cycle)
    assert await refusal(clearing.close(cycle)) == "cycle_state"
    await clearing.abort(cycle)
    assert await refusal(clearing.settle(cycle)) == "cycle_state"

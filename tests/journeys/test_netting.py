"""Netting, walked end to end: gross, bilateral and multilateral with figures worked by hand; empty, aborted, carried over."""

import pytest

from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting.cycle import Cycle, State
from clearing import ANN, BOB, CID, Clearing
from house import House

# Ann owes Bob 100 and Cid 50, Bob owes Ann 30 and Cid 20, Cid owes Ann 10 and Bob 5: 215 in all.
OWED = [
    (ANN, BOB, "100.00"), (ANN, CID, "50.00"), (BOB, ANN, "30.00"), (BOB, CID, "20.00"), (CID, ANN, "10.00"),
    (CID, BOB, "5.00"),
]  # fmt: skip
PAID = {ANN: "890.00", BOB: "1055.00", CID: "1055.00"}


@pytest.fixture
async def clearing(house: House) -> Clearing:
    return await Clearing.built(house)


async def refusal(asking: object) -> str:
    with pytest.raises(Refusal) as caught:
        await asking  # type: ignore[misc] - whatever is asked for
    return caught.value.code


async def filled(clearing: Clearing, *owed: tuple[str, str, str], method: object = "multilateral") -> Cycle:
    """Return a cycle that is closed and netted."""
    cycle = await clearing.open(method)  # type: ignore[arg-type] - one of the three
    await clearing.owe(*(owed or OWED))
    await clearing.close(cycle)
    return await clearing.worked(cycle)


async def test_a_multilateral_cycle_pays_what_is_left_when_everything_is_set_off(clearing: Clearing) -> None:
    cycle = await filled(clearing)
    assert (cycle.state, cycle.obligations, cycle.positions, cycle.gross, cycle.net) == (
        State.CLOSED, 6, 3, "215.00", "110.00",
    )  # fmt: skip
    assert await clearing.nets(cycle) == {ANN: "-110.00", BOB: "55.00", CID: "55.00"}
    settled = await clearing.settle(cycle)
    assert settled.state is State.SETTLED
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
        (f"OBL-{place}", f"-{amount}") for place, (*_, amount) in enumerate(OWED)
    ]
    assert (await clearing.settle(cycle)).net == "215.00"
    assert await clearing.funds() == {bic: (balance, "0.00") for bic, balance in PAID.items()}


async def test_banks_that_owe_each_other_the_same_pay_nothing(clearing: Clearing) -> None:
    cycle = await filled(clearing, (ANN, BOB, "7.00"), (BOB, ANN, "7.00"))
    assert await clearing.nets(cycle) == {ANN: "0.00", BOB: "0.00"}
    assert (await clearing.settle(cycle)).state is State.SETTLED
    assert (await clearing.balances())[ANN] == "1000.00"

"""Obligations that were recorded and withdrawn: their ids are free, and what was counted before goes on adding up."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from clearhouse import ids
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.netting import commands, obligations, positions
from clearhouse.slices.interbank.netting.cycle import Cycle
from clearhouse.slices.interbank.netting.obligations import Obligation, ObligationNotFound, RecordObligation
from clearhouse.slices.interbank.netting.withdrawing import NotRecorder, ObligationCounts, WithdrawObligation
from clearing import ANN, BOB, CID, Clearing, hall, in_own_book, netted
from house import House, ok, refused

NETTING = "/api/v1/netting"
WHY = "it was paid by itself"


@pytest.fixture(scope="module")
async def house(shared_database: Database) -> AsyncGenerator[House]:
    async with hall(shared_database) as opened:
        yield opened


@pytest.fixture
async def clearing(house: House) -> Clearing:
    return await in_own_book(house)


async def withdraw(clearing: Clearing, name: str) -> Obligation:
    answer: Obligation = await clearing.ask(commands.WITHDRAW, WithdrawObligation(name, WHY))
    return answer


async def shown(clearing: Clearing, cycle: Cycle) -> dict[str, str | None]:
    """Return what counts for a cycle, and why what of it was withdrawn later was."""
    async with clearing.database.reading([clearing.book]) as tx:
        found = await obligations.listed(tx, ids.parse("cyc", cycle.id), most=100)
    return {each.obligation_id: each.withdrawn_because for each in found}


async def leaves(clearing: Clearing, cycle: Cycle) -> list[tuple[Decimal, Decimal | int]]:
    """Return for each position what it has sent and received, and what its obligations add up to."""
    found: list[tuple[Decimal, Decimal | int]] = []
    for each in await clearing.positions(cycle):
        async with clearing.database.reading([clearing.book]) as tx:
            made = await positions.leaves(tx, each.id)
        found.append((Decimal(each.sent) + Decimal(each.received), sum(Decimal(one.amount) for one in made)))
    return found


async def test_what_is_withdrawn_before_its_cycle_closes_is_not_netted_and_its_id_is_free(clearing: Clearing) -> None:
    cycle = await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"), (ANN, BOB, "2.00"))
    gone = await withdraw(clearing, "NET-0")
    assert (gone.withdrawn_because, gone.withdrawn_at is None, gone.cycle) == (WHY, False, cycle.id)
    assert await shown(clearing, cycle) == {"NET-1": None}
    anew = RecordObligation("NET-0", CID, ANN, "7.00", "USD")
    assert (await clearing.ask(commands.RECORD, anew)).exists is False
    await clearing.close(cycle, settle=True, last=True)
    assert ((await clearing.worked(cycle)).gross, await clearing.nets(cycle)) == (
        "9.00", {ANN: "5.00", BOB: "2.00", CID: "-7.00"}
    )  # fmt: skip


async def test_the_same_again_is_answered_as_it_stands_and_told_in_the_journal_once(clearing: Clearing) -> None:
    await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"))
    first = await withdraw(clearing, "NET-0")
    again = await clearing.ask_all(commands.WITHDRAW, [WithdrawObligation("NET-0", "another reason")] * 2)
    assert again == [msgspec.structs.replace(first, exists=True)] * 2
    async with clearing.database.writing(book=clearing.book) as tx:
        told = "".join(
            str(each[0]) for each in await tx.tuples("SELECT lines FROM journal WHERE book = %s", [clearing.book])
        )
    assert (told.count("interbank.obligation_withdrawn"), told.count("interbank.obligation_repeated")) == (1, 2)
    assert WHY in told


@pytest.mark.parametrize("method", ["gross", "bilateral", "multilateral"])
async def test_what_is_withdrawn_from_an_aborted_cycle_goes_on_explaining_it(clearing: Clearing, method: Any) -> None:
    cycle = await clearing.open(method)
    await clearing.owe((ANN, BOB, "5000.00"), (BOB, CID, "2.00"))
    await clearing.close(cycle, settle=True)
    assert (await clearing.worked(cycle)).state.value == "ABORTED"
    await withdraw(clearing, "NET-0")
    assert await shown(clearing, cycle) == {"NET-0": WHY, "NET-1": None}
    again = RecordObligation("NET-0", ANN, CID, "3.00", "USD")
    assert (await clearing.ask(commands.RECORD, again)).exists is False
    assert all(whole == made for whole, made in await leaves(clearing, cycle))
    following = await clearing.carry(cycle)
    assert await shown(clearing, following) == {"NET-0": None, "NET-1": None}
    await clearing.close(following, settle=True, last=True)
    assert (await clearing.worked(following)).gross == "5.00"


async def test_what_was_carried_is_withdrawn_from_where_it_counts_now(clearing: Clearing) -> None:
    aborted = await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"), (BOB, CID, "2.00"))
    await clearing.close(aborted)
    await clearing.abort(aborted)
    following = await clearing.carry(aborted)
    await withdraw(clearing, "NET-0")
    assert (await shown(clearing, aborted), await shown(clearing, following)) == (
        {"NET-0": WHY, "NET-1": None}, {"NET-1": None}
    )  # fmt: skip
    await clearing.close(following, settle=True, last=True)
    assert (await clearing.worked(following)).gross == "2.00"


async def test_what_was_withdrawn_from_an_aborted_cycle_is_not_carried(clearing: Clearing) -> None:
    aborted = await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"), (BOB, CID, "2.00"))
    await clearing.close(aborted)
    await clearing.abort(aborted)
    await withdraw(clearing, "NET-1")
    following = await clearing.carry(aborted)
    assert await shown(clearing, following) == {"NET-0": None}


@pytest.mark.parametrize("settled", [False, True], ids=["closed", "settled"])
async def test_what_counts_is_not_withdrawn(clearing: Clearing, *, settled: bool) -> None:
    cycle = await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"))
    await clearing.close(cycle, settle=settled, last=True)
    await clearing.worked(cycle)
    with pytest.raises(ObligationCounts):
        await withdraw(clearing, "NET-0")
    assert await shown(clearing, cycle) == {"NET-0": None}


async def test_nobody_withdraws_what_somebody_else_recorded(clearing: Clearing) -> None:
    await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"))
    other = replace(clearing, caller=replace(clearing.caller, id=ids.fresh()))
    with pytest.raises(NotRecorder):
        await withdraw(other, "NET-0")
    with pytest.raises(ObligationNotFound):
        await withdraw(clearing, "NET-1")


async def test_the_database_lets_nobody_delete_what_was_not_withdrawn(clearing: Clearing) -> None:
    await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"))
    with pytest.raises(Exception, match="is withdrawn, not deleted"):
        async with clearing.database.writing(book=clearing.book) as tx:
            await tx.do("DELETE FROM interbank_obligation WHERE book = %(book)s", book=clearing.book)


async def test_whatever_is_withdrawn_while_a_cycle_closes_counts_or_does_not(clearing: Clearing) -> None:
    cycle = await clearing.open()
    made = await clearing.owe(*[(ANN, BOB, "1.00")] * 40)
    gone: list[str] = []
    some = asyncio.Event()

    async def one_after_another() -> None:
        for each in made:
            with suppress(ObligationCounts):
                gone.append((await withdraw(clearing, each.obligation_id)).obligation_id)
            some.set()

    async def close() -> None:
        await some.wait()
        await clearing.close(cycle, settle=True, last=True)

    await asyncio.gather(one_after_another(), close())
    settled = await clearing.worked(cycle)
    left = {each.obligation_id for each in made} - set(gone)
    assert (settled.obligations, set(await shown(clearing, cycle))) == (len(left), left)


async def test_over_http_who_recorded_it_withdraws_it_and_a_bank_learns_of_no_other(
    house: House, clearing: Clearing
) -> None:
    operator = await house.caller("operator", book=clearing.name)
    party = await house.caller("party", book=clearing.name, organisation=CID)
    await clearing.open()
    ok(await operator.post(f"{NETTING}/obligations", json=netted("O/1")))
    asked = {"obligation_id": "O/1", "reason": WHY}
    assert refused(await party.post(f"{NETTING}/obligations/withdraw", json=asked), 404) == "obligation_not_found"
    found = ok(await operator.post(f"{NETTING}/obligations/withdraw", json=asked))
    assert (found["withdrawn_because"], found["obligation_id"]) == (WHY, "O/1")
    assert ok(await operator.post(f"{NETTING}/obligations/withdraw", json=asked)) == {**found, "exists": True}
    assert ok(await operator.get(f"{NETTING}/obligations", params={"obligation_id": "O/1"}))["items"] == []
    empty = await operator.post(f"{NETTING}/obligations/withdraw", json={"obligation_id": "O/1"})
    assert refused(empty, 400) == "malformed"


async def test_of_two_who_withdraw_at_once_both_are_answered_the_same(clearing: Clearing) -> None:
    await clearing.open()
    await clearing.owe((ANN, BOB, "1.00"))
    answers = await asyncio.gather(
        *[clearing.ask_all(commands.WITHDRAW, [WithdrawObligation("NET-0", WHY)]) for _ in range(4)]
    )
    assert all(not isinstance(each, Refusal) for (each,) in answers)
    assert len({each.withdrawn_at for (each,) in answers}) == 1
    assert sorted(each.exists for (each,) in answers) == [False, True, True, True]

"""An obligation is paid once: by a settlement of its own or with a netting cycle, whoever asks first, and both at once."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.banks import FundBankAccount, OpenBankAccount
from clearhouse.slices.interbank.netting import commands
from clearhouse.slices.interbank.netting.cycle import OpenCycle
from clearhouse.slices.interbank.netting.obligations import RecordObligation
from clearhouse.slices.interbank.settlement import ExecuteSettlement, State
from clearhouse.slices.interbank.stopping import CancelSettlement
from house import House
from town import PAYEE, PAYER, Town
from trying import SOAK

ROUNDS, OBLIGATIONS = (200, 50) if SOAK else (10, 20)
NAME = "OBL-x"
BOTH = frozenset({commands.READ, commands.RECORD_SCOPE, commands.SETTLE_SCOPE, *interbank.SCOPES["operator"]})
# A settlement that may still pay, or has, holds its obligation; one that came to nothing holds none.
STRAY = """
SELECT s.id FROM settlement_transactions AS s
FULL JOIN interbank_obligation AS o ON o.book = s.book AND o.settlement = s.id AND o.obligation_id = s.obligation_id
WHERE (s.state IN ('FAILED', 'ROLLED_BACK')) = (o.settlement IS NOT NULL) AND s.compensates IS NULL AND o.batch IS NULL
"""


@pytest.fixture
async def town(house: House) -> AsyncGenerator[Town]:
    """Give a town whose banks both have money with us, and a cycle that gathers what they owe each other."""
    made = await Town.built(house, funds="100000.00")
    made.caller = Caller(made.caller.id, "who settles and nets", books={"main": 1}, scopes={1: BOTH})
    await made.ask(interbank.OPEN_ACCOUNT, OpenBankAccount("vostro", PAYEE, "USD"))
    await made.ask(interbank.FUND_ACCOUNT, FundBankAccount("vostro", PAYEE, "USD", "100000.00"))
    await made.ask(commands.OPEN, OpenCycle("USD"))
    yield made
    async with house.database.writing() as tx:
        assert await tx.tuples(STRAY) == []


def executing(name: str = NAME) -> ExecuteSettlement:
    return ExecuteSettlement(name, PAYER, PAYEE, "100.00", "USD")


def recording(name: str = NAME) -> RecordObligation:
    return RecordObligation(name, PAYER, PAYEE, "100.00", "USD")


async def outcome(town: Town, kind: Any, *asked: Any) -> list[str]:
    """Return the code of each refusal, and nothing for what was done."""
    return [each.code if isinstance(each, Refusal) else "" for each in await town.ask_all(kind, asked)]


async def execute(town: Town, *names: str) -> list[str]:
    return await outcome(town, interbank.EXECUTE_SETTLEMENT, *map(executing, names or (NAME,)))


async def record(town: Town, *names: str) -> list[str]:
    return await outcome(town, commands.RECORD, *map(recording, names or (NAME,)))


async def test_what_is_recorded_for_netting_is_not_executed_as_well(town: Town) -> None:
    assert await record(town, NAME) == [""]
    assert await execute(town, "OBL-y", NAME, "OBL-z") == ["", "obligation_netted", ""]
    assert (await town.funds())["vostro"] == ("100000.00", "200.00")
    assert await record(town, NAME) == [""]  # the same again is answered as it stands


async def test_what_is_executed_is_not_netted_as_well(town: Town) -> None:
    assert await execute(town, NAME) == [""]
    assert await record(town, "OBL-y", NAME, "OBL-z") == ["", "obligation_settled", ""]
    await town.settle()
    assert await record(town, NAME) == ["obligation_settled"]


async def test_without_an_open_cycle_what_is_executed_is_said_to_be(town: Town) -> None:
    assert await execute(town, NAME) == [""]
    other = RecordObligation(NAME, PAYER, PAYEE, "1.00", "EUR")
    await town.correspond("EUR", "10.00")
    await town.ask(interbank.OPEN_ACCOUNT, OpenBankAccount("vostro", PAYEE, "EUR"))
    assert await outcome(town, commands.RECORD, other) == ["obligation_settled"]


async def test_a_settlement_that_was_cancelled_leaves_its_obligation_to_netting(town: Town) -> None:
    accepted = await town.ask(interbank.EXECUTE_SETTLEMENT, executing())
    await town.ask(interbank.CANCEL, CancelSettlement(accepted.id))
    assert (await record(town), await execute(town)) == ([""], ["obligation_netted"])


@pytest.mark.parametrize("code", ["AC04", "AM04"])
async def test_a_settlement_that_failed_leaves_its_obligation_to_netting_and_is_not_tried_again(
    town: Town, code: str
) -> None:
    accepted = await town.ask(interbank.EXECUTE_SETTLEMENT, executing())
    await town.bank.control.lie(Lie(Fault.REFUSE, code=code))
    await town.settle()
    await town.bank.control.honest()
    assert await record(town) == [""]
    with time_machine.travel(clock.now() + timedelta(hours=2), tick=True):
        await town.settle()
    shown = await town.show(accepted)
    assert (shown.state, shown.waiting_for, (await town.funds())["vostro"]) == (State.FAILED, None, ("100000.00", "0.00"))


async def test_what_is_tried_again_has_its_obligation_again(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.REFUSE, code="AM04"))
    accepted = await town.ask(interbank.EXECUTE_SETTLEMENT, executing())
    await town.settle()
    await town.bank.control.honest()
    with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
        await town.settle()
        assert (await town.show(accepted)).state is State.COMPLETED
        assert (await record(town), await execute(town)) == (["obligation_settled"], ["duplicate_obligation"])


async def test_what_came_back_takes_no_obligation(town: Town) -> None:
    accepted = await town.ask(interbank.EXECUTE_SETTLEMENT, executing())
    await town.settle()
    await town.give_back(accepted)
    await town.settle()
    assert (await town.show(accepted)).returned == "100.00"
    assert await record(town) == ["obligation_settled"]


async def test_of_one_obligation_executed_and_netted_at_the_same_moment_one_is_refused(town: Town, app_dsn: str) -> None:
    """Two processes: each has a database, a door and a memory of its own."""
    other = await Database.open(app_dsn)
    door = Door(other)
    for number in range(ROUNDS):
        names = [f"OBL-{number}-{each}" for each in range(OBLIGATIONS)]
        backwards = [recording(each) for each in reversed(names)]
        executed, recorded = await asyncio.gather(
            execute(town, *names), door.submit(commands.RECORD, backwards, caller=town.caller, book=1)
        )
        refused = [each.code if isinstance(each, Refusal) else "" for each in reversed(recorded)]
        assert {*zip(executed, refused, strict=True)} <= {("", "obligation_settled"), ("obligation_netted", "")}
    await door.close()
    await other.close()


async def test_whoever_comes_second_waits_for_the_first_to_commit(town: Town) -> None:
    """Netting has written the obligation and not committed when it is executed: the key makes the settlement wait."""
    began, go = asyncio.Event(), asyncio.Event()

    async def recorded() -> None:
        async with town.house.database.writing(book=1) as tx:
            await tx.do(
                "INSERT INTO interbank_obligation (book, obligation_id, batch, payer, payee, currency, amount, recorded_at,"
                " recorded_by) VALUES (1, %(name)s, %(id)s, %(payer)s, %(payee)s, 'USD', 1, now(), %(id)s)",
                name=NAME, id=town.caller.id, payer=PAYER, payee=PAYEE,
            )  # fmt: skip
            began.set()
            await go.wait()

    first = asyncio.create_task(recorded())
    await began.wait()
    second = asyncio.create_task(execute(town, NAME))
    await until_somebody_waits(town)
    go.set()
    await first
    assert await second == ["obligation_netted"]
    assert (await town.funds())["vostro"] == ("100000.00", "0.00")


async def until_somebody_waits(town: Town) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    while True:
        async with town.house.database.writing() as tx:
            if await tx.tuples(waiting) != [(0,)]:
                return
        await asyncio.sleep(0)

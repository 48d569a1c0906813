"""Our nostros against what their banks say: the same line by line, or a break for whatever is not."""

import asyncio

import psycopg
import pytest

from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.banks import FundBankAccount
from clearhouse.slices.interbank.reconciling import RECONCILE, Reconcile, Report
from house import House
from serving import until
from town import PAYEE, Town

WAITING = "SELECT 1 FROM pg_locks WHERE relation = 'clearhouse.interbank_statement'::regclass AND NOT granted"


@pytest.fixture
async def town(house: House) -> Town:
    made = await Town.built(house)
    for _ in range(5):
        await made.execute("10.00")
    await made.settle()
    return made


async def compared(town: Town) -> Report:
    return (await town.compare())[0]


def told(report: Report) -> tuple[str, str, int, int, int]:
    return report.status, report.difference, report.matched, report.missing, report.unexpected


async def test_what_both_say_alike_is_balanced_however_often_it_is_compared(town: Town) -> None:
    assert told(await compared(town)) == ("BALANCED", "0.00", 6, 0, 0)
    assert told(await compared(town)) == ("BALANCED", "0.00", 0, 0, 0)


async def test_a_line_that_the_bank_leaves_out_is_a_break_until_it_says_it(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.MISSING, next=1))
    assert (await compared(town)).missing == 1


async def test_a_line_that_only_the_bank_has_is_a_break(town: Town) -> None:
    await town.bank.control.fund(f"{PAYEE}:USD", "7.00", reference="interest")
    first = await compared(town)
    assert told(first) == ("IDENTIFIED", "-7.00", 6, 0, 1)
    assert told(await compared(town)) == ("UNRESOLVED", "-7.00", 0, 0, 1)


async def test_a_line_with_another_amount_is_a_break_on_both_sides(town: Town) -> None:
    await town.bank.control.lie(Lie(Fault.WRONG, next=1))
    found = await compared(town)
    assert (found.status, found.missing, found.unexpected) == ("INVESTIGATION_REQUIRED", 1, 1)


async def test_a_return_is_matched_with_what_we_booked_for_it(town: Town) -> None:
    done = await town.execute("20.00")
    await town.settle()
    await town.give_back(done)
    await town.settle()
    assert told(await compared(town)) == ("BALANCED", "0.00", 8, 0, 0)


async def test_what_is_booked_while_we_look_is_in_our_balance_and_among_our_bookings_or_in_neither(
    town: Town, owner_dsn: str
) -> None:
    await compared(town)
    said = await town.bank.statement(f"{PAYEE}:USD")
    asked = Reconcile(PAYEE, "USD", said.closing, said.lines, said.cursor)
    with psycopg.connect(owner_dsn, autocommit=True) as other, other.transaction():
        other.execute("LOCK TABLE clearhouse.interbank_statement IN ACCESS EXCLUSIVE MODE")
        looking = asyncio.create_task(town.ask(RECONCILE, asked))
        await asyncio.to_thread(until, lambda: waits(owner_dsn))
        await town.ask(commands.FUND_ACCOUNT, FundBankAccount("nostro", PAYEE, "USD", "5.00"))
    assert told(await looking) == ("IDENTIFIED", "5.00", 0, 1, 0)


def waits(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute(WAITING).fetchone() is not None

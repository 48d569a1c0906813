"""Our nostros against what their banks say: the same line by line, or a break for whatever is not."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.pipelines import schedules
from clearhouse.kernel.pipelines.cron import next_instant
from clearhouse.slices.interbank import commands, comparing
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.banks import FundBankAccount
from clearhouse.slices.interbank.periods import CLEAN_UP, PERIODS, RETRY
from clearhouse.slices.interbank.periods import RECONCILE as COMPARE
from clearhouse.slices.interbank.reconciling import RECONCILE, Reconcile, Report
from house import House, ok, refused
from serving import until
from town import PAYEE, Town

REPORTS = "/api/v1/reconciliation/reports"
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
        await asyncio.to_thread(other.execute, "LOCK TABLE clearhouse.interbank_statement IN ACCESS EXCLUSIVE MODE")
        looking = asyncio.create_task(town.ask(RECONCILE, asked))
        await asyncio.to_thread(until, lambda: waits(owner_dsn))
        await town.ask(commands.FUND_ACCOUNT, FundBankAccount("nostro", PAYEE, "USD", "5.00"))
    assert told(await looking) == ("IDENTIFIED", "5.00", 0, 1, 0)


async def test_over_http_each_nostro_has_its_report_and_who_may_only_look_starts_nothing(town: Town, house: House) -> None:
    await town.correspond("EUR", "500.00")
    await town.bank.control.fund(f"{PAYEE}:EUR", "7.00", reference="interest")
    operator, viewer = await house.caller("operator"), await house.caller("viewer")
    assert refused(await viewer.post(REPORTS, json={}), 403) == "denied"
    made = ok(await operator.post(REPORTS, json={}))
    assert [(each["currency"], each["status"], each["difference"], each["unexpected"]) for each in made] == [
        ("EUR", "IDENTIFIED", "-7.00", 1), ("USD", "BALANCED", "0.00", 0),
    ]  # fmt: skip
    assert ok(await viewer.get(REPORTS))["items"] == made[::-1]
    assert ok(await viewer.get(f"{REPORTS}/{made[0]['id']}")) == made[0]
    assert [each["currency"] for each in ok(await operator.post(REPORTS, json={"currency": "USD"}))] == ["USD"]
    assert refused(await operator.post(REPORTS, json={"bank": 7}), 400) == "malformed"


@pytest.mark.parametrize(("job", "minutes"), [(RETRY, 5), (CLEAN_UP, 10), (COMPARE, 6 * 60)])
def test_by_itself_it_happens_as_often_as_the_document_says(job: str, minutes: int) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    for _ in range(24 * 60 // minutes):
        assert next_instant(PERIODS[job], UTC, at) == at + timedelta(minutes=minutes)
        at += timedelta(minutes=minutes)


async def test_six_hours_later_the_clock_has_every_nostro_compared(town: Town, house: House) -> None:
    operator = await house.caller("operator")
    reports: list[str] = []
    for hours in (6, 12):
        with time_machine.travel(clock.now() + timedelta(hours=hours), tick=True):
            await town.advance(*schedules.STAGES, comparing.STAGE)
        found = ok(await operator.get(REPORTS))["items"]
        reports.append(found[0]["status"])
        assert len(found) == len(reports)
    assert reports == ["BALANCED", "BALANCED"]


def waits(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute(WAITING).fetchone() is not None

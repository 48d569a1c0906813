"""The engine on the kernel's pipelines: what it costs, what it sets aside, what the clock does, and how it is woken."""

from collections import Counter
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from clearhouse import clock, ids
from clearhouse.kernel.pipelines import schedules
from clearhouse.kernel.pipelines.declared import Firing
from clearhouse.slices.interbank import commands, comparing, engine, listening, reconciling, turns
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.banks import ChangeBankAccount, KeepBank
from clearhouse.slices.interbank.settlement import State
from house import House, ok
from town import PAYEE, PAYER, Town

ROW_WRITES_MAX = 11
SETTLEMENTS = 20
BATCHES_MAX = 60
COUNTED = ("settlement_transactions", "settlement_passage", "interbank_obligation", "ledger_transfer", "ledger_hold")
COUNT = """
CREATE TABLE clearhouse.written (name text);
GRANT INSERT ON clearhouse.written TO clearhouse_writer;
CREATE FUNCTION clearhouse.note_write() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO clearhouse.written VALUES (tg_table_name); RETURN NULL; END $$;
"""


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


def count_writes(owner_dsn: str) -> None:
    """Let every row that is written from now on, in any table of ours, leave a note."""
    with psycopg.connect(owner_dsn, autocommit=True, options="-c search_path=clearhouse") as owner:
        owner.execute(COUNT.encode())
        found = owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'clearhouse' AND tablename <> 'written'")
        for (name,) in found.fetchall():
            owner.execute(
                f"CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION note_write()"
                .encode()
            )  # fmt: skip


def written(owner_dsn: str) -> Counter[str]:
    with psycopg.connect(owner_dsn, options="-c search_path=clearhouse") as owner:
        return Counter(
            {str(name): int(count) for name, count in owner.execute("SELECT name, count(*) FROM written GROUP BY 1")}
        )


async def test_a_settlement_that_goes_well_writes_at_most_eleven_rows(town: Town, owner_dsn: str) -> None:
    count_writes(owner_dsn)
    asked = [town.obligation("1.00") for _ in range(SETTLEMENTS)]
    made = await town.ask_all(commands.EXECUTE_SETTLEMENT, asked)
    await town.settle()
    assert {(await town.show(each)).state for each in made} == {State.COMPLETED}
    rows = Counter({name: count for name, count in written(owner_dsn).items() if not name.startswith("bank_")})
    assert sum(rows[name] for name in COUNTED) <= ROW_WRITES_MAX * SETTLEMENTS, rows
    assert sum(count for name, count in rows.items() if name not in COUNTED) <= BATCHES_MAX, rows  # once a batch, not a row


async def test_what_cannot_be_booked_is_set_aside_with_its_error_and_tried_again_by_hand(town: Town, house: House) -> None:
    await town.correspond("EUR", "1000.00")
    poison, other = await town.execute(), await town.execute(currency="EUR")
    await town.ask(commands.CHANGE_ACCOUNT, ChangeBankAccount("vostro", PAYER, "USD", "frozen"))
    await town.settle()
    assert [(await town.show(each)).state for each in (poison, other)] == [State.EXECUTING, State.COMPLETED]
    operator = await house.caller("operator", name="who looks")
    (aside,) = ok(await operator.get("/api/v1/jobs/interbank.unanswered/aside"))["items"]
    assert (aside["id"], "could not be" in aside["error"]) == (poison.id, True)
    await town.ask(commands.CHANGE_ACCOUNT, ChangeBankAccount("vostro", PAYER, "USD", "open"))
    ok(await operator.post("/api/v1/jobs/interbank.unanswered/retry", json={}))
    await town.settle()
    assert (await town.show(poison)).state is State.COMPLETED
    assert await town.paid(poison) == (1, "100.00")


async def test_the_first_bank_sets_the_documents_periods_and_who_changes_them_is_obeyed(town: Town, house: House) -> None:
    operator = await house.caller("operator", name="who plans")
    found = {each["name"]: each["cron"] for each in ok(await operator.get("/api/v1/schedules"))["items"]}
    assert found == {
        "interbank.clean_up": "*/10 * * * *", "interbank.reconcile": "0 */6 * * *", "interbank.retry": "*/5 * * * *",
    }  # fmt: skip
    ok(await operator.post("/api/v1/schedules/interbank.retry/pause", json={}))
    await town.ask(commands.KEEP_BANK, KeepBank("BNPAFRPP", "BNP"))
    assert ok(await operator.get("/api/v1/schedules/interbank.retry"))["state"] == "paused"


async def test_by_the_clock_every_nostro_is_compared(town: Town) -> None:
    await town.correspond("EUR", "500.00")
    await town.execute()
    await town.settle()
    at = clock.now()
    async with town.house.database.writing(book=1) as tx:
        await comparing.JOB.run(tx, Firing(ids.fresh(), comparing.JOB.name, at, at, ids.NOBODY, None))
    await town.advance(comparing.STAGE)
    async with town.house.database.reading([1]) as tx:
        reports = await reconciling.listed(tx)
    assert {(each.bank, each.currency, each.status) for each in reports} == {
        (PAYEE, "USD", "BALANCED"), (PAYEE, "EUR", "BALANCED")
    }  # fmt: skip


async def test_whoever_makes_work_says_which_stage_can_go_on(town: Town) -> None:
    await town.execute()
    async with town.house.database.writing(book=1) as tx:
        found = await tx.tuples("SELECT wakes FROM journal WHERE book = 1 AND wakes IS NOT NULL")
    assert ["interbank.send"] in [list(each[0]) for each in found]  # type: ignore[call-overload] - a list of texts


def test_no_two_stages_of_the_engine_take_the_same_rows() -> None:
    places = [(each.table, each.state) for each in (*engine.STAGES, *schedules.STAGES)]
    assert len(set(places)) == len(places)


async def next_listening(town: Town) -> timedelta:
    """Return after what time the bank is listened to again, as it was decided."""
    async with town.house.database.writing(book=1) as tx:
        ((pause, error),) = await tx.tuples("SELECT next_at - clock_timestamp(), error FROM interbank_news WHERE book = 1")
    assert error is None
    return pause  # type: ignore[return-value] - an interval


async def test_a_bank_is_listened_to_sooner_while_a_confirmation_is_waited_for(town: Town) -> None:
    await town.settle()
    assert await next_listening(town) > listening.SOON
    accepted = await town.execute()
    await town.bank.control.lie(Lie(Fault.SLOW, ids=[UUID(accepted.uetr)], seconds=600))
    await town.advance(turns.STAGE)
    assert (await town.show(accepted)).state is State.CONFIRMING
    assert await next_listening(town) <= timedelta()  # at once, since it was just sent
    await town.advance(listening.STAGE)
    assert await next_listening(town) < listening.LATER


async def test_more_news_than_one_page_are_heard_at_once_and_are_no_failure(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "BATCH_MAX", 2)
    made = [await town.execute("1.00") for _ in range(7)]
    await town.line.pay(await town.initiated())
    await town.advance(listening.STAGE)
    assert {(await town.show(each)).state for each in made} == {State.COMPLETED}
    assert await next_listening(town) > timedelta()

"""A database of before the engine's stages: what it held in every state is carried on where it stood."""

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse import ids
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.migrations import migrate
from clearhouse.slices.interbank import engine
from clearhouse.slices.interbank.settlement import State, order_id, own_id
from house import House
from town import PAYEE, PAYER, Town

BEFORE = 202
STATES = [each for each in State if each is not State.VALIDATING]
OWN = {each: own_id(ids.derived("older settlement", each.value)) for each in STATES}
LOCKED = {State.FUNDS_LOCKED, State.EXECUTING, State.CONFIRMING, State.IN_DOUBT}
# As the release before left it: one settlement a state, its steps as rows, the cursor of the news, a version of the rules.
OLDER = """
INSERT INTO settlement_transactions (book, id, obligation_id, from_bank, to_bank, currency, exponent, amount, method,
    priority, rank, state, waiting_for, due_at, attempts, asked, hold, captured, reason, accepted_at, accepted_by, sent_at)
VALUES (1, %(id)s, %(name)s, %(payer)s, %(payee)s, 'USD', 2, 1000, 'MOCK', 2, %(at)s, %(state)s, %(waits)s, %(due)s,
    %(tries)s, %(tries)s, %(hold)s, %(captured)s, NULL, %(at)s, %(id)s, %(sent)s)
"""
STEP = "INSERT INTO settlement_operation_checkpoints (book, settlement, attempt, step, at) VALUES (1, %s, 1, %s, now())"
NOTHING = {State.FAILED, State.ROLLED_BACK}
STEPS = {
    State.FUNDS_LOCKED: ["VALIDATION", "LOCK"], State.COMPLETED: ["VALIDATION", "LOCK", "INITIATE", "CONFIRM", "FINALIZE"]
}  # fmt: skip


def fill(dsn: str) -> None:
    """Put into a database what the release before would have left there."""
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=clearhouse") as owner:
        owner.execute("INSERT INTO interbank_version (book, version) VALUES (1, 1)")
        owner.execute("INSERT INTO interbank_news (book, channel, cursor, read_at) VALUES (1, 'bank', '7', now())")
        for state, own in OWN.items():
            sent = state in LOCKED - {State.FUNDS_LOCKED} or state is State.COMPLETED
            owner.execute(OLDER.encode(), {
                "id": own, "name": f"OBL-{state.value}", "payer": PAYER, "payee": PAYEE, "state": state.value,
                "at": "2026-01-31T12:00:00Z", "waits": {State.PENDING: "window", State.FAILED: "retry"}.get(state),
                "due": None if state in {State.FUNDS_LOCKED, State.COMPLETED, State.ROLLED_BACK} else "2099-01-01T00:00:00Z",
                "tries": 0 if state is State.PENDING else 1, "hold": own if state in LOCKED else None,
                "captured": 1000 if state is State.COMPLETED else 0, "sent": "2026-01-31T12:00:01Z" if sent else None,
            })  # fmt: skip
            for step in STEPS.get(state, []):
                owner.execute(STEP.encode(), [own, step])


def asked(dsn: str, question: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=clearhouse") as owner:
        return owner.execute(question.encode()).fetchall()


async def test_settlements_of_the_release_before_stand_where_they_stood_and_are_due_to_the_stages(
    fresh_dsn: str, app_dsn: str
) -> None:
    await migrate(fresh_dsn, up_to=BEFORE)
    database = await Database.open(make_conninfo(app_dsn, dbname=str(conninfo_to_dict(fresh_dsn)["dbname"])))
    try:
        await bootstrap.ensure_admin(database)
    finally:
        await database.close()
    fill(fresh_dsn)
    await migrate(fresh_dsn)
    found = asked(fresh_dsn, "SELECT state, attempt, attempts, lease, error, next_at FROM settlement_transactions")
    assert {row[0]: row[1:5] for row in found} == {
        each.value: (0 if each is State.PENDING else 1, 0, None, None) for each in STATES
    }  # fmt: skip
    due = {row[0] for row in found if row[5] is not None}
    stages = {each.state for each in engine.STAGES if each.table == "settlement_transactions"}
    assert due == stages | {State.FAILED.value}
    steps = asked(fresh_dsn, "SELECT settlement, step FROM settlement_operation_checkpoints")
    assert {own: {step for whose, step in steps if whose == own} for own in OWN.values()} == {
        own: set(STEPS.get(state, [])) for state, own in OWN.items()
    }  # fmt: skip
    taken = asked(fresh_dsn, "SELECT obligation_id, settlement FROM interbank_obligation")
    assert dict(taken) == {f"OBL-{each.value}": own for each, own in OWN.items() if each not in NOTHING}
    assert asked(fresh_dsn, "SELECT cursor, state, attempts FROM interbank_news") == [("7", "listening", 0)]
    schedules = asked(fresh_dsn, "SELECT name FROM schedule WHERE book = 1 ORDER BY name")
    assert [name for (name,) in schedules] == ["interbank.clean_up", "interbank.reconcile", "interbank.retry"]


async def test_what_the_release_before_let_be_given_up_carries_its_order(fresh_dsn: str, app_dsn: str) -> None:
    await migrate(fresh_dsn, up_to=BEFORE)
    database = await Database.open(make_conninfo(app_dsn, dbname=str(conninfo_to_dict(fresh_dsn)["dbname"])))
    try:
        await bootstrap.ensure_admin(database)
    finally:
        await database.close()
    fill(fresh_dsn)
    await migrate(fresh_dsn, up_to=206)
    given, other = OWN[State.FAILED], OWN[State.ROLLED_BACK]
    asked(
        fresh_dsn,
        "UPDATE settlement_transactions SET reason = 'released_by_hand', attempt = 3, obligation_id = 'OBL-given',"
        f" waiting_for = NULL WHERE id = '{given}' RETURNING id",
    )
    asked(fresh_dsn, f"UPDATE settlement_transactions SET obligation_id = 'OBL-given' WHERE id = '{other}' RETURNING id")
    await migrate(fresh_dsn)
    found = asked(fresh_dsn, "SELECT id, carries FROM settlement_transactions WHERE carries IS NOT NULL")
    assert found == [(given, order_id(given, 3))]
    taken = asked(fresh_dsn, "SELECT settlement FROM interbank_obligation WHERE obligation_id = 'OBL-given'")
    assert taken == [(given,)]


@pytest.mark.parametrize("sent", [State.EXECUTING, State.CONFIRMING, State.IN_DOUBT])
async def test_what_the_release_before_had_sent_is_ended_by_the_banks_word(
    house: House, sent: State, owner_dsn: str
) -> None:
    town = await Town.built(house)
    accepted = await town.execute("10.00")
    orders = await town.initiated()
    columns = "attempts = 0, lease = NULL, error = NULL, next_at = '2026-01-01Z'"  # as 0203 leaves what before it
    for state in (State.CONFIRMING, State.IN_DOUBT):
        if sent is state or (sent is State.IN_DOUBT and state is State.CONFIRMING):
            asked(owner_dsn, f"UPDATE settlement_transactions SET state = '{state.value}' RETURNING id")
    asked(owner_dsn, f"UPDATE settlement_transactions SET {columns} RETURNING id")
    await town.bank.send(orders)
    await town.settle()
    assert ((await town.show(accepted)).state, await town.paid(accepted)) == (State.COMPLETED, (1, "10.00"))

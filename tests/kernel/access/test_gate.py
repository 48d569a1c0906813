"""The gate's memory: who comes at once is looked up once, and what was forgotten meanwhile is not remembered."""

import asyncio

import pytest

from breaking import break_book, mend_book
from clearhouse.kernel.access import authentication, bootstrap
from clearhouse.kernel.access.authentication import Gate, Unauthenticated
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault


async def _gate(database: Database) -> tuple[Gate, str]:
    made = await bootstrap.ensure_admin(database, None)
    assert made is not None
    return Gate(database), f"Bearer {made}"


async def test_many_who_come_at_once_with_one_key_are_looked_up_once(database: Database) -> None:
    gate, key = await _gate(database)
    callers = await asyncio.gather(*(gate.caller(key) for _ in range(64)))
    assert all(each is callers[0] for each in callers)
    assert await gate.caller(key) is callers[0]


async def test_who_was_being_looked_up_while_all_was_forgotten_is_looked_up_anew(database: Database) -> None:
    gate, key = await _gate(database)
    before = asyncio.create_task(gate.caller(key))
    await asyncio.sleep(0)
    gate.forget()
    after = await gate.caller(key)
    assert after is not await before
    assert await gate.caller(key) is after


async def test_one_who_leaves_takes_the_answer_from_nobody(database: Database) -> None:
    gate, key = await _gate(database)
    leaving, staying = asyncio.create_task(gate.caller(key)), asyncio.create_task(gate.caller(key))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).scopes
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_an_unknown_key_is_refused_to_each_who_shows_it_at_once(database: Database) -> None:
    gate, _ = await _gate(database)
    answers = await asyncio.gather(*(gate.caller("Bearer nobody") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(each, Unauthenticated) for each in answers)
    assert len(gate.traces.lines) == len(answers)


async def test_a_refusal_that_could_not_be_written_down_is_written_down_later(database: Database, owner_dsn: str) -> None:
    gate, _ = await _gate(database)
    with pytest.raises(Unauthenticated):
        await gate.caller("Bearer nobody")
    await break_book(owner_dsn, "journal")
    with pytest.raises(DatabaseFault):
        await gate.flush()
    await mend_book(owner_dsn)
    for _ in range(2):
        await gate.flush()
    async with database.writing() as tx:
        found = await tx.tuples("SELECT lines FROM journal WHERE kind = 'access.refusals'")
    assert [str(lines).count("access.refused") for (lines,) in found] == [1]


async def test_however_many_come_only_so_many_are_remembered(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, key = await _gate(database)
    monkeypatch.setattr(authentication, "CALLERS_MAX", 1)
    first = await gate.caller(key)
    assert (await gate.caller(key.replace("Bearer", "bearer"))) is first
    assert (await gate.caller(None, key.removeprefix("Bearer "))) is first
    gate._remember("another", 0.0, first)
    assert len(gate._known) == 1
    assert (await gate.caller(key)) is not first

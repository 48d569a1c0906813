"""What happens to the bank in process when somebody else fails: its database, whoever holds it up, or we ourselves."""

import asyncio

import psycopg
import pytest

from clearhouse.kernel.db.database import WRITER, Database
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.channel import NoAnswer, NotSent, State
from correspondent import NOSTRO, Correspondent, correspondent, fresh_book, order
from serving import until

HELD = "SELECT pg_advisory_lock(250, 1)"
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 250 AND NOT granted"


async def test_what_we_roll_back_the_bank_still_has(bank: Correspondent, shared_database: Database) -> None:
    one = order()

    async def change_our_mind() -> None:
        async with shared_database.writing() as tx:
            await tx.tuples("SELECT 1")
            await bank.send(one)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await change_our_mind()
    assert (await bank.state(one), await bank.paid(one)) == (State.CONFIRMED, (1, "100.00", "0.00"))


async def test_the_banks_of_two_books_know_nothing_of_each_other(shared_database: Database, book: int) -> None:
    async with (
        correspondent(shared_database, http=False, book=book) as ours,
        correspondent(shared_database, http=False, book=await fresh_book(shared_database)) as theirs,
    ):
        one = order()
        await ours.send(one)
        assert (await theirs.state(one), await theirs.holds()) == (State.UNKNOWN, ("1000.00", "0.00"))
        assert await theirs.notices() == []
        assert await theirs.send(order("1.00", id=one.id)) == ["accepted"]


async def test_of_two_that_serve_one_bank_both_tell_the_same(
    shared_database: Database, bank: Correspondent, book: int
) -> None:
    twin, orders = SimulatedBank(shared_database, book=book), [order("1.00") for _ in range(30)]
    await asyncio.gather(bank.send(*orders), twin.send(orders), bank.send(*orders), twin.send(orders[::-1]))
    assert await twin.ask([each.id for each in orders]) == await bank.channel.ask([each.id for each in orders])
    assert await bank.holds() == ("970.00", "0.00")
    assert [(each.times, each.debited) for each in await bank.control.paid([each.id for each in orders])] == [
        (1, "1.00")
    ] * 30


async def test_a_bank_that_is_held_up_too_long_took_nothing(database: Database, owner_dsn: str) -> None:
    async with correspondent(database, http=False) as bank:
        one = order()
        with psycopg.connect(owner_dsn, autocommit=True) as holder:
            holder.execute(HELD)
            with pytest.raises(NotSent, match="busy"):
                await bank.send(one)
        assert await bank.state(one) is State.UNKNOWN
        assert await bank.send(one) == ["accepted"]


async def test_when_the_banks_database_goes_away_nobody_knows_until_it_is_back(database: Database, owner_dsn: str) -> None:
    async with correspondent(database, http=False) as bank:
        one = order()
        with psycopg.connect(owner_dsn, autocommit=True) as holder:
            holder.execute(HELD)
            sending = asyncio.create_task(bank.send(one))
            await asyncio.to_thread(until, lambda: holder.execute(WAITING).fetchone() == (1,))
            holder.execute(CUT, [WRITER])
            with pytest.raises(NoAnswer, match="database is gone"):
                await sending
        assert await bank.state(one) is State.UNKNOWN
        assert await bank.send(one) == ["accepted"]
        assert (await bank.channel.statement(NOSTRO)).closing == "900.00"

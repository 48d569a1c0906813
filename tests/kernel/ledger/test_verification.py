"""Verification finds what somebody changed behind our backs, and says where."""

from collections.abc import Mapping
from datetime import timedelta

import httpx
import psycopg
import pytest
from psycopg import sql

from clearhouse import clock
from house import House, movement, ok, post

# What an owner of the database does to a book that was right, and the beginning of what is said of it.
TAMPERED: Mapping[str, str] = {
    "UPDATE ledger_account SET credits_posted = credits_posted + 1 WHERE code = 'shop'": "the counters of account shop",
    "UPDATE ledger_account SET debits_pending = 0 WHERE code = 'bank'": "the counters of account bank in USD",
    "UPDATE ledger_transfer SET amount = amount + 1 WHERE kind = 0 AND reference = 'first'": "the counters of account bank",
    "DELETE FROM ledger_transfer WHERE kind = 5": "the counters of account bank in USD",
    "DELETE FROM ledger_account WHERE code = 'till'": "the counters of account no account",
    "UPDATE ledger_transfer SET credit_credits_posted = 7 WHERE reference = 'first'": "transfer trf_",
    "UPDATE ledger_hold SET captured = captured + 1": "hold trf_",
    "UPDATE ledger_hold SET remaining = remaining - 1": "hold trf_",
    "UPDATE ledger_reversal SET reversed = reversed + 1": "transfer trf_",
    "DELETE FROM ledger_reversal": "transfer trf_",
    "INSERT INTO ledger_hold (book, id, state, remaining) SELECT 1, gen_random_uuid(), 'voided', 0": "hold trf_",
    "INSERT INTO ledger_hold SELECT book, id, 'voided', 0 FROM ledger_transfer WHERE kind = 5": "hold trf_",
    "INSERT INTO ledger_reversal (book, id, reversed) SELECT 1, gen_random_uuid(), 1": "transfer trf_",
    "UPDATE ledger_shift SET debits = debits + 1, credits = credits + 1": "the effective-day sums of account bank in USD",
    "DELETE FROM ledger_shift": "the effective-day sums of account bank in USD",
}


async def settled(house: House) -> httpx.AsyncClient:
    """Fill a book with one of everything that verification looks at."""
    operator = await house.caller("operator", "auditor")
    await house.open_accounts(operator, "bank", "shop", "till")
    yesterday = str(clock.today() - timedelta(days=1))
    first = await post(operator, movement("bank", "shop", "10.00"), reference="first")
    await post(operator, movement("bank", "till", "4.00"), effective=yesterday)
    held = (await post(operator, movement("bank", "shop", "5.00", pending=True)))["transfers"][0]
    await post(operator, {"capture": held, "amount": "2.00"})
    await post(operator, {"reverse": first["transfers"][0], "amount": "1.00"})
    return operator


async def verified(operator: httpx.AsyncClient) -> dict[str, object]:
    return dict(ok(await operator.post("/api/v1/ledger/verify")))


async def test_a_book_that_nobody_touched_is_intact(house: House) -> None:
    found = await verified(await settled(house))
    assert (found["intact"], found["accounts"], found["transfers"]) == (True, 3, 5)


@pytest.mark.parametrize("change", TAMPERED)
async def test_what_somebody_changed_behind_our_backs_is_named(house: House, owner_dsn: str, change: str) -> None:
    operator = await settled(house)
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica; SET search_path = clearhouse")
        assert connection.execute(sql.SQL(change)).rowcount > 0  # pyright: ignore[reportArgumentType] - a line of the table
    found = await verified(operator)
    assert not found["intact"]
    assert str(found["fault"]).startswith(TAMPERED[change])

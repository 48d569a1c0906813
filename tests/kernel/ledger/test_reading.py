"""Reading the ledger page by page: nothing is left out, nothing is told twice, and a cursor is good for its own list."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from clearhouse import clock, ids
from clearhouse.kernel.ledger import days, recent
from clearhouse.kernel.ledger.accounts import AccountNotFound, ChangeAccount
from clearhouse.slices.operations import commands
from house import House, balance, movement, ok, post, refused
from stage import caller

LEDGER = "/api/v1/ledger"
STATEMENT = f"{LEDGER}/accounts/shop/statement"
YESTERDAY = clock.today() - timedelta(days=1)


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    """Give somebody who posts, in a book in which a bank paid a shop five times."""
    found = await house.caller("operator")
    await house.open_accounts(found, "bank", "shop")
    for amount in ("1.00", "2.00", "3.00", "4.00", "5.00"):
        await post(found, movement("bank", "shop", amount))
    return found


async def pages(operator: httpx.AsyncClient, **asked: Any) -> list[Any]:
    """Return a statement as it is read in pages of two."""
    found: list[Any] = []
    query = {"asset": "USD", "limit": 2, **asked}
    while True:
        read = ok(await operator.get(STATEMENT, params=query))
        found += read["items"]
        if read["next"] is None:
            return found
        query["cursor"] = read["next"]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_a_statement_in_pages_is_the_same_as_in_one(operator: httpx.AsyncClient, order: str) -> None:
    whole = ok(await operator.get(STATEMENT, params={"asset": "USD", "order": order}))["items"]
    read = await pages(operator, order=order)
    assert read == whole
    assert [each["balance"] for each in read][:: 1 if order == "oldest" else -1] == [
        "1.00", "3.00", "6.00", "10.00", "15.00",
    ]  # fmt: skip


async def test_a_cursor_of_a_statement_is_good_for_its_own_account_and_as_it_was_given(operator: httpx.AsyncClient) -> None:
    given = ok(await operator.get(STATEMENT, params={"asset": "USD", "limit": 1}))["next"]
    booked, sequence, account = given.split("~")
    others = (f"{booked}~{sequence}~acc_x", f"never~{sequence}~{account}", f"{booked}~-1~{account}", f"{booked}~{account}")
    for cursor in others:
        assert refused(await operator.get(STATEMENT, params={"asset": "USD", "cursor": cursor}), 404) == "malformed_cursor"
    bank = STATEMENT.replace("shop", "bank")
    assert refused(await operator.get(bank, params={"asset": "USD", "cursor": given}), 404) == "malformed_cursor"


async def test_a_balance_is_known_on_the_last_day_of_all(operator: httpx.AsyncClient) -> None:
    assert await balance(operator, "shop", on="9999-12-31") == "15.00"


async def test_however_few_accounts_a_process_remembers_it_posts_the_same(
    house: House, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "ACCOUNTS_MAX", 1)
    await house.open_accounts(operator, "till", floor="0.00")
    for _ in range(3):
        await post(operator, movement("bank", "till", "2.00"))
        await post(operator, movement("till", "shop", "1.00"))
    assert len(recent.recent(house.database, 1).by_id) <= 2
    assert [await balance(operator, code) for code in ("bank", "till", "shop")] == ["-21.00", "3.00", "18.00"]


async def test_a_closed_day_has_the_totals_of_each_asset(house: House, operator: httpx.AsyncClient) -> None:
    await post(operator, movement("bank", "shop", "7.50"), effective=str(YESTERDAY))
    ok(await operator.post(f"{LEDGER}/days", json={"day": str(YESTERDAY)}))
    async with house.database.writing(book=1) as tx:
        assert await days.total_days(tx, clock.now()) == 1
    totals = ok(await operator.get(f"{LEDGER}/days/{YESTERDAY}"))["totals"]
    assert totals == [{"asset": "USD", "transfers": 1, "debits": "7.50", "credits": "7.50"}]


async def test_an_account_that_is_not_there_is_not_changed_whatever_it_is_called(house: House) -> None:
    unknown = (ids.text("acc", ids.fresh()), "acc_x", "shop")
    asked = [ChangeAccount(account=each, state="frozen") for each in unknown]
    answers = await house.door.submit(commands.CHANGE_ACCOUNT, asked, caller=caller("Ann", "ledger:accounts"), book=1)
    assert answers == [AccountNotFound(account=each) for each in unknown]

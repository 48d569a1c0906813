"""Our side from the ledger itself: every entry of the account once, in order, at the cost of what is new."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from clearhouse import ids
from house import House, balance, movement, ok, post, refused
from offices import CSV, RULES, SETS, Office, opened

ENTRIES = f"{SETS}/nostro-eur/entries"


@pytest.fixture
async def office(house: House) -> AsyncGenerator[Office]:
    async with opened(house) as office:
        await house.open_accounts(office.clerk, "customer", asset="EUR")
        yield office


async def pay(office: Office, amount: str, **more: Any) -> Any:
    """Book money that came in on our account with them."""
    return await post(office.clerk, movement("nostro", "customer", amount, "EUR"), **more)


async def load(office: Office, **which: Any) -> Any:
    return ok(await office.clerk.post(ENTRIES, json=which))


def told(answer: Any) -> list[tuple[str, int, int, str, str]]:
    return [
        tuple(each[name] for name in ("currency", "entries", "items", "amount", "posted")) for each in answer["accounts"]
    ]


async def test_entries_of_the_account_are_our_side_each_of_them_once(office: Office) -> None:
    paid = await pay(office, "100.00", reference="invoice 1", external_reference="e2e-1")
    await post(office.clerk, movement("customer", "nostro", "30.00", "EUR"))
    await post(office.clerk, movement("nostro", "customer", "7.00", "EUR", pending=True))
    assert told(await load(office)) == [("EUR", 2, 2, "70.00", "0.00")]
    assert told(await load(office)) == [("EUR", 0, 0, "0.00", "0.00")]
    await pay(office, "5.00")
    assert told(await load(office)) == [("EUR", 1, 1, "5.00", "0.00")]
    await office.run()
    found = await office.breaks()
    assert sorted(each["item"]["amount"] for each in found.values()) == ["-30.00", "100.00", "5.00"]
    item = found[paid["transfers"][0]]["item"]
    assert (item["reference"], item["end_to_end"], item["date"]) == ("invoice 1", "e2e-1", paid["effective"])


async def test_a_side_from_the_ledger_is_reconciled_with_their_file(office: Office) -> None:
    await pay(office, "100.00", reference="invoice 1")
    await load(office)
    await office.load("theirs", "id,amount,currency,date,reference\nt1,99.98,EUR,2026-11-03,invoice 1\n", CSV)
    assert (await office.run())["matches"] == 1
    assert await balance(office.clerk, "nostro", "EUR") == "99.98"


async def test_what_reconciliation_posted_is_no_item_and_neither_is_its_reversal(office: Office) -> None:
    await office.both()
    first = await load(office)
    assert told(first) == [("EUR", 1, 0, "0.00", "-0.02")]
    run = ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"][0]
    await office.undo((await office.matches(run["id"]))[0]["id"])
    assert told(await load(office)) == [("EUR", 1, 0, "0.00", "0.02")]


async def test_an_entry_that_only_says_that_reconciliation_posted_it_is_an_item(office: Office) -> None:
    run = await office.both()
    match = (await office.matches(run["id"]))[0]
    await pay(office, "4.00", reference=match["id"], metadata={"reconciliation": "nostro-eur"})
    made_up = f"mat_{ids.text('mat', ids.fresh())[4:]}-1"
    await pay(office, "3.00", reference=made_up, metadata={"reconciliation": "nostro-eur"})
    assert told(await load(office)) == [("EUR", 3, 2, "7.00", "-0.02")]


async def test_a_load_of_so_many_goes_on_where_it_stopped_and_over_all_currencies(office: Office) -> None:
    for code in ("nostro", "customer"):
        await office.house.open_accounts(office.clerk, code, asset="USD")
    legs = [movement("nostro", "customer", f"{n}.00", "EUR") for n in (1, 2, 3)]
    await post(office.clerk, *legs, movement("customer", "nostro", "9.00", "USD"))
    answers = [await load(office, most=2) for _ in range(3)]
    assert [each["complete"] for each in answers] == [False, True, True]
    assert [told(each) for each in answers] == [
        [("EUR", 2, 2, "3.00", "0.00")],
        [("EUR", 1, 1, "3.00", "0.00"), ("USD", 1, 1, "9.00", "0.00")],
        [("EUR", 0, 0, "0.00", "0.00"), ("USD", 0, 0, "0.00", "0.00")],
    ]


async def test_a_load_begins_and_ends_where_it_is_told_and_leaves_no_gap(office: Office) -> None:
    booked = [(await pay(office, f"{n}.00"))["booked"] for n in (1, 2, 3)]
    assert told(await load(office, since=booked[1], until=booked[1])) == [("EUR", 1, 1, "2.00", "0.00")]
    answer = await office.clerk.post(ENTRIES, json={"since": booked[0]})
    assert refused(answer, 409) == "loaded_already"
    assert told(await load(office)) == [("EUR", 1, 1, "3.00", "0.00")]


async def test_only_an_account_that_is_there_has_entries(office: Office) -> None:
    assert refused(await office.clerk.post(ENTRIES, json={"currency": "USD"}), 422) == "account_missing"
    ok(await office.clerk.post(SETS, json={"name": "files", "rules": [{"by": "reference"}]}))
    assert refused(await office.clerk.post(f"{SETS}/files/entries", json={}), 422) == "no_account"


async def test_an_account_may_be_named_by_its_id(office: Office) -> None:
    account = ok(await office.clerk.get("/api/v1/ledger/accounts/nostro", params={"asset": "EUR"}))["id"]
    ok(await office.clerk.post(SETS, json={**RULES, "account": account}))
    await pay(office, "1.00")
    assert told(await load(office)) == [("EUR", 1, 1, "1.00", "0.00")]


async def test_while_others_book_every_entry_is_loaded_once(office: Office) -> None:
    async def book(client: httpx.AsyncClient) -> None:
        for _ in range(15):
            await post(client, movement("nostro", "customer", "1.00", "EUR"))

    writing = asyncio.gather(*(book(office.clerk) for _ in range(4)))
    answers: list[Any] = []
    while not writing.done():
        answers.append(await load(office))
    await writing
    answers.append(await load(office))
    assert sum(each["items"] for each in answers) == 60
    assert sum(float(each["accounts"][0]["amount"]) for each in answers) == 60
    await office.run()
    sums = ok(await office.clerk.get(f"{SETS}/nostro-eur/runs"))["items"][0]["sums"]
    assert (sums[0]["new_items"], sums[0]["new"]) == (60, await balance(office.clerk, "nostro", "EUR"))

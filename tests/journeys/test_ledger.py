"""The ledger through its doors: what an operator does on the first day."""

from typing import Any

import httpx
import pytest

from house import House, balance, client, movement, ok, post, refused, transaction

ACCOUNTS = "/api/v1/ledger/accounts"
TRANSACTIONS = "/api/v1/ledger/transactions"


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    """Give somebody who posts, in a book with a customer, a shop and its revenue."""
    found = await house.caller("operator")
    await house.open_accounts(found, "customer:7", "shop", "revenue")
    return found


async def reverse(operator: httpx.AsyncClient, transfer: str, amount: str) -> httpx.Response:
    return await operator.post(TRANSACTIONS, json=transaction({"reverse": transfer, "amount": amount}))


async def change(operator: httpx.AsyncClient, code: str, **what: object) -> httpx.Response:
    return await operator.patch(f"{ACCOUNTS}/{code}", params={"asset": "USD"}, json=what)


async def refusal(operator: httpx.AsyncClient, *legs: dict[str, object]) -> str:
    """Return the code with which a transaction is refused for what it asks."""
    return refused(await operator.post(TRANSACTIONS, json=transaction(*legs)), 422)


async def test_a_payment_moves_money_and_shows_on_both_statements(operator: httpx.AsyncClient) -> None:
    posted = await post(operator, movement("customer:7", "revenue", "100.00"), reference="invoice 4711")
    assert await balance(operator, "revenue") == "100.00"
    assert await balance(operator, "customer:7") == "-100.00"
    for code in ("customer:7", "revenue"):
        lines = ok(await operator.get(f"{ACCOUNTS}/{code}/statement", params={"asset": "USD"}))["items"]
        assert [(each["transaction"], each["reference"]) for each in lines] == [(posted["id"], "invoice 4711")]


async def test_a_payment_is_found_by_its_references_and_by_its_id(operator: httpx.AsyncClient) -> None:
    names = {"reference": "invoice 4711", "external_reference": "E2E-1"}
    posted = await post(operator, movement("customer:7", "revenue", "100.00"), **names, metadata={"channel": "web"})
    for name, text in names.items():
        found = ok(await operator.get(TRANSACTIONS, params={name: text}))
        assert [each["id"] for each in found["items"]] == [posted["id"]]
    shown = ok(await operator.get(f"{TRANSACTIONS}/{posted['id']}"))
    assert shown["metadata"] == {"channel": "web"}
    assert shown["transfers"][0]["amount"] == "100.00"


async def test_an_account_with_a_floor_refuses_what_it_does_not_have(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "till", floor="0.00")
    assert await refusal(operator, movement("till", "shop", "5.00")) == "insufficient_funds"
    assert await balance(operator, "till") == "0.00"


async def test_an_account_with_a_ceiling_refuses_what_it_has_no_room_for(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "wallet", ceiling="10.00")
    await post(operator, movement("shop", "wallet", "10.00"))
    assert await refusal(operator, movement("shop", "wallet", "0.01")) == "above_ceiling"
    assert await balance(operator, "wallet") == "10.00"


@pytest.mark.parametrize("normal", ["credit", "debit"])
async def test_what_is_held_for_arriving_has_its_room_below_a_ceiling(
    house: House, operator: httpx.AsyncClient, normal: str
) -> None:
    await house.open_accounts(operator, "wallet", normal=normal, ceiling="10.00")

    def arriving(amount: str, **more: Any) -> dict[str, object]:
        sides = ("shop", "wallet") if normal == "credit" else ("wallet", "shop")
        return movement(*sides, amount, **more)

    await post(operator, arriving("6.00", pending=True))
    assert await refusal(operator, arriving("4.01")) == "above_ceiling"
    assert await refusal(operator, arriving("4.01", pending=True)) == "above_ceiling"
    await post(operator, arriving("4.00"))
    assert await balance(operator, "wallet") == "4.00"


async def test_a_viewer_posts_nothing(house: House) -> None:
    viewer = await house.caller("viewer")
    answer = await viewer.post(TRANSACTIONS, json=transaction(movement("till", "shop", "5.00")))
    assert refused(answer, 403) == "denied"


async def test_nobody_without_a_key_posts_anything(house: House) -> None:
    stranger = client(house.entrance, "")
    answer = await stranger.post(TRANSACTIONS, json=transaction(movement("till", "shop", "5.00")))
    assert refused(answer, 401) == "unauthenticated"


# Reversals -----------------------------------------------------------------------------------------------------------


async def test_a_payment_is_reversed_in_parts_and_never_above_itself(operator: httpx.AsyncClient) -> None:
    paid = (await post(operator, movement("customer:7", "revenue", "10.00")))["transfers"][0]
    ok(await reverse(operator, paid, "4.00"))
    assert refused(await reverse(operator, paid, "6.01"), 422) == "above_original"
    ok(await reverse(operator, paid, "6.00"))
    assert refused(await reverse(operator, paid, "0.01"), 422) == "above_original"
    assert await balance(operator, "revenue") == "0.00"


async def test_a_reversal_is_linked_to_what_it_reverses(operator: httpx.AsyncClient) -> None:
    paid = await post(operator, movement("customer:7", "shop", "10.00"), movement("shop", "revenue", "10.00"))
    undone = ok(await operator.post(f"{TRANSACTIONS}/{paid['id']}/reverse", json={"reference": "a mistake"}))
    shown = ok(await operator.get(f"{TRANSACTIONS}/{undone['id']}"))
    assert [each["target"] for each in shown["transfers"]] == paid["transfers"][::-1]
    assert {each["kind"] for each in shown["transfers"]} == {"reversal"}
    assert [await balance(operator, code) for code in ("customer:7", "shop", "revenue")] == ["0.00"] * 3


async def test_what_was_reversed_is_not_reversed_again(operator: httpx.AsyncClient) -> None:
    paid = await post(operator, movement("customer:7", "revenue", "10.00"))
    ok(await operator.post(f"{TRANSACTIONS}/{paid['id']}/reverse", json={}))
    again = await operator.post(f"{TRANSACTIONS}/{paid['id']}/reverse", json={})
    assert refused(again, 422) == "above_original"
    assert await balance(operator, "revenue") == "0.00"


async def test_neither_a_reversal_nor_a_hold_can_be_reversed(operator: httpx.AsyncClient) -> None:
    paid = (await post(operator, movement("customer:7", "revenue", "10.00")))["transfers"][0]
    undone = ok(await reverse(operator, paid, "10.00"))["transfers"][0]
    held = (await post(operator, movement("customer:7", "revenue", "10.00", pending=True)))["transfers"][0]
    for transfer in (undone, held):
        assert refused(await reverse(operator, transfer, "1.00"), 422) == "not_reversible"


async def test_a_reversal_keeps_the_limits_of_the_accounts(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "till", floor="0.00")
    paid = await post(operator, movement("customer:7", "till", "10.00"))
    await post(operator, movement("till", "shop", "8.00"))
    answer = await operator.post(f"{TRANSACTIONS}/{paid['id']}/reverse", json={})
    assert refused(answer, 422) == "insufficient_funds"
    assert await balance(operator, "till") == "2.00"


# All or none ---------------------------------------------------------------------------------------------------------


async def test_an_exchange_moves_both_currencies_or_none(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "nostro", "position", asset="EUR", floor="-90.00")
    await house.open_accounts(operator, "nostro", "position", asset="USD")
    exchange = (movement("nostro", "position", "90.00", "EUR"), movement("position", "nostro", "100.00", "USD"))
    await post(operator, *exchange)
    assert await refusal(operator, *reversed(exchange)) == "insufficient_funds"
    assert await balance(operator, "nostro", "EUR") == "-90.00"
    assert await balance(operator, "nostro", "USD") == "100.00"


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (movement("customer:7", "nobody", "1.00"), "account_unknown"),
        (movement("customer:7", "customer:7", "1.00"), "same_account"),
        (movement("customer:7", "revenue", "0.00"), "amount_not_positive"),
        ({"capture": "trf_01KAHG7R9Q7XKJ8W3M5N2P4T6V"}, "transfer_unknown"),
        ({"debit": "customer:7", "amount": "1.00"}, "malformed_transfer"),
        ({}, "malformed_transfer"),
    ],
)
async def test_one_bad_leg_refuses_the_whole(operator: httpx.AsyncClient, broken: dict[str, object], code: str) -> None:
    assert await refusal(operator, movement("customer:7", "revenue", "5.00"), broken) == code
    assert await balance(operator, "revenue") == "0.00"


async def test_legs_spend_what_the_legs_before_them_brought(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "till", floor="0.00")
    late = (movement("till", "shop", "5.00"), movement("customer:7", "till", "5.00"))
    assert await refusal(operator, *late) == "insufficient_funds"
    await post(operator, *reversed(late))
    assert await balance(operator, "shop") == "5.00"


# Accounts and assets -------------------------------------------------------------------------------------------------


async def test_a_frozen_account_takes_nothing_until_it_is_thawed(operator: httpx.AsyncClient) -> None:
    ok(await change(operator, "revenue", state="frozen"))
    assert await refusal(operator, movement("customer:7", "revenue", "1.00")) == "account_frozen"
    ok(await change(operator, "revenue", state="open"))
    await post(operator, movement("customer:7", "revenue", "1.00"))
    assert await balance(operator, "revenue") == "1.00"


async def test_an_account_is_closed_when_it_is_empty_and_for_good(operator: httpx.AsyncClient) -> None:
    paid = await post(operator, movement("customer:7", "revenue", "1.00"))
    assert refused(await change(operator, "revenue", state="closed"), 422) == "account_in_use"
    ok(await operator.post(f"{TRANSACTIONS}/{paid['id']}/reverse", json={}))
    ok(await change(operator, "revenue", state="closed"))
    assert await refusal(operator, movement("customer:7", "revenue", "1.00")) == "account_closed"
    assert refused(await change(operator, "revenue", state="open"), 422) == "account_state"


async def test_new_limits_hold_from_the_next_payment_on(operator: httpx.AsyncClient) -> None:
    await post(operator, movement("shop", "revenue", "5.00"))
    ok(await change(operator, "shop", floor="-6.00"))
    assert await refusal(operator, movement("shop", "revenue", "1.01")) == "insufficient_funds"
    ok(await change(operator, "shop", floor=None))
    await post(operator, movement("shop", "revenue", "1.01"))


async def test_opening_an_account_again_gives_the_one_that_is_there(operator: httpx.AsyncClient) -> None:
    body = {"code": "shop", "asset": "USD"}
    there = ok(await operator.get(f"{ACCOUNTS}/shop", params={"asset": "USD"}))
    assert ok(await operator.post(ACCOUNTS, json=body))["id"] == there["id"]
    assert refused(await operator.post(ACCOUNTS, json=body | {"normal": "debit"}), 422) == "account_exists"


async def test_accounts_are_listed_in_the_order_of_their_codes_by_pages(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "till:3", "till:1", "till:2")
    seen: list[str] = []
    path = f"{ACCOUNTS}?prefix=till:&limit=2"
    while path:
        answer = await operator.get(path)
        seen += [each["code"] for each in ok(answer)["items"]]
        path = answer.links.get("next", {}).get("url", "")
    assert seen == ["till:1", "till:2", "till:3"]


async def test_a_book_counts_in_its_own_tokens_to_the_last_decimal(house: House, operator: httpx.AsyncClient) -> None:
    ok(await operator.post("/api/v1/ledger/assets", json={"code": "WETH", "exponent": 18}))
    await house.open_accounts(operator, "wallet", "pool", asset="WETH")
    await post(operator, movement("pool", "wallet", "0.000000000000000001", "WETH"))
    assert await balance(operator, "wallet", "WETH") == "0.000000000000000001"
    assert ok(await operator.get("/api/v1/ledger/assets")) == [{"code": "WETH", "exponent": 18}]


async def test_an_asset_keeps_the_decimals_it_was_added_with(operator: httpx.AsyncClient) -> None:
    ok(await operator.post("/api/v1/ledger/assets", json={"code": "WETH", "exponent": 18}))
    for code, exponent in (("WETH", 6), ("USD", 3)):
        again = await operator.post("/api/v1/ledger/assets", json={"code": code, "exponent": exponent})
        assert refused(again, 422) == "asset_exists"
    unknown = await operator.post(ACCOUNTS, json={"code": "wallet", "asset": "DOGE"})
    assert refused(unknown, 422) == "asset_unknown"


async def test_the_trial_balance_is_even_in_every_asset(house: House, operator: httpx.AsyncClient) -> None:
    await house.open_accounts(operator, "bank", "loan", asset="JPY")
    await post(operator, movement("customer:7", "revenue", "10.00"))
    await post(operator, movement("customer:7", "shop", "5.00", pending=True))
    await post(operator, movement("bank", "loan", "700", "JPY"))
    lines = ok(await operator.get("/api/v1/ledger/trial-balance"))
    assert [(each["asset"], each["debits_posted"], each["credits_posted"]) for each in lines] == [
        ("JPY", "700", "700"),
        ("USD", "10.00", "10.00"),
    ]
    assert [(each["credits_pending"], each["difference"]) for each in lines] == [("0", "0"), ("5.00", "0.00")]


async def test_a_key_that_opened_an_account_opens_no_other(house: House) -> None:
    operator = await house.caller("operator")
    once = {"Idempotency-Key": "the-same-key"}
    ok(await operator.post("/api/v1/ledger/accounts", json={"code": "payer", "asset": "USD"}, headers=once))
    again = await operator.post("/api/v1/ledger/accounts", json={"code": "payee", "asset": "USD"}, headers=once)
    assert refused(again, 422) == "key_reused"


async def test_a_batch_under_a_key_that_opened_other_accounts_opens_none(house: House) -> None:
    operator = await house.caller("operator")
    path, once = "/api/v1/ledger/accounts/batch", {"Idempotency-Key": "the-same-key"}
    ok(await operator.post(path, json=[{"code": code, "asset": "USD"} for code in ("first", "second")], headers=once))
    others = [{"code": code, "asset": "USD"} for code in ("first", "third", "fourth")]
    answers = ok(await operator.post(path, json=others, headers=once))["results"]
    assert [each.get("refused", each.get("ok"))["code"] for each in answers] == ["first", "account_id_taken", "fourth"]

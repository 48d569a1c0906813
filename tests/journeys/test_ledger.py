"""The ledger through its doors: what an operator does on the first day."""

from house import House, balance, movement, post, refused, transaction


async def test_a_payment_moves_money_and_shows_on_both_statements(house: House) -> None:
    operator = await house.caller("operator")
    await house.open_accounts(operator, "customer:7", "revenue")
    posted = await post(operator, movement("customer:7", "revenue", "100.00"), reference="invoice 4711")
    assert await balance(operator, "revenue") == "100.00"
    assert await balance(operator, "customer:7") == "-100.00"
    found = (await operator.get("/api/v1/ledger/transactions", params={"reference": "invoice 4711"})).json()
    assert [each["id"] for each in found["items"]] == [posted["id"]]


async def test_an_account_with_a_floor_refuses_what_it_does_not_have(house: House) -> None:
    operator = await house.caller("operator")
    await house.open_accounts(operator, "till", floor="0.00")
    await house.open_accounts(operator, "shop")
    answer = await operator.post("/api/v1/ledger/transactions", json=transaction(movement("till", "shop", "5.00")))
    assert refused(answer, 422) == "insufficient_funds"
    assert await balance(operator, "till") == "0.00"


async def test_a_viewer_posts_nothing(house: House) -> None:
    viewer = await house.caller("viewer")
    answer = await viewer.post("/api/v1/ledger/transactions", json=transaction(movement("till", "shop", "5.00")))
    assert refused(answer, 403) == "denied"

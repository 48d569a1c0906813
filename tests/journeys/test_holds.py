"""Holds through their doors: captured in parts, finally, released, expired; and a pin that stops hand and timer alike."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
import time_machine

from clearhouse import clock, ids
from clearhouse.app import worker
from clearhouse.kernel.ledger import holds, posting
from house import House, balance, movement, ok, post, refused, transaction

HOLDS = "/api/v1/ledger/holds"
HOUR = timedelta(hours=1)
BOOK = 1


@pytest.fixture
async def operator(house: House) -> httpx.AsyncClient:
    """Give somebody who posts, in a book where a customer has 100.00 and cannot overdraw."""
    found = await house.caller("operator")
    await house.open_accounts(found, "bank", "shop")
    await house.open_accounts(found, "customer", floor="0.00")
    await post(found, movement("bank", "customer", "100.00"))
    return found


async def hold(operator: httpx.AsyncClient, amount: str, **more: Any) -> str:
    """Hold some of the customer's money for the shop and return the hold's id."""
    posted = await post(operator, movement("customer", "shop", amount, pending=True, **more))
    return str(posted["transfers"][0])


async def capture(operator: httpx.AsyncClient, held: str, **what: Any) -> httpx.Response:
    return await operator.post(f"{HOLDS}/{held}/capture", json=what)


async def release(operator: httpx.AsyncClient, held: str) -> httpx.Response:
    return await operator.post(f"{HOLDS}/{held}/release")


async def left(operator: httpx.AsyncClient, held: str) -> tuple[str, str, str]:
    """Return a hold's state, what is left of it and what was captured."""
    shown = ok(await operator.get(f"{HOLDS}/{held}"))
    return shown["state"], shown["remaining"], shown["captured"]


async def available(operator: httpx.AsyncClient) -> str:
    """Return what the customer can still spend."""
    shown = ok(await operator.get("/api/v1/ledger/accounts/customer/balance", params={"asset": "USD"}))
    return str(shown["available"])


async def expire(house: House) -> int:
    """Let the worker look for expired holds two hours from now."""
    with time_machine.travel(clock.now() + 2 * HOUR):
        return await worker.expire_holds(house.database)


async def pin(house: House, held: str) -> None:
    async with house.database.writing(book=BOOK) as tx:
        assert await holds.pin(tx, [ids.parse("trf", held)], clock.now())


async def test_a_hold_sets_money_aside_without_moving_it(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    assert (await balance(operator, "customer"), await available(operator)) == ("100.00", "40.00")
    assert await balance(operator, "shop") == "0.00"
    spent = await operator.post("/api/v1/ledger/transactions", json=transaction(movement("customer", "shop", "40.01")))
    assert refused(spent, 422) == "insufficient_funds"
    assert await left(operator, held) == ("pending", "60.00", "0.00")


async def test_a_hold_is_captured_in_parts_until_nothing_is_left(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    ok(await capture(operator, held, amount="25.00"))
    assert await left(operator, held) == ("pending", "35.00", "25.00")
    ok(await capture(operator, held))
    assert await left(operator, held) == ("posted", "0.00", "60.00")
    assert refused(await capture(operator, held, amount="0.01"), 422) == "hold_ended"
    assert (await balance(operator, "shop"), await available(operator)) == ("60.00", "40.00")


async def test_a_final_capture_frees_what_it_leaves(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    ok(await capture(operator, held, amount="25.00", final=True))
    assert await left(operator, held) == ("posted", "0.00", "25.00")
    assert (await balance(operator, "shop"), await available(operator)) == ("25.00", "75.00")


async def test_a_capture_above_what_is_left_changes_nothing(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    ok(await capture(operator, held, amount="25.00"))
    assert refused(await capture(operator, held, amount="35.01"), 422) == "above_hold"
    assert refused(await capture(operator, held, amount="0.00"), 422) == "amount_not_positive"
    assert await left(operator, held) == ("pending", "35.00", "25.00")


async def test_a_released_hold_gives_everything_back(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    ok(await release(operator, held))
    assert await left(operator, held) == ("voided", "0.00", "0.00")
    assert await available(operator) == "100.00"
    assert refused(await release(operator, held), 422) == "hold_ended"
    assert refused(await capture(operator, held), 422) == "hold_ended"


async def test_a_release_after_a_capture_gives_back_the_rest(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    ok(await capture(operator, held, amount="25.00"))
    ok(await release(operator, held))
    assert await left(operator, held) == ("posted", "0.00", "25.00")
    assert (await balance(operator, "shop"), await available(operator)) == ("25.00", "75.00")


async def test_a_capture_can_be_reversed_and_the_hold_stays_captured(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    captured = ok(await capture(operator, held))
    ok(await operator.post(f"/api/v1/ledger/transactions/{captured['id']}/reverse", json={}))
    assert (await balance(operator, "shop"), await available(operator)) == ("0.00", "100.00")
    assert await left(operator, held) == ("posted", "0.00", "60.00")


async def test_a_hold_that_ran_out_is_freed_by_the_worker_once(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00", expires_at=clock.text(clock.now() + HOUR))
    assert await worker.expire_holds(house.database) == 0
    assert [await expire(house), await expire(house)] == [1, 0]
    assert await left(operator, held) == ("expired", "0.00", "0.00")
    assert await available(operator) == "100.00"
    assert refused(await capture(operator, held), 422) == "hold_ended"


async def test_what_is_captured_before_the_end_stays_captured(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00", expires_at=clock.text(clock.now() + HOUR))
    ok(await capture(operator, held, amount="25.00"))
    assert await expire(house) == 1
    assert await left(operator, held) == ("expired", "0.00", "25.00")
    assert (await balance(operator, "shop"), await available(operator)) == ("25.00", "75.00")


async def test_an_expiry_is_told_in_the_journal(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00", expires_at=clock.text(clock.now() + HOUR))
    await expire(house)
    await house.seal()
    lines = ok(await house.admin.get("/api/v1/audit/lines"))["items"]
    told = [each["lines"] for each in lines if each["kind"] == "ledger.expire"]
    assert len(told) == 1
    assert held in told[0]


async def test_a_hold_past_its_end_is_not_captured_although_no_worker_came(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00", expires_at=clock.text(clock.now() + HOUR))
    with time_machine.travel(clock.now() + 2 * HOUR):
        answer = await capture(operator, held)
    assert refused(answer, 422) == "hold_expired"
    assert await left(operator, held) == ("pending", "60.00", "0.00")


async def test_a_hold_without_an_end_never_runs_out(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    async with house.database.writing(book=BOOK) as tx:
        assert await posting.expire_holds(tx, clock.now() + 24 * 365 * HOUR) == []
    assert (await left(operator, held))[0] == "pending"


async def test_a_hold_cannot_end_before_it_begins(operator: httpx.AsyncClient) -> None:
    leg = movement("customer", "shop", "1.00", pending=True, expires_at=clock.text(clock.now() - HOUR))
    answer = await operator.post("/api/v1/ledger/transactions", json=transaction(leg))
    assert refused(answer, 422) == "expiry_in_the_past"


async def test_a_pinned_hold_waits_for_its_answer(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00", expires_at=clock.text(clock.now() + HOUR))
    await pin(house, held)
    assert refused(await capture(operator, held), 422) == "hold_pinned"
    assert refused(await release(operator, held), 422) == "hold_pinned"
    assert await expire(house) == 0
    assert await left(operator, held) == ("pending", "60.00", "0.00")


async def test_an_unpinned_hold_is_free_again(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00", expires_at=clock.text(clock.now() + HOUR))
    await pin(house, held)
    async with house.database.writing(book=BOOK) as tx:
        await holds.unpin(tx, [ids.parse("trf", held)])
    ok(await capture(operator, held, amount="10.00"))
    assert await expire(house) == 1


async def test_a_hold_that_has_ended_cannot_be_pinned(house: House, operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    ok(await release(operator, held))
    async with house.database.writing(book=BOOK) as tx:
        assert await holds.pin(tx, [ids.parse("trf", held)], clock.now()) == set()


async def test_a_hold_on_a_frozen_account_is_released_and_not_captured(operator: httpx.AsyncClient) -> None:
    held = await hold(operator, "60.00")
    account = ok(await operator.get(f"{HOLDS}/{held}"))["debit"]
    ok(await operator.patch(f"/api/v1/ledger/accounts/{account}", json={"state": "frozen"}))
    assert refused(await capture(operator, held), 422) == "account_frozen"
    ok(await release(operator, held))


async def test_only_a_hold_is_captured(operator: httpx.AsyncClient) -> None:
    paid = (await post(operator, movement("customer", "shop", "1.00")))["transfers"][0]
    assert refused(await capture(operator, paid), 422) == "not_a_hold"
    assert refused(await release(operator, paid), 422) == "not_a_hold"
    assert refused(await operator.get(f"{HOLDS}/{paid}"), 404) == "hold_not_found"


async def test_open_holds_are_listed_by_pages_and_ended_ones_are_not(operator: httpx.AsyncClient) -> None:
    held = [await hold(operator, "10.00") for _ in range(4)]
    ok(await release(operator, held.pop(1)))
    seen: list[str] = []
    path = f"{HOLDS}?limit=2"
    while path:
        answer = await operator.get(path)
        seen += [each["id"] for each in ok(answer)["items"]]
        path = answer.links.get("next", {}).get("url", "")
    assert seen == held

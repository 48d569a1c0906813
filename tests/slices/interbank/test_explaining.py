"""Explaining an amount: down to transfers, holds and statement lines, and to the cent, whatever has happened."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from clearhouse.slices.interbank import commands
from clearhouse.slices.interbank.bank.lies import Fault, Lie
from clearhouse.slices.interbank.settlement import Settlement
from clearhouse.slices.interbank.stopping import CancelSettlement
from house import House, ok
from people import Person, add
from town import PAYEE, Town


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
async def viewer(house: House) -> Person:
    return await add(house, "viewer", name="who asks why")


async def explained(viewer: Person, settlement: Settlement) -> dict[str, Any]:
    found = ok(await viewer.client.get(f"/api/v1/settlements/{settlement.id}/explain"))
    for tree in (found["tree"], *found.get("afterwards", [])):
        assert list(wrong(tree)) == []
    return dict(found)


def wrong(part: dict[str, Any]) -> Iterator[str]:
    """Give what does not add up, and what nothing accounts for."""
    parts = part.get("parts", [])
    if parts and sum(Decimal(each["amount"]) for each in parts) != Decimal(part["amount"]):
        yield f"{part['what']} {part['amount']}"
    if part["what"] == "unexplained":
        yield f"unexplained {part['amount']}"
    for each in parts:
        yield from wrong(each)


def leaves(part: dict[str, Any]) -> list[tuple[str, str]]:
    return [leaf for each in part["parts"] for leaf in leaves(each)] if "parts" in part else [(part["what"], part["amount"])]


async def test_what_is_locked_is_a_hold_and_what_was_cancelled_never_moved(town: Town, viewer: Person) -> None:
    locked = await town.execute("20.00")
    assert leaves((await explained(viewer, locked))["tree"]) == [("held", "20.00")]
    await town.ask(commands.CANCEL, CancelSettlement(locked.id))
    found = (await explained(viewer, locked))["tree"]
    assert (leaves(found), found["parts"][0]["note"]) == ([("not_moved", "20.00")], "ROLLED_BACK CANCELLED")


async def test_what_is_confirmed_in_part_is_a_transfer_and_a_hold(town: Town, viewer: Person) -> None:
    doubtful = await town.doubtful("20.00")
    await town.confirm(doubtful, "12.50")
    await town.confirm(doubtful, "15.00")
    found = leaves((await explained(viewer, doubtful))["tree"])
    assert found == [("transfer", "12.50"), ("transfer", "2.50"), ("held", "5.00")]


async def test_what_was_reconciled_ends_with_the_line_of_the_banks_statement(town: Town, viewer: Person) -> None:
    done = await town.execute("20.00")
    await town.settle()
    assert leaves((await explained(viewer, done))["tree"]) == [("transfer", "20.00")]
    await town.compare()
    assert leaves((await explained(viewer, done))["tree"]) == [("statement_line", "20.00")]


async def test_what_came_back_is_explained_beside_it(town: Town, viewer: Person) -> None:
    done = await town.execute("20.00")
    await town.settle()
    await town.give_back(done)
    await town.settle()
    found = await explained(viewer, done)
    assert [(each["what"], each["amount"]) for each in found["afterwards"]] == [("return", "20.00")]
    listed = ok(await viewer.client.get("/api/v1/settlements", params={"bank": PAYEE}))["items"]
    back = next(each for each in listed if each.get("compensates") == done.id)
    tree = ok(await viewer.client.get(f"/api/v1/settlements/{back['id']}/explain"))["tree"]
    assert (list(wrong(tree)), leaves(tree)) == ([], [("transfer", "20.00")])
    transfer = found["afterwards"][0]["parts"][0]["id"]
    assert ok(await viewer.client.get(f"/api/v1/ledger/transactions/{transfer.replace('trf', 'trx')}"))


async def test_a_difference_is_the_lines_that_only_one_side_has(town: Town, viewer: Person) -> None:
    await town.execute("20.00")
    await town.settle()
    await town.bank.control.lie(Lie(Fault.MISSING, next=1))
    await town.bank.control.fund(f"{PAYEE}:USD", "7.00", reference="interest")
    report = (await town.compare())[0]
    found = ok(await viewer.client.get(f"/api/v1/reconciliation/reports/{report.id}/explain"))["tree"]
    assert (found["amount"], list(wrong(found))) == (
        report.difference,
        [f"unexplained {each}" for each in unexplained(found)],
    )
    assert ("item", "-7.00") in leaves(found)
    assert len([each for each in leaves(found) if each[0] == "item"]) == report.missing + report.unexpected


def unexplained(part: dict[str, Any]) -> list[str]:
    return [amount for what, amount in leaves(part) if what == "unexplained"]


async def test_what_no_line_accounts_for_stands_there_by_itself(town: Town, viewer: Person) -> None:
    await town.execute("20.00")
    await town.settle()
    await town.bank.control.lie(Lie(Fault.WRONG, next=1))
    report = (await town.compare())[0]
    found = ok(await viewer.client.get(f"/api/v1/reconciliation/reports/{report.id}/explain"))["tree"]
    assert report.status == "INVESTIGATION_REQUIRED"
    assert len(unexplained(found)) == 1
    assert sum(Decimal(amount) for _, amount in leaves(found)) == Decimal(report.difference)


async def test_balanced_books_have_no_difference_to_explain(town: Town, viewer: Person) -> None:
    report = (await town.compare())[0]
    found = ok(await viewer.client.get(f"/api/v1/reconciliation/reports/{report.id}/explain"))["tree"]
    assert (found["amount"], found.get("parts", [])) == ("0.00", [])

"""Every no of the ledger, as a table: what is asked and the one code that answers it; of two faults the earlier one wins."""

import inspect
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any

import httpx
import pytest
import time_machine

from clearhouse import clock, ids
from clearhouse.kernel.ledger import accounts, days, holds, opening, refusals
from clearhouse.refusals import Refusal
from house import House, movement, ok, post, refused, transaction

LEDGER = "/api/v1/ledger"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAIN = 1
ALL_DIGITS = "9" * 36 + ".99"
JSON = {"content-type": "application/json"}

# A word before a colon is a refusal. `@` is of the transaction, the rest of a leg; legs are parted by semicolons. Words in
# capitals are the things of the book below.
TRANSACTIONS = """
    exists_with_different_content: @id=OLD bank>shop 11.00 USD
    exists_with_different_content: @id=OLD bank>shop 10.00 EUR
    exists_with_different_content: @id=OLD @reference=other bank>shop 10.00 USD
    exists_with_different_content: @id=OLD bank>shop 10.00 USD ; bank>shop 10.00 USD
    exists_with_different_content: @id=OLD bank>shop amount=ten USD
    exists_with_different_content: @id=TAKEN capture=nonsense
    exists_with_different_content: @id=TAKEN capture=HELD 5.00
    exists_with_different_content: @id=TAKEN capture=PARTLY 0.50
    exists_with_different_content: @id=TAKEN capture=PARTLY 5.00 final
    day_closed: @effective=CLOSED bank>shop 1.00 USD
    transfer_id_taken: bank>shop 1.00 USD ; bank>shop 1.00 USD id=OLD
    malformed_transfer: bank>shop 1.00 USD id=NOTHING
    malformed_transfer: debit=bank
    malformed_transfer: bank>shop 1.00
    malformed_transfer: bank>shop USD
    malformed_transfer: debit=bank 1.00 USD
    malformed_transfer: credit=bank 1.00 USD
    malformed_transfer: bank>shop 1.00 USD final
    malformed_transfer: bank>shop 1.00 USD expires_at=LATER
    malformed_transfer: capture=HELD release=HELD
    malformed_transfer: capture=HELD debit=bank
    malformed_transfer: capture=HELD pending
    malformed_transfer: release=HELD 1.00
    malformed_transfer: release=HELD final
    malformed_transfer: reverse=OLD final
    account_unknown: bank>nobody 1.00 USD
    account_unknown: nobody>shop 1.00 USD
    account_unknown: bank>shop 1.00 EUR
    account_unknown: release=HELD ; bank>nobody 1.00 USD
    account_unknown: capture=HELD 5.00 ; reverse=OLD 1.00 ; bank>nobody 1.00 USD
    same_account: bank>bank 1.00 USD
    transfer_unknown: capture=NOTHING
    transfer_unknown: release=NOTHING
    transfer_unknown: reverse=NOTHING
    asset_mismatch: capture=HELD 1.00 EUR
    asset_mismatch: reverse=OLD 1.00 EUR
    not_a_hold: capture=OLD
    not_a_hold: release=OLD
    hold_ended: capture=ENDED
    hold_ended: release=ENDED
    hold_pinned: capture=PINNED
    hold_pinned: release=PINNED
    hold_expired: capture=LATE
    hold_expired: release=LATE
    not_reversible: reverse=HELD
    not_reversible: reverse=UNDOING
    amount_not_positive: bank>shop 0.00 USD
    amount_not_positive: bank>shop -1.00 USD
    amount_not_positive: capture=HELD 0.00
    amount_not_positive: capture=HELD -1.00
    amount_not_positive: reverse=OLD 0.00
    amount_not_positive: reverse=OLD -1.00
    expiry_in_the_past: bank>shop 1.00 USD pending expires_at=PAST
    above_hold: capture=HELD 20.01
    above_original: reverse=OLD 10.01
    above_original: reverse=UNDONE
    account_closed: bank>gone 1.00 USD
    account_closed: gone>bank 1.00 USD pending
    account_frozen: bank>cold 1.00 USD
    account_frozen: cold>bank 1.00 USD pending
    account_frozen: capture=COLD
    account_frozen: reverse=ICED
    counter_overflow: mint>shop 0.01 USD
    counter_overflow: bank>giant 0.01 USD pending
    insufficient_funds: customer>shop 900.00 USD
    insufficient_funds: customer>shop 900.00 USD pending
    above_ceiling: bank>wallet 10.01 USD
    above_ceiling: bank>wallet 10.01 USD pending
    malformed_id: capture=nonsense
    malformed_id: bank>shop 1.00 USD ; bank>shop 1.00 USD id=nonsense
    malformed_amount: bank>shop amount=1,00 USD
    too_many_decimals: bank>shop 1.001 USD
"""

PAIRS = """
    exists_with_different_content before day_closed: @id=OLD @effective=CLOSED bank>shop 11.00 USD
    exists_with_different_content before transfer_id_taken: @id=OLD bank>shop 10.00 USD ; bank>shop 1.00 USD id=ICED
    exists_with_different_content before account_unknown: @id=OLD bank>nobody 10.00 USD
    exists_with_different_content before same_account: @id=OLD bank>bank 10.00 USD
    exists_with_different_content before account_closed: @id=OLD bank>gone 10.00 USD
    exists_with_different_content before above_ceiling: @id=OLD bank>wallet 10.01 USD
    day_closed before transfer_id_taken: @effective=CLOSED bank>shop 1.00 USD ; bank>shop 1.00 USD id=OLD
    day_closed before malformed_transfer: @effective=CLOSED bank>shop
    day_closed before account_unknown: @effective=CLOSED bank>nobody 1.00 USD
    day_closed before insufficient_funds: @effective=CLOSED customer>shop 900.00 USD
    transfer_id_taken before malformed_transfer: bank>shop 1.00 USD ; bank>shop id=OLD
    transfer_id_taken before account_frozen: bank>shop 1.00 USD ; bank>cold 1.00 USD id=OLD
    malformed_transfer before account_unknown: bank>nobody 1.00
    malformed_transfer before same_account: bank>bank USD
    malformed_transfer before transfer_unknown: capture=NOTHING release=NOTHING
    malformed_transfer before transfer_unknown: release=NOTHING 1.00
    malformed_transfer before not_a_hold: release=OLD 1.00
    malformed_transfer before hold_ended: release=ENDED final
    malformed_transfer before amount_not_positive: bank>shop 0.00 USD expires_at=LATER
    account_unknown before same_account: nobody>nobody 1.00 USD
    account_unknown before amount_not_positive: bank>nobody 0.00 USD
    account_unknown before expiry_in_the_past: bank>nobody 1.00 USD pending expires_at=PAST
    same_account before amount_not_positive: bank>bank 0.00 USD
    same_account before account_closed: gone>gone 1.00 USD
    transfer_unknown before asset_mismatch: capture=NOTHING 1.00 EUR
    transfer_unknown before amount_not_positive: reverse=NOTHING 0.00
    asset_mismatch before not_a_hold: capture=OLD 1.00 EUR
    asset_mismatch before above_original: reverse=OLD 10.01 EUR
    asset_mismatch before amount_not_positive: capture=HELD 0.00 EUR
    not_a_hold before amount_not_positive: capture=OLD 0.00
    hold_ended before hold_expired: capture=ENDED
    hold_ended before amount_not_positive: capture=ENDED 0.00
    hold_pinned before hold_expired: capture=PINNED
    hold_pinned before above_hold: capture=PINNED 99.00
    hold_expired before above_hold: capture=LATE 99.00
    hold_expired before account_frozen: capture=LATE
    not_reversible before amount_not_positive: reverse=HELD 0.00
    not_reversible before above_original: reverse=HELD 99.00
    amount_not_positive before above_original: reverse=UNDONE 0.00
    amount_not_positive before above_original: reverse=UNDONE -1.00
    amount_not_positive before expiry_in_the_past: bank>shop 0.00 USD pending expires_at=PAST
    amount_not_positive before account_closed: bank>gone 0.00 USD
    amount_not_positive before account_frozen: capture=COLD 0.00
    expiry_in_the_past before account_closed: bank>gone 1.00 USD pending expires_at=PAST
    expiry_in_the_past before insufficient_funds: customer>shop 900.00 USD pending expires_at=PAST
    above_hold before account_frozen: capture=COLD 99.00
    above_original before account_frozen: reverse=ICED 99.00
    account_closed before account_frozen: gone>cold 1.00 USD
    account_closed before insufficient_funds: customer>gone 900.00 USD
    account_closed before counter_overflow: mint>gone 0.01 USD
    account_frozen before insufficient_funds: customer>cold 900.00 USD
    account_frozen before counter_overflow: mint>cold 0.01 USD
    counter_overflow before insufficient_funds: customer>giant 900.00 USD
    counter_overflow before above_ceiling: mint>wallet 10.01 USD
    insufficient_funds before above_ceiling: customer>wallet 900.00 USD
"""

# Where the order of the legs, or of the two accounts, decides before the list does.
PLACES = """
    amount_not_positive: bank>shop 0.00 USD ; bank>nobody 1.00 USD
    above_ceiling: bank>wallet 10.01 USD ; customer>shop 900.00 USD
    insufficient_funds: customer>shop 900.00 USD ; capture=nonsense
    account_frozen: cold>gone 1.00 USD
    above_ceiling: drawer>vault 1.00 USD
"""

REQUESTS = """
    422 malformed_code: POST accounts {"code": "two words", "asset": "USD"}
    422 malformed_code: POST accounts {"code": "acc_01KAHG7R9Q7XKJ8W3M5N2P4T6V", "asset": "USD"}
    422 malformed_code: POST assets {"code": "usdc", "exponent": 6}
    422 asset_unknown: POST accounts {"code": "new", "asset": "DOGE"}
    422 asset_exists: POST assets {"code": "USD", "exponent": 3}
    422 account_exists: POST accounts {"code": "bank", "asset": "USD", "normal": "debit"}
    422 account_exists: POST accounts {"code": "bank", "asset": "USD", "floor": "0.00"}
    422 account_exists: POST accounts {"code": "wallet", "asset": "USD", "ceiling": "10.01"}
    422 account_exists: POST accounts {"code": "bank", "asset": "USD", "metadata": {"of": "ours"}}
    422 limits_crossed: POST accounts {"code": "new", "asset": "USD", "floor": "1.00", "ceiling": "0.99"}
    422 limits_crossed: PATCH accounts/customer?asset=USD {"ceiling": "-0.01"}
    422 limits_crossed: PATCH accounts/wallet?asset=USD {"floor": "10.01"}
    400 malformed_amount: POST accounts {"code": "new", "asset": "USD", "floor": "none"}
    400 malformed_amount: PATCH accounts/customer?asset=USD {"floor": ""}
    400 too_many_decimals: PATCH accounts/customer?asset=USD {"floor": "0.001"}
    404 account_not_found: GET accounts/nobody?asset=USD
    404 account_not_found: GET accounts/bank?asset=EUR
    404 account_not_found: GET accounts/acc_01KAHG7R9Q7XKJ8W3M5N2P4T6V
    404 account_not_found: PATCH accounts/nobody?asset=USD {"state": "frozen"}
    422 account_state: PATCH accounts/gone?asset=USD {"state": "open"}
    422 account_state: PATCH accounts/gone?asset=USD {"floor": "0.00"}
    422 account_in_use: PATCH accounts/customer?asset=USD {"state": "closed"}
    422 account_in_use: PATCH accounts/held?asset=USD {"state": "closed"}
    422 day_not_begun: POST days {"day": "AHEAD"}
    422 day_already_closed: POST days {"day": "CLOSED"}
    422 day_already_closed: POST days {"day": "0001-01-01"}
    404 day_not_found: GET days/AHEAD
    404 day_not_found: GET days/1999-12-31
    422 opening_line_refused: POST import {"lines": [{"code": "two words", "asset": "USD"}]}
    422 opening_line_refused: POST import {"lines": [{"code": "new", "asset": "DOGE"}]}
    422 opening_line_refused: POST import {"lines": [{"code": "bank", "asset": "USD", "normal": "debit"}]}
    422 opening_line_refused: POST import {"lines": [{"code": "new", "asset": "USD"}], "against": "two words"}
    422 above_ceiling: POST import {"lines": [{"code": "new", "asset": "USD", "ceiling": "1.00", "balance": "2.00"}]}
    422 day_closed: POST import {"lines": [{"code": "new", "asset": "USD", "balance": "2.00"}], "effective": "CLOSED"}
"""


@dataclass(frozen=True, slots=True)
class Book:
    """A book in which everything can go wrong, two hours later."""

    operator: httpx.AsyncClient
    auditor: httpx.AsyncClient
    things: dict[str, str]

    def body(self, text: str) -> dict[str, Any]:
        """Read a transaction from its row."""
        whole: dict[str, Any] = {}
        legs: list[dict[str, Any]] = [{}]
        for word in text.split():
            if word == ";":
                legs.append({})
            elif word.startswith("@"):
                whole |= self.field(word[1:])
            else:
                legs[-1] |= self.field(word)
        if "id" in whole:
            whole["id"] = whole["id"].replace("trf_", "trx_")
        return transaction(*legs, **whole)

    def field(self, word: str) -> dict[str, Any]:
        name, _, value = word.partition("=")
        if value:
            return {name: self.things.get(value, value)}
        debit, between, credit = word.partition(">")
        if between:
            return {"debit": debit, "credit": credit}
        if word in {"pending", "final"}:
            return {word: True}
        return {"currency" if word.isupper() else "amount": word}

    async def state(self) -> tuple[Any, Any]:
        """Return everything that a refusal must not change."""
        listed = ok(await self.operator.get(f"{LEDGER}/accounts"))
        return listed, ok(await self.auditor.post(f"{LEDGER}/verify"))


def rows(table: str) -> list[tuple[str, str]]:
    """Return the rows of a table: what is expected, and what is asked."""
    found = (re.fullmatch(r"\s*([\w ]+): (.*)", line) for line in table.strip().splitlines())
    return [(each[1], each[2]) for each in found if each is not None]


def codes(*modules: ModuleType) -> list[str]:
    """Return the codes of the refusals that modules define, in the order in which they stand there."""
    found: list[str] = []
    for module in modules:
        classes = [each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, Refusal)]
        own = [each for each in classes if each.__module__ == module.__name__]
        found += [each.code for each in sorted(own, key=list(vars(module).values()).index)]
    return found


@pytest.fixture
async def book(house: House) -> AsyncGenerator[Book]:
    """Give a book with a transfer of every sort, seen two hours after they were made."""
    operator = await house.caller("operator")
    await house.open_accounts(operator, "bank", "shop", "cold", "gone", "mint", "giant", "held")
    await house.open_accounts(operator, "customer", floor="0.00")
    await house.open_accounts(operator, "wallet", ceiling="10.00")
    await house.open_accounts(operator, "drawer", normal="debit", ceiling="0.00")
    await house.open_accounts(operator, "vault", normal="debit", floor="0.00")
    things = await moved(operator) | await held(operator)
    things |= {
        "NOTHING": ids.text("trf", ids.fresh()),
        "LATER": clock.text(clock.now() + 9 * HOUR),
        "PAST": "2026-01-01T00:00:00Z",
    }
    things |= {"CLOSED": str(clock.today() - DAY), "AHEAD": str(clock.today() + 3 * DAY)}
    async with house.database.writing(book=MAIN) as tx:
        assert await holds.pin(tx, [ids.parse("trf", things["PINNED"])], clock.now())
    for code, state in (("cold", "frozen"), ("gone", "closed")):
        ok(await operator.patch(f"{LEDGER}/accounts/{code}", params={"asset": "USD"}, json={"state": state}))
    ok(await operator.post(f"{LEDGER}/days", json={"day": things["CLOSED"]}))
    with time_machine.travel(clock.now() + 2 * HOUR):
        yield Book(operator, await house.caller("auditor"), things)


async def moved(operator: httpx.AsyncClient) -> dict[str, str]:
    """Post what can be reversed, and what cannot."""
    await post(operator, movement("bank", "customer", "100.00"))
    await post(operator, movement("mint", "giant", ALL_DIGITS))
    made = {
        "OLD": await post(operator, movement("bank", "shop", "10.00")),
        "ICED": await post(operator, movement("bank", "cold", "5.00")),
        "UNDONE": await post(operator, movement("bank", "shop", "5.00")),
    }
    made["UNDOING"] = await post(operator, {"reverse": made["UNDONE"]["transfers"][0]})
    return {name: each["transfers"][0] for name, each in made.items()}


async def held(operator: httpx.AsyncClient) -> dict[str, str]:
    """Hold what can be captured, and what cannot any more."""
    soon = clock.text(clock.now() + HOUR)
    wanted = {
        "HELD": movement("customer", "shop", "20.00"),
        "PARTLY": movement("customer", "shop", "20.00"),
        "ENDED": movement("customer", "shop", "1.00", expires_at=soon),
        "PINNED": movement("customer", "shop", "1.00", expires_at=soon),
        "LATE": movement("customer", "cold", "1.00", expires_at=soon),
        "COLD": movement("customer", "cold", "1.00"),
        "EMPTY": movement("bank", "held", "1.00"),
    }
    made = {name: (await post(operator, each | {"pending": True}))["transfers"][0] for name, each in wanted.items()}
    await post(operator, {"release": made["ENDED"]})
    made["TAKEN"] = (await post(operator, {"capture": made["PARTLY"], "amount": "5.00"}))["transfers"][0]
    return made


async def answers(book: Book, table: str) -> list[str]:
    """Ask for transactions one by one and return the codes of what they are refused with."""
    found: list[str] = []
    for _, asked in rows(table):
        answer = await book.operator.post(f"{LEDGER}/transactions", json=book.body(asked))
        found.append("posted" if answer.is_success else refused(answer, answer.status_code))
    return found


def differing(found: list[str], table: list[tuple[str, str]]) -> list[str]:
    """Return the rows that were answered otherwise, with how."""
    return [f"{told}, not {wanted}: {asked}" for told, (wanted, asked) in zip(found, table, strict=True) if told != wanted]


async def test_every_faulty_transaction_is_refused_with_the_code_of_its_fault(book: Book) -> None:
    before = await book.state()
    assert differing(await answers(book, TRANSACTIONS), rows(TRANSACTIONS)) == []
    assert await book.state() == before


async def test_of_two_faults_the_one_that_stands_earlier_in_the_list_is_told(book: Book) -> None:
    earlier = [(pair.partition(" before ")[0], asked) for pair, asked in rows(PAIRS)]
    assert differing(await answers(book, PAIRS), earlier) == []


async def test_an_earlier_leg_and_a_debited_account_are_looked_at_first(book: Book) -> None:
    assert differing(await answers(book, PLACES), rows(PLACES)) == []


async def test_in_a_batch_each_item_is_refused_as_it_is_alone(book: Book) -> None:
    table = rows(TRANSACTIONS) + rows(PLACES)
    before = await book.state()
    answer = await book.operator.post(f"{LEDGER}/transactions/batch", json=[book.body(asked) for _, asked in table])
    found = [each.get("refused", {"code": "posted"})["code"] for each in ok(answer)["results"]]
    assert differing(found, table) == []
    assert await book.state() == before


async def test_a_refused_request_has_its_code_and_its_status(book: Book) -> None:
    before = await book.state()
    found: list[str] = []
    for _, asked in rows(REQUESTS):
        method, path, body = (*re.sub("CLOSED|AHEAD", lambda word: book.things[word[0]], asked).split(" ", 2), "")[:3]
        answer = await book.operator.request(method, f"{LEDGER}/{path}", content=body or None, headers=JSON if body else {})
        found.append(f"{answer.status_code} {answer.json().get('code')}")
    assert differing(found, rows(REQUESTS)) == []
    assert await book.state() == before


def test_every_refusal_of_the_ledger_stands_in_a_table() -> None:
    assert set(codes(refusals)) <= {code for code, _ in rows(TRANSACTIONS)}
    alone = set(codes(accounts, days, opening)) - {"account_id_taken"}  # that one is an item's: journeys/test_ledger.py
    assert alone <= {code.partition(" ")[2] for code, _ in rows(REQUESTS)}


def test_the_pairs_follow_the_list_and_each_refusal_is_in_one() -> None:
    order = codes(refusals)
    pairs = [pair.split(" before ") for pair, _ in rows(PAIRS)]
    assert [pair for pair in pairs if order.index(pair[0]) > order.index(pair[1])] == []
    assert set(order) == {code for pair in pairs for code in pair}

"""What a settlement waits for: a window, a person's look, another person's word; and what comes of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.calendars.own import Hours, OpenCalendar
from clearhouse.kernel.calendars.weekdays import WEEK, Weekday
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands, doubts
from clearhouse.slices.interbank.banks import ChangeBankAccount, KeepBank
from clearhouse.slices.interbank.rules import SetLimit, SetNames, SetWindow
from clearhouse.slices.interbank.settlement import DuplicateObligation, ExecuteSettlement, Party, Settlement, State
from clearhouse.slices.interbank.stopping import CancelSettlement, NotDenied, ReleaseSettlement
from clearhouse.slices.operations.commands import OPEN_CALENDAR
from house import House, ok
from papers import Desk
from town import PAYEE, PAYER, Town, obligation

UNTOUCHED = {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
APPROVER = {"role": "approver"}


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
async def desk(house: House) -> Desk:
    """Give two who approve, and the rules of what they look at."""
    made = Desk(house)
    for name in ("anna", "bert"):
        await made.hire(name, "approver")
    for kind in ("interbank.review", "interbank.release"):
        await made.rule(APPROVER, kind=kind)
    return made


async def settled(town: Town, settlement: Settlement) -> tuple[State, str | None]:
    await town.settle()
    found = await town.show(settlement)
    return found.state, found.reason


async def test_outside_its_window_a_settlement_waits_with_nothing_locked_and_goes_when_it_opens(town: Town) -> None:
    await town.ask(commands.SET_WINDOW, SetWindow("USD", "FEDWIRE"))
    with time_machine.travel(SATURDAY, tick=True):
        waiting = await town.execute()
        await town.settle()
    assert (waiting.state, waiting.waiting_for) == (State.PENDING, "window")
    assert waiting.due_at == datetime(2026, 11, 23, 2, tzinfo=UTC)  # Sunday, 21:00 in New York
    assert await town.funds() == UNTOUCHED
    with time_machine.travel(MONDAY, tick=True):
        assert await settled(town, waiting) == (State.COMPLETED, None)


async def test_when_the_hours_change_what_waits_is_looked_at_again(town: Town) -> None:
    never: list[Weekday] = [each for number, each in enumerate(WEEK) if number != clock.now().weekday()]
    somewhen = OpenCalendar("somewhen", days=never, hours=Hours("UTC", "12:00", "12:01"))
    scopes = {1: frozenset({"calendars:write"})}
    caller = type(town.caller)(town.caller.id, "who settles", books={"main": 1}, scopes=scopes)
    await town.house.door.submit(OPEN_CALENDAR, [somewhen], caller=caller, book=1)
    await town.ask(commands.SET_WINDOW, SetWindow("USD", "somewhen"))
    waiting = await town.execute()
    assert waiting.waiting_for == "window"
    await town.ask(commands.SET_WINDOW, SetWindow("USD", None))
    assert await settled(town, waiting) == (State.COMPLETED, None)


async def test_whose_funds_do_not_suffice_when_the_window_opens_fails_and_is_tried_again(town: Town) -> None:
    await town.ask(commands.SET_WINDOW, SetWindow("USD", "FEDWIRE"))
    with time_machine.travel(SATURDAY, tick=True):
        waiting = [await town.execute("600.00"), await town.execute("600.00")]
    with time_machine.travel(MONDAY, tick=True):
        await town.settle()
    found = [await town.show(each) for each in waiting]
    assert {each.state for each in found} == {State.COMPLETED, State.FAILED}
    failed = next(each for each in found if each.state is State.FAILED)
    assert (failed.reason, failed.waiting_for) == ("insufficient_funds", "retry")


@pytest.mark.parametrize("name", ["Ivan Grozny", "GROZNY, Ivan", "Иван Грозный", "Ivan Groznyy"])
async def test_a_name_like_one_of_the_list_waits_for_a_person_however_it_is_spelt(town: Town, desk: Desk, name: str) -> None:
    await town.ask(commands.SET_NAMES, SetNames("un", ["Ivan Grozny"]))
    hit = await town.execute(creditor=Party(name))
    assert (hit.state, hit.waiting_for, await town.funds()) == (State.PENDING, "review", UNTOUCHED)
    assert await desk.approve("anna", str(hit.review)) == "approved"
    assert await settled(town, hit) == (State.COMPLETED, None)


async def test_another_name_waits_for_nobody(town: Town) -> None:
    await town.ask(commands.SET_NAMES, SetNames("un", ["Ivan Grozny"]))
    assert (await town.execute(creditor=Party("Mira Novak"))).state is State.FUNDS_LOCKED


async def test_what_a_person_refuses_fails_for_good(town: Town, desk: Desk) -> None:
    await town.ask(commands.SET_NAMES, SetNames("un", ["Deutsche Bank"]))
    hit = await town.execute()
    await desk.say("bert", "reject", str(hit.review), remark="it is him")
    assert await settled(town, hit) == (State.FAILED, "review_refused")
    assert await town.funds() == UNTOUCHED


LIMITS: list[tuple[dict[str, Any], list[str]]] = [
    ({"single": "50.00"}, ["review"]),
    ({"daily": "150.00"}, ["", "review"]),
    ({"hourly": 2}, ["", "", "review"]),
]


@pytest.mark.parametrize(("limit", "told"), LIMITS, ids=["single", "daily", "hourly"])
@pytest.mark.usefixtures("desk")
async def test_beyond_a_limit_a_person_looks(town: Town, limit: dict[str, Any], told: list[str]) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", **limit))
    assert [(await town.execute("100.00")).waiting_for or "" for _ in told] == told


async def test_without_anybody_who_approves_a_hit_waits_until_there_is_somebody(town: Town, house: House) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", single="50.00"))
    hit = await town.execute()
    assert (hit.state, hit.reason, hit.review) == (State.PENDING, "nobody_can_approve", None)
    desk = Desk(house)
    await desk.hire("anna", "approver")
    with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
        await town.settle()
        review = str((await town.show(hit)).review)
        assert await desk.approve("anna", review) == "approved"
        assert (await settled(town, hit))[0] is State.COMPLETED


async def test_where_nobody_has_set_rules_one_who_had_no_hand_in_it_approves(town: Town, house: House) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", single="50.00"))
    desk = Desk(house)
    await desk.hire("anna", "approver")
    hit = await town.execute()
    policies = ok(await house.admin.get("/api/v1/approvals/policies"))["items"]
    assert [(each["kind"], each["version"], each["levels"]) for each in policies] == [
        ("interbank.review", 1, [{"role": "approver"}])
    ]
    assert await desk.approve("anna", str(hit.review)) == "approved"
    assert (await settled(town, hit))[0] is State.COMPLETED


async def test_the_rules_of_a_book_come_before_those_of_the_product(town: Town, house: House) -> None:
    await town.ask(commands.SET_LIMIT, SetLimit("USD", single="50.00"))
    desk = Desk(house)
    for name in ("anna", "bert"):
        await desk.hire(name, "approver")
    await desk.rule({"role": "approver", "count": 2}, kind="interbank.review")
    hit = await town.execute()
    assert await desk.approve("anna", str(hit.review)) == "pending"
    assert await desk.approve("bert", str(hit.review)) == "approved"


async def test_what_is_in_doubt_is_released_by_two_people_and_a_confirmation_after_that_goes_to_suspense(
    town: Town, desk: Desk
) -> None:
    doubtful = await town.doubtful("100.00")
    asked = ReleaseSettlement(doubtful.id, "the bank denies it")
    approval = (await town.ask(commands.RELEASE, asked)).approval
    assert await town.funds() == {"vostro": ("1000.00", "100.00"), "nostro": ("1000.00", "100.00")}
    assert await desk.approve("anna", approval.id) == "approved"
    with pytest.raises(NotDenied):
        await town.ask(commands.RELEASE, asked)
    await town.advance(*doubts.STAGES)
    released = (await town.ask(commands.RELEASE, asked)).settlement
    assert (released.state, released.reason, await town.funds()) == (State.FAILED, "released_by_hand", UNTOUCHED)
    await town.confirm(doubtful, "100.00")
    await town.confirm(doubtful, "100.00")
    assert (await town.show(doubtful)).state is State.FAILED
    assert await town.funds() == {"vostro": ("1000.00", "0.00"), "nostro": ("900.00", "0.00")}
    assert await town.alerts() == 1


async def test_one_person_alone_releases_nothing(town: Town, desk: Desk) -> None:
    doubtful = await town.doubtful()
    await desk.hire("carl", "operator", "approver")
    path = f"/api/v1/settlements/{doubtful.id}/release"
    body = {"reason": "I say so"}
    approval = ok(await desk["carl"].client.post(path, json=body))["approval"]
    assert await desk.approve("carl", approval["id"]) == "own_work"
    assert "approval" in ok(await desk["carl"].client.post(path, json=body))
    assert (await town.show(doubtful)).state is State.IN_DOUBT


async def test_of_one_obligation_that_many_ask_for_at_once_one_is_settled(town: Town) -> None:
    asked = [ExecuteSettlement("OBL-x", PAYER, PAYEE, "1.00", "USD") for _ in range(20)]
    together = await town.ask_all(commands.EXECUTE_SETTLEMENT, asked)
    alone = await town.ask_all(commands.EXECUTE_SETTLEMENT, asked[:1])
    assert [isinstance(each, Settlement) for each in together] == [True] + [False] * 19
    assert {type(each) for each in [*together[1:], *alone]} == {DuplicateObligation}
    assert await town.funds() == {"vostro": ("1000.00", "1.00"), "nostro": ("1000.00", "1.00")}


async def test_in_one_batch_the_second_try_of_an_obligation_is_taken_if_the_first_was_refused(town: Town) -> None:
    asked = [ExecuteSettlement("OBL-x", PAYER, PAYEE, amount, "USD") for amount in ("1000.01", "1.00", "2.00")]
    answers = await town.ask_all(commands.EXECUTE_SETTLEMENT, asked)
    assert [each.code if isinstance(each, Refusal) else each.amount for each in answers] == [
        "insufficient_funds", "1.00", "duplicate_obligation",
    ]  # fmt: skip


async def test_an_obligation_whose_settlement_was_cancelled_is_settled_by_another(town: Town) -> None:
    first = await town.execute(obligation_id="OBL-x")
    await town.ask(commands.CANCEL, CancelSettlement(first.id))
    assert (await settled(town, await town.execute(obligation_id="OBL-x")))[0] is State.COMPLETED


async def test_a_suspended_bank_and_a_frozen_account_settle_nothing(town: Town) -> None:
    await town.ask(commands.CHANGE_ACCOUNT, ChangeBankAccount("vostro", PAYER, "USD", "frozen"))
    asked = [ExecuteSettlement("OBL-f", PAYER, PAYEE, "1.00", "USD")]
    frozen = (await town.ask_all(commands.EXECUTE_SETTLEMENT, asked))[0]
    await town.ask(commands.KEEP_BANK, KeepBank(PAYEE, "Deutsche Bank", "suspended"))
    suspended = (await town.ask_all(commands.EXECUTE_SETTLEMENT, asked))[0]
    assert (frozen.code, suspended.code) == ("account_frozen", "bank_suspended")


async def test_a_credit_line_lets_a_bank_owe_so_much_and_no_more(town: Town) -> None:
    for side, bank in (("vostro", PAYER), ("nostro", PAYEE)):
        await town.ask(commands.CHANGE_ACCOUNT, ChangeBankAccount(side, bank, "USD", credit_line="500.00"))  # type: ignore[arg-type] - one of the two sides
    answers = [await town.execute("1500.00")]
    over = await town.ask_all(commands.EXECUTE_SETTLEMENT, [ExecuteSettlement("OBL-o", PAYER, PAYEE, "0.01", "USD")])
    assert (answers[0].state, over[0].code) == (State.FUNDS_LOCKED, "insufficient_funds")


async def test_settlements_are_listed_by_what_they_have_in_common_and_page_by_page(town: Town) -> None:
    made = [await town.execute("1.00") for _ in range(5)]
    operator: httpx.AsyncClient = await town.house.caller("operator", name="who lists")
    seen: list[str] = []
    path = f"/api/v1/settlements?limit=2&bank={PAYEE}&state=FUNDS_LOCKED"
    while path:
        answer = await operator.get(path)
        seen += [each["id"] for each in ok(answer)["items"]]
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
        ok(await operator.post("/api/v1/settlements", json=obligation(f"OBL-{len(seen)}-later")))
    assert seen == [each.id for each in reversed(made)]

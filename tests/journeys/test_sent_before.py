"""What was sent, given up and settled again leaves our nostro once, whichever of the two orders reaches the bank first."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import commands as interbank
from clearhouse.slices.interbank import listening, turns
from clearhouse.slices.interbank.answers import Said, Word
from clearhouse.slices.interbank.bank.control import OpenAccount
from clearhouse.slices.interbank.bank.lies import Fault, Lie, Outage
from clearhouse.slices.interbank.banks import FundBankAccount, KeepBank, OpenBankAccount, Side
from clearhouse.slices.interbank.channel import PaymentOrder
from clearhouse.slices.interbank.netting import commands as netting
from clearhouse.slices.interbank.netting.cycle import OpenCycle
from clearhouse.slices.interbank.netting.obligations import RecordObligation
from clearhouse.slices.interbank.settlement import Settlement, State
from clearhouse.slices.interbank.stopping import CancelSettlement
from giving import doubtful, given_up, lost, overdue
from house import House, ok, refused
from papers import Desk
from town import PAYEE, PAYER, Town, obligation

SETTLEMENTS = "/api/v1/settlements"
UNTOUCHED = {"vostro": ("1000.00", "0.00"), "nostro": ("1000.00", "0.00")}
PAID_ONCE = {"vostro": ("990.00", "0.00"), "nostro": ("990.00", "0.00")}
PAID_LATE = {"vostro": ("1000.00", "0.00"), "nostro": ("990.00", "0.00")}
BOTH = frozenset({netting.READ, netting.RECORD_SCOPE, netting.SETTLE_SCOPE, *interbank.SCOPES["operator"]})
# An obligation belongs to a settlement that may pay it or has, or to the last that carries an order that may still arrive.
STRAY = """
SELECT s.id FROM settlement_transactions AS s
FULL JOIN interbank_obligation AS o ON o.book = s.book AND o.settlement = s.id AND o.obligation_id = s.obligation_id
WHERE o.batch IS NULL AND s.compensates IS NULL AND (o.settlement IS NULL) <> (
    s.state IN ('FAILED', 'ROLLED_BACK')
    AND (s.carries IS NULL OR s.heir IS NOT NULL OR EXISTS (
        SELECT FROM settlement_transactions AS h WHERE h.carries = s.carries AND h.accepted_at > s.accepted_at
    ))
)
"""


@pytest.fixture
async def town(house: House) -> AsyncGenerator[Town]:
    """Give a town that settles and nets, whose books are the bank's at the end of every test, and no obligation astray."""
    made = await Town.built(house)
    made.caller = Caller(made.caller.id, "who settles and nets", books={"main": 1}, scopes={1: BOTH})
    await made.ask(interbank.OPEN_ACCOUNT, OpenBankAccount("vostro", PAYEE, "USD"))
    await made.ask(netting.OPEN, OpenCycle("USD"))
    yield made
    assert {each.status for each in await made.compare()} == {"BALANCED"}
    async with house.database.writing() as tx:
        assert await tx.tuples(STRAY) == []


@pytest.fixture
async def desk(house: House) -> Desk:
    made = Desk(house)
    await made.hire("anna", "approver")
    return made


async def again(town: Town, given: Settlement, amount: str = "10.00", **more: Any) -> Settlement:
    return await town.execute(amount, obligation_id=given.obligation_id, **more)


async def correspond(town: Town, bic: str) -> None:
    """Let there be another bank that can pay and be paid."""
    await town.ask(interbank.KEEP_BANK, KeepBank(bic, "another"))
    sides: list[Side] = ["vostro", "nostro"]
    for side in sides:
        await town.ask(interbank.OPEN_ACCOUNT, OpenBankAccount(side, bic, "USD"))
        await town.ask(interbank.FUND_ACCOUNT, FundBankAccount(side, bic, "USD", "100.00"))
    await town.bank.control.open([OpenAccount(f"{bic}:USD", "USD", balance="100.00")])


async def code(town: Town, given: Settlement, amount: str = "10.00", **more: Any) -> str:
    """Return why what was given up is not settled again."""
    with pytest.raises(Refusal) as caught:
        await again(town, given, amount, **more)
    return caught.value.code


async def record(town: Town, given: Settlement) -> str:
    """Return why what was given up is not netted; nothing if it is."""
    answer = (await town.ask_all(netting.RECORD, [RecordObligation(given.obligation_id, PAYER, PAYEE, "10.00", "USD")]))[0]
    return answer.code if isinstance(answer, Refusal) else ""


async def arrive(town: Town, order: PaymentOrder) -> None:
    """Let an order reach the bank that was in the network, and hear what the bank says."""
    await town.bank.send([order])
    await listening.listen(town.line)


async def say(town: Town, settlement: Settlement, said: Said, total: str) -> None:
    await listening.hear(town.line, [Word(UUID(settlement.uetr), said, total, "AC04" if said == "returned" else "")])


async def suspense(town: Town) -> str:
    async with town.house.database.reading([1]) as tx:
        rows = await tx.tuples(
            "SELECT credits_posted - debits_posted FROM ledger_account WHERE book = 1 AND code = 'suspense:USD'"
        )
    return str(rows[0][0]) if rows else "0"


async def states(town: Town, *shown: Settlement) -> list[State]:
    return [(await town.show(each)).state for each in shown]


# Both orders, in both ways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["the late one", "the late one, and it was heard of", "the new one"])
async def test_of_the_late_order_and_the_new_one_the_bank_takes_one(town: Town, desk: Desk, first: str) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    assert new.uetr == given.uetr
    if first == "the new one":
        await town.settle()
        await arrive(town, late)
    else:
        await town.bank.send([late])
        if first != "the late one":
            await listening.listen(town.line)
            assert await suspense(town) == "-1000"
    await town.settle()
    await overdue(town)
    await town.settle()
    assert (await states(town, given, new), await town.paid(new)) == ([State.FAILED, State.COMPLETED], (1, "10.00"))
    assert (await town.funds(), await suspense(town)) == (PAID_ONCE, "0")
    assert await code(town, given) == "duplicate_obligation"


async def test_over_http_what_was_given_up_is_settled_again_by_the_same_order_or_not_at_all(
    town: Town, desk: Desk, house: House
) -> None:
    given, late = await lost(town, desk)
    operator = await house.caller("operator")
    asked = obligation(given.obligation_id, amount="10.00")
    await correspond(town, "BNPAFRPP")
    await town.correspond("EUR", "100.00")
    others = {"amount": "10.01", "method": "SWIFT", "currency": "EUR", "from_bank": "BNPAFRPP", "to_bank": "BNPAFRPP"}
    for field, other in others.items():
        answer = await operator.post(SETTLEMENTS, json={**asked, field: other})
        assert (refused(answer, 409), field in answer.json()["detail"]) == ("other_terms", True)
    assert await town.funds() == UNTOUCHED
    made = ok(await operator.post(SETTLEMENTS, json={**asked, "priority": "URGENT"}))
    assert (made["uetr"], made["id"] == given.id) == (given.uetr, False)
    await arrive(town, late)
    await town.settle()
    await overdue(town)
    await town.settle()
    detail = ok(await operator.get(f"{SETTLEMENTS}/{given.id}"))
    assert [(each["cause"], each.get("settlement")) for each in detail["compensations"]] == [
        ("late_confirmation", None), ("late_settled", made["id"])
    ]  # fmt: skip
    assert ok(await operator.get(f"{SETTLEMENTS}/{made['id']}"))["settlement"]["state"] == "COMPLETED"
    assert (await town.funds(), await suspense(town)) == (PAID_ONCE, "0")


async def test_who_asks_again_while_the_first_asks_again_is_refused(town: Town, desk: Desk, app_dsn: str) -> None:
    """Two processes: each has a database, a door and a memory of its own."""
    other = await Database.open(app_dsn)
    door = Door(other)
    for _ in range(3):
        given, _ = await lost(town, desk)
        asked = [town.obligation("10.00", obligation_id=given.obligation_id) for _ in range(2)]
        found = await asyncio.gather(
            town.ask_all(interbank.EXECUTE_SETTLEMENT, asked),
            door.submit(interbank.EXECUTE_SETTLEMENT, asked, caller=town.caller, book=1),
        )
        made = [each for answers in found for each in answers]
        assert sorted(each.code if isinstance(each, Refusal) else "" for each in made) == ["", *["duplicate_obligation"] * 3]
        await town.settle()
    await door.close()
    await other.close()
    assert await suspense(town) == "0"


# Retries ---------------------------------------------------------------------------------------------------------------


async def test_what_could_not_be_sent_is_tried_again_by_the_same_order(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    await town.bank.control.lie(Lie(Fault.DOWN, outage=Outage.NOT_SENT))
    await town.advance(turns.STAGE)
    await town.bank.control.honest()
    assert ((await town.show(new)).state, (await town.show(new)).waiting_for) == (State.FAILED, "retry")
    with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
        await town.bank.send([late])
        await town.settle()
        await overdue(town)
        await town.settle()
        shown = await town.show(new)
        assert (shown.state, shown.attempts, shown.uetr) == (State.COMPLETED, 2, given.uetr)
    assert (await town.paid(given), await town.funds(), await suspense(town)) == ((1, "10.00"), PAID_ONCE, "0")


async def test_what_the_bank_rejects_for_good_is_tried_again_by_an_order_of_its_own(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    await town.bank.control.lie(Lie(Fault.REFUSE, code="AM04", next=1))
    await town.settle()
    assert ((await town.show(new)).state, (await town.show(new)).waiting_for) == (State.FAILED, "retry")
    with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
        await town.settle()
        await arrive(town, late)
    shown = await town.show(new)
    assert (shown.state, shown.uetr == given.uetr, await town.paid(given)) == (State.COMPLETED, False, (0, "0"))
    assert (await town.funds(), await suspense(town)) == (PAID_ONCE, "0")


# The table of the decision record ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Cases:
    """What was given up, each with its order that is in the network still, and with a second one of its own kind."""

    town: Town
    given: dict[str, Settlement]
    late: dict[str, PaymentOrder]
    second: dict[str, Settlement]

    @classmethod
    async def made(cls, town: Town, desk: Desk) -> "Cases":
        found, orders = await doubtful(town, len(KINDS))
        by_uetr = {each.id: each for each in orders}
        await given_up(town, desk, *found)
        cases = cls(
            town, dict(zip(KINDS, found, strict=True)),
            {kind: by_uetr[UUID(each.uetr)] for kind, each in zip(KINDS, found, strict=True)}, {},
        )  # fmt: skip
        await cases.execute("completed")
        await town.settle()
        await cases.execute("to be retried")
        await town.bank.control.lie(Lie(Fault.DOWN, outage=Outage.NOT_SENT, next=1))
        await town.advance(turns.STAGE)
        await town.bank.control.honest()
        await town.ask(interbank.CANCEL, CancelSettlement((await cases.execute("cancelled")).id))
        again_given = await cases.execute("given up again")
        await town.initiated()
        await overdue(town)
        await given_up(town, desk, again_given)
        await cases.execute("sent")
        await town.initiated()
        await cases.execute("locked")
        return cases

    async def execute(self, kind: str) -> Settlement:
        self.second[kind] = await again(self.town, self.given[kind])
        assert self.second[kind].uetr == self.given[kind].uetr
        return self.second[kind]

    async def stand(self) -> dict[str, tuple[str, str]]:
        """Return where each second one stands, and why its obligation is not netted; where it is free, it is now."""
        found: dict[str, tuple[str, str]] = {}
        for kind, given in self.given.items():
            state = (await self.town.show(self.second[kind])).state.value if kind in self.second else ""
            found[kind] = state, await record(self.town, given)
        return found

    async def finish(self) -> dict[str, str]:
        """Let everything end, and return how."""
        with time_machine.travel(clock.now() + timedelta(minutes=2), tick=True):
            for _ in range(2):
                await self.town.settle()
                await overdue(self.town)
            await self.town.settle()
        return {kind: (await self.town.show(each)).state.value for kind, each in self.second.items()}


KINDS = ("nobody", "locked", "sent", "completed", "to be retried", "given up again", "cancelled")
OUTSTANDING, TAKEN, FREE = "obligation_outstanding", "obligation_settled", ""
REST = {"to be retried": "FAILED", "given up again": "FAILED", "cancelled": "ROLLED_BACK"}


async def test_the_late_order_is_paid_whatever_the_second_one_is(town: Town, desk: Desk) -> None:
    cases = await Cases.made(town, desk)
    await town.bank.send(list(cases.late.values()))
    await listening.listen(town.line)
    assert await cases.stand() == {
        "nobody": ("", OUTSTANDING), "locked": ("FUNDS_LOCKED", TAKEN), "sent": ("COMPLETED", TAKEN),
        "completed": ("COMPLETED", TAKEN), **{kind: (state, OUTSTANDING) for kind, state in REST.items()},
    }  # fmt: skip
    assert {kind: await code(town, cases.given[kind]) for kind in ("nobody", *REST)} == dict.fromkeys(
        ("nobody", *REST), "paid_late"
    )
    assert (await suspense(town), await town.alerts()) == ("-5000", 5)
    ended = await cases.finish()
    assert ended == {**dict.fromkeys(cases.second, "COMPLETED"), "given up again": "FAILED", "cancelled": "ROLLED_BACK"}
    assert (await suspense(town), (await town.funds())["nostro"]) == ("-3000", ("930.00", "0.00"))


async def test_the_late_order_is_rejected_whatever_the_second_one_is(town: Town, desk: Desk) -> None:
    cases = await Cases.made(town, desk)
    await town.bank.control.lie(Lie(Fault.REJECT, code="AC04"))
    await town.bank.send([each for kind, each in cases.late.items() if kind != "completed"])
    await listening.listen(town.line)
    await town.bank.control.honest()
    assert await cases.stand() == {
        "nobody": ("", FREE), "locked": ("FUNDS_LOCKED", TAKEN), "sent": ("FAILED", FREE),
        "completed": ("COMPLETED", TAKEN), **{kind: (state, FREE) for kind, state in REST.items()},
    }  # fmt: skip
    ended = await cases.finish()
    assert ended == {"locked": "COMPLETED", "sent": "FAILED", "completed": "COMPLETED", **REST}
    assert (await town.show(cases.second["locked"])).uetr != cases.given["locked"].uetr
    assert (await suspense(town), await town.funds()) == (
        "0", {"vostro": ("980.00", "0.00"), "nostro": ("980.00", "0.00")}
    )  # fmt: skip


async def test_the_late_order_is_paid_and_comes_back_whatever_the_second_one_is(town: Town, desk: Desk) -> None:
    cases = await Cases.made(town, desk)
    await town.bank.send(list(cases.late.values()))
    await town.bank.control.send_back([each.id for each in cases.late.values()])
    await listening.listen(town.line)
    assert await cases.stand() == {
        "nobody": ("", FREE), "locked": ("FUNDS_LOCKED", TAKEN), "sent": ("COMPLETED", TAKEN),
        "completed": ("COMPLETED", TAKEN), **{kind: (state, FREE) for kind, state in REST.items()},
    }  # fmt: skip
    ended = await cases.finish()
    assert ended == {"locked": "COMPLETED", "sent": "COMPLETED", "completed": "COMPLETED", **REST}
    assert (await town.show(cases.second["locked"])).uetr != cases.given["locked"].uetr
    assert (await suspense(town), await town.funds()) == (
        "0", {"vostro": ("990.00", "0.00"), "nostro": ("990.00", "0.00")}
    )  # fmt: skip


# When the bank has said the last word ------------------------------------------------------------------------------------


@pytest.mark.parametrize("carried", [False, True], ids=["nobody carries it", "somebody sent it again"])
async def test_an_order_that_is_rejected_for_good_frees_the_obligation(town: Town, desk: Desk, *, carried: bool) -> None:
    given, late = await lost(town, desk)
    await town.bank.control.lie(Lie(Fault.REJECT, ids=[UUID(given.uetr)], code="AC04"))
    if carried:
        new = await again(town, given)
        await town.settle()
        assert await states(town, new) == [State.FAILED]
    else:
        await arrive(town, late)
    fresh = await again(town, given, "20.00")
    assert fresh.uetr != given.uetr
    await town.settle()
    assert (await states(town, fresh), await town.paid(fresh)) == ([State.COMPLETED], (1, "20.00"))


async def test_what_was_given_up_is_netted_only_when_its_bank_has_rejected_it(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    assert await record(town, given) == "obligation_outstanding"
    new = await again(town, given)
    assert await record(town, given) == "obligation_settled"
    await town.ask(interbank.CANCEL, CancelSettlement(new.id))
    assert await record(town, given) == "obligation_outstanding"
    await town.bank.control.lie(Lie(Fault.REJECT, ids=[UUID(given.uetr)], code="AC04"))
    await arrive(town, late)
    assert (await record(town, given), await code(town, given)) == ("", "obligation_netted")


async def test_what_was_paid_late_is_settled_by_nobody_unless_it_comes_back(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    await arrive(town, late)
    assert (await town.funds(), await suspense(town), await town.alerts()) == (PAID_LATE, "-1000", 1)
    assert (await code(town, given), await code(town, given, "20.00")) == ("paid_late", "paid_late")
    assert await record(town, given) == "obligation_outstanding"
    await town.give_back(given)
    await town.settle()
    assert (await town.funds(), await suspense(town)) == (UNTOUCHED, "0")
    fresh = await again(town, given)
    await town.settle()
    assert (fresh.uetr == given.uetr, await states(town, fresh)) == (False, [State.COMPLETED])


# What becomes of the second ----------------------------------------------------------------------------------------------


async def test_a_word_that_comes_again_when_the_second_is_completed_books_nothing(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    await town.settle()
    await arrive(town, late)
    for said in ("confirmed", "accepted", "confirmed", "rejected"):
        await say(town, given, said, "10.00")
    assert (await town.funds(), await suspense(town), await town.alerts()) == (PAID_ONCE, "0", 0)
    await town.give_back(new)
    await town.settle()
    assert ((await town.show(new)).returned, await town.funds()) == ("10.00", UNTOUCHED)


async def test_what_is_paid_after_the_second_was_cancelled_unsent_is_in_suspense_once(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    await town.ask(interbank.CANCEL, CancelSettlement(new.id))
    await arrive(town, late)
    await say(town, given, "confirmed", "10.00")
    assert await states(town, given, new) == [State.FAILED, State.ROLLED_BACK]
    assert (await town.funds(), await suspense(town), await town.alerts()) == (PAID_LATE, "-1000", 1)
    assert await code(town, given) == "paid_late"


async def test_who_comes_after_one_that_was_cancelled_unsent_carries_the_order_too(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    await town.ask(interbank.CANCEL, CancelSettlement((await again(town, given)).id))
    assert await code(town, given, "20.00") == "other_terms"
    third = await again(town, given)
    await town.settle()
    await arrive(town, late)
    assert (third.uetr, await states(town, third), await town.paid(given)) == (given.uetr, [State.COMPLETED], (1, "10.00"))
    assert (await town.funds(), await suspense(town)) == (PAID_ONCE, "0")


async def test_what_is_paid_after_the_second_was_given_up_too_is_in_suspense_once(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    (sent,) = await town.initiated()
    assert sent == late
    await overdue(town)
    await given_up(town, desk, new)
    await arrive(town, late)
    await town.bank.send([sent])
    assert (await states(town, given, new), await town.paid(given)) == ([State.FAILED, State.FAILED], (1, "10.00"))
    assert (await town.funds(), await suspense(town), await town.alerts()) == (PAID_LATE, "-1000", 1)
    assert await code(town, given) == "paid_late"


async def test_what_was_given_up_twice_is_settled_by_the_third_once(town: Town, desk: Desk) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    await town.initiated()
    await overdue(town)
    await given_up(town, desk, new)
    third = await again(town, given)
    await town.bank.send([late])
    await town.settle()
    assert await states(town, given, new, third) == [State.FAILED, State.FAILED, State.COMPLETED]
    assert (await town.paid(given), await town.funds(), await suspense(town)) == ((1, "10.00"), PAID_ONCE, "0")


async def test_what_was_paid_and_came_back_before_the_second_was_sent_ends_that_and_frees_the_obligation(
    town: Town, desk: Desk
) -> None:
    given, late = await lost(town, desk)
    new = await again(town, given)
    await arrive(town, late)
    await town.give_back(given)
    await town.bank.news()
    await town.settle()
    await overdue(town)
    await town.settle()
    assert (await town.funds(), await suspense(town)) == (UNTOUCHED, "0")
    assert await states(town, given, new) == [State.FAILED, State.FAILED]
    fresh = await again(town, given, "20.00")
    await town.settle()
    assert (fresh.uetr == given.uetr, await states(town, fresh)) == (False, [State.COMPLETED])


async def test_a_bank_that_has_no_part_in_it_does_not_learn_what_was_sent(town: Town, desk: Desk, house: House) -> None:
    given, _ = await lost(town, desk)
    await correspond(town, "BNPAFRPP")
    party = await house.caller("party", organisation="BNPAFRPP")
    asked = obligation(given.obligation_id, from_bank="BNPAFRPP", amount="10.00")
    answer = await party.post(SETTLEMENTS, json=asked)
    assert refused(answer, 409) == "obligation_taken"
    assert given.id not in answer.text

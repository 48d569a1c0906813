"""What an inbox costs grows with what waits for whoever looks, not with what waits for others or was decided long ago.

However much or little PostgreSQL knows of its tables: nothing, what was so before they were filled, or what is so now.
"""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

import knowing
import papers
from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.approvals import decisions, inbox
from clearhouse.kernel.approvals.approval import Approval, State
from clearhouse.kernel.approvals.decisions import Approve
from clearhouse.kernel.approvals.inbox import Only
from clearhouse.refusals import Refusal
from house import House
from papers import PAPER, WRITE, Desk, Write

AUDITOR = {"role": "auditor"}
BOOK, OWN, MOST = 1, 5, 250


@pytest.fixture
async def desk(house: House, owner_dsn: str) -> AsyncGenerator[Desk]:
    """Give a desk where a few papers wait for Anna."""
    made = Desk(house)
    await knowing.by_hand(owner_dsn)
    await made.hire("sender", "operator")
    await made.hire("anna", "approver")
    for name in ("bert", "carl"):
        await made.hire(name, "auditor", "approver")
    await made.rule({"people": [made["anna"].text]}, kind="test.annas")
    await made.rule(AUDITOR)
    await made.submit("sender", WRITE, *(Write(str(number), "hers", kind="test.annas") for number in range(OWN)))
    yield made
    for clerk in made.clerks.values():
        await clerk.client.aclose()


async def crowd(desk: Desk, batch: int) -> None:
    """Let a thousand papers wait for auditors, and as many that were voided."""
    amounts = (("1.00", "USD"),)
    for text in ("before", "after"):
        papers = [Write(f"{batch}-{number}", text, amounts=amounts) for number in range(1_000)]
        await desk.submit("sender", WRITE, *papers)


async def cost(desk: Desk, **asked: Any) -> int:
    """Return how many blocks a list looks at, with everything that is shown of what is on it."""
    async with desk.house.database.reading([BOOK]) as tx:
        before = await knowing.blocks(tx)
        if "only" in asked or "state" in asked:
            await inbox.listed(tx, **asked)
        else:
            await inbox.waiting(tx, desk["anna"].id, Only(**asked), at=clock.now())
        return await knowing.blocks(tx) - before


async def cost_of_a_word(desk: Desk) -> int:
    """Return how many blocks it takes to ask for one more paper and to approve it; nothing of it stays."""
    looked_at, at, what = 0, clock.now(), Write("one more", "this", kind="test.annas")
    with suppress(Refusal):
        async with desk.house.database.writing(book=BOOK) as tx:
            before = await knowing.blocks(tx)
            made = (await papers.write(tx, [Asked(what, ids.fresh(), desk["sender"].id)], at))[0]
            assert isinstance(made, Approval)
            word = Asked(Approve(made.id, level=1), ids.fresh(), desk["anna"].id)
            approved = (await decisions.approve(tx, [word], at))[0]
            assert isinstance(approved, Approval)
            assert approved.state is State.APPROVED
            await tx.flush()
            looked_at = await knowing.blocks(tx) - before
            raise Refusal
    return looked_at


async def looked_at(desk: Desk) -> dict[str, int]:
    """Return what Anna's inbox costs, whole and narrowed down, and lists of what is rare."""
    return {
        "inbox": await cost(desk),
        "inbox of a kind": await cost(desk, kind="test.annas"),
        "inbox of another kind": await cost(desk, kind=PAPER),
        "inbox of an amount": await cost(desk, currency="USD", at_least="100"),
        "in a rare state": await cost(desk, state=State.REJECTED),
        "of a rare kind": await cost(desk, only=Only("test.annas"), state=State.PENDING),
        "of a rare kind in any state": await cost(desk, only=Only("test.annas")),
        "of an amount of a rare kind": await cost(desk, only=Only("test.annas", "USD", "100")),
        "a word": await cost_of_a_word(desk),
    }


async def test_an_inbox_costs_by_what_waits_for_its_owner_and_a_list_by_what_it_shows(desk: Desk, owner_dsn: str) -> None:
    await knowing.learn(owner_dsn)  # what is known at first was so before there was more
    await crowd(desk, 0)
    few = await looked_at(desk)
    for batch in range(1, 4):
        await crowd(desk, batch)
    costs: dict[str, dict[str, int]] = {}
    for known, learn in knowing.STATES.items():
        await learn(owner_dsn)
        costs[known] = await looked_at(desk)
    grown = {(known, name): (few[name], cost) for known, each in costs.items() for name, cost in each.items()}
    assert {name: each for name, each in grown.items() if each[1] > each[0] * 5 // 4 + 10} == {}
    assert max(few.values()) < MOST, few

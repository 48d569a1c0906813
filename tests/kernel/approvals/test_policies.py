"""Rules that nobody could satisfy are refused when they are written, with a sentence that says what is wrong."""

from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse.kernel.approvals.approvers import Rule, Standing, shortage
from house import House, ok, refused
from papers import PAPER, POLICIES, Desk
from trying import law

APPROVER = {"role": "approver"}
USD = {"amount": "100.00", "currency": "USD"}
# There are two approvers, Anna and Bert; Anna audits too. Somebody and the robot are named by what they are.
BAD: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "more people than have the role": ([APPROVER | {"count": 3}], "nobody_can_approve", "there are only 2"),
    "more levels than there are people": ([APPROVER] * 3, "nobody_can_approve", "Level 3"),
    "two levels for one person": ([{"role": "auditor"}, {"people": ["anna"]}], "nobody_can_approve", "Level 2"),
    "a role that nobody has": ([{"role": "viewer"}], "nobody_can_approve", "only 0"),
    "a role that decides nothing": ([APPROVER, {"role": "admin"}], "nobody_can_approve", "Level 2"),
    "people who decide nothing": ([{"people": ["otto"]}], "nobody_can_approve", "only 0"),
    "a service": ([{"people": ["robot"]}], "nobody_can_approve", "only 0"),
    "the same person twice": ([{"people": ["anna", "anna"], "count": 2}], "nobody_can_approve", "only 1"),
    "somebody who is not there": ([{"people": ["prn_nobody"]}], "nobody_can_approve", "only 0"),
    "an amount for every level": ([APPROVER | {"at_least": [USD]}], "released_by_nobody", "one level must always"),
    "nothing as an amount": ([APPROVER, APPROVER | {"at_least": [USD | {"amount": "0"}]}], "impossible_threshold", "zero"),
    "less than nothing": ([APPROVER, APPROVER | {"at_least": [USD | {"amount": "-1"}]}], "impossible_threshold", "zero"),
    "two amounts of an asset": ([APPROVER, APPROVER | {"at_least": [USD, USD]}], "impossible_threshold", "another"),
    "an asset that is not there": (
        [APPROVER, APPROVER | {"at_least": [USD | {"currency": "WOOD"}]}], "asset_unknown", "WOOD",
    ),
    "more decimals than there are": (
        [APPROVER, APPROVER | {"at_least": [USD | {"amount": "0.001"}]}], "too_many_decimals", "0.001",
    ),
    "an amount that is none": (
        [APPROVER, APPROVER | {"at_least": [USD | {"amount": "much"}]}], "malformed_amount", "much",
    ),
    "neither a role nor people": ([{}], "malformed", "either a role or people"),
    "a role and people": ([APPROVER | {"people": ["anna"]}], "malformed", "either a role or people"),
    "no level": ([], "malformed", "length"),
    "a level that asks for nobody": ([APPROVER | {"count": 0}], "malformed", "count"),
    "an amount as a number": ([APPROVER | {"at_least": [USD | {"amount": 1.5}]}], "malformed", "amount"),
}  # fmt: skip


@pytest.fixture
async def desk(house: House) -> Desk:
    """Give two approvers, one of whom audits too, and some who decide nothing."""
    made = Desk(house)
    await made.hire("anna", "approver", "auditor")
    await made.hire("bert", "approver")
    await made.hire("otto", "operator")
    await made.hire("robot", "approver", kind="service")
    return made


async def test_rules_that_nobody_could_satisfy_are_refused_with_a_sentence(desk: Desk, house: House) -> None:
    for name, (levels, code, sentence) in BAD.items():
        ids = [
            each | {"people": [desk[who].text if who in desk.clerks else who for who in each["people"]]}
            if "people" in each
            else each
            for each in levels
        ]
        answer = await house.admin.post(POLICIES, json={"kind": PAPER, "levels": ids})
        assert (answer.json()["code"], sentence in answer.json()["detail"]) == (code, True), f"{name}: {answer.text}"
    assert ok(await house.admin.get(POLICIES))["items"] == []


@pytest.mark.parametrize("body", [{"hours": 0}, {"hours": 8785}, {"kind": "Paper"}, {"kind": "a.b.\n"}, {"colour": "blue"}])
async def test_rules_that_cannot_be_read_are_malformed(desk: Desk, house: House, body: dict[str, Any]) -> None:
    answer = await house.admin.post(POLICIES, json={"kind": PAPER, "levels": [APPROVER]} | body)
    assert refused(answer, 400) == "malformed"
    assert desk.house is house


async def test_rules_are_read_as_they_were_written(desk: Desk, house: House) -> None:
    operator = await house.caller("operator", name="who adds assets")
    ok(await operator.post("/api/v1/ledger/assets", json={"code": "WETH", "exponent": 18}))
    above = [{"amount": "100", "currency": "USD"}, {"amount": "1.5", "currency": "WETH"}]
    levels = [APPROVER | {"at_least": above}, {"people": [desk["anna"].text, desk["bert"].text]}]
    written = await desk.rule(*levels, hours=24)
    assert written == ok(await desk["otto"].client.get(f"{POLICIES}/{PAPER}"))
    assert written["levels"][0]["at_least"] == [
        {"amount": "100.00", "currency": "USD"}, {"amount": "1." + "5".ljust(18, "0"), "currency": "WETH"},
    ]  # fmt: skip
    assert written["levels"][1]["people"] == sorted([desk["anna"].text, desk["bert"].text])
    assert (await desk.rule(*levels, hours=24))["version"] == 1
    assert (await desk.rule(*levels, hours=25))["version"] == 2


async def test_a_list_of_rules_leads_from_page_to_page(desk: Desk, house: House) -> None:
    for kind in ("c", "a", "b"):
        await desk.rule(APPROVER, kind=kind)
        await desk.rule(APPROVER, APPROVER, kind=kind)
    first = ok(await house.admin.get(POLICIES, params={"limit": 2}))
    last = ok(await house.admin.get(POLICIES, params={"limit": 2, "cursor": first["next"]}))
    found = [(each["kind"], each["version"]) for each in first["items"] + last["items"]]
    assert (found, last["next"]) == ([("a", 2), ("b", 2), ("c", 2)], None)


# Whether there are enough people, against trying every way ------------------------------------------------------------

PEOPLE = [Standing(UUID(int=number), "person", []) for number in range(1, 6)]
levels = st.lists(
    st.tuples(st.integers(1, 2), st.frozensets(st.sampled_from([each.id for each in PEOPLE]), min_size=1)), max_size=3
)


def possible(rules: list[Rule], free: list[UUID]) -> bool:
    """Tell by trying every order of people whether every place can have one of its own."""
    places = [set(rule.people) for rule in rules for _ in range(rule.count)]
    tries = permutations(free, len(places)) if len(places) <= len(free) else ()
    return any(all(who in able for who, able in zip(order, places, strict=True)) for order in tries)


@given(levels, st.frozensets(st.sampled_from([each.id for each in PEOPLE])))
@law
def test_people_are_short_exactly_if_no_way_to_seat_them_is_found(
    asked: list[tuple[int, frozenset[UUID]]], without: frozenset[UUID]
) -> None:
    rules = [Rule(place, None, tuple(who), count) for place, (count, who) in enumerate(asked, start=1)]
    free = [each.id for each in PEOPLE if each.id not in without]
    assert (shortage(rules, PEOPLE, without) is None) == possible(rules, free)

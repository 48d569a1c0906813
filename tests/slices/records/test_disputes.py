"""Disputes on a settled round: who has a word, until when, who ends them, and that each says it once in the end."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
import time_machine

from clearhouse import clock
from house import House, ok

BASE = "/settlement/calls"


@pytest.fixture
async def north(house: House) -> httpx.AsyncClient:
    return await house.caller("operator", name="of north", organisation="north")


@pytest.fixture
async def south(house: House, north: httpx.AsyncClient) -> httpx.AsyncClient:
    """Give the other party of a round in which the two do not agree on A, and do on B."""
    south = await house.caller("operator", name="of south", organisation="south")
    body = {
        "settleid": "calls", "aggregates": ["dur"], "aggregationType": "1CDR", "settlementType": "1CDR", "primaryKey": "app",
        "disputeHours": 24,
    }  # fmt: skip
    ok(await north.post("/settlement/create", json=body))
    for party, value in ((north, 90), (south, 95)):
        ok(await party.post(f"{BASE}/update", json={"record": [{"app": "A", "dur": value}, {"app": "B", "dur": 1}]}))
    ok(await north.post(f"{BASE}/settle"))
    return south


@pytest.fixture
async def referee(house: House) -> httpx.AsyncClient:
    return await house.caller("approver", name="referee")


async def say(party: httpx.AsyncClient, word: str, key: str = "A", **more: Any) -> httpx.Response:
    return await party.post(f"{BASE}/words", json={"round": 1, "key": key, "word": word, **more})


async def resolve(referee: httpx.AsyncClient, key: str = "A") -> httpx.Response:
    return await referee.post(
        f"{BASE}/resolutions", json={"round": 1, "key": key, "stands": {"dur": "92"}, "remark": "the switch says 92"}
    )


async def line(reader: httpx.AsyncClient, key: str = "A") -> Any:
    return next(each for each in ok(await reader.get(f"{BASE}/lines"))["output"] if each["key"] == key)


def reason(answer: httpx.Response) -> str:
    assert answer.json()["code"] == "SETTLE-02"
    return str(answer.json()["reason"])


async def test_a_line_that_every_party_accepts_is_accepted(north: httpx.AsyncClient, south: httpx.AsyncClient) -> None:
    assert ok(await say(north, "accepted", "B"))["output"]["state"] == "open"
    assert ok(await say(south, "accepted", "B"))["output"]["state"] == "accepted"


async def test_a_dispute_shows_the_values_side_by_side_and_ends_with_what_stands(
    north: httpx.AsyncClient, south: httpx.AsyncClient, referee: httpx.AsyncClient
) -> None:
    disputed = ok(await say(south, "disputed", remark="we count 95"))["output"]
    values = {"values": {"north": "90", "south": "95"}, "difference": "5", "status": "MISMATCH"}
    assert (disputed["state"], disputed["settled"]) == ("disputed", {"dur": values})
    assert disputed["words"]["south"]["remark"] == "we count 95"
    resolved = ok(await resolve(referee))["output"]
    assert (resolved["state"], resolved["resolution"]["stands"]) == ("resolved", {"dur": "92"})
    assert reason(await say(north, "disputed")) == "not_disputed"
    assert reason(await resolve(referee)) == "not_disputed"
    assert await line(referee) == resolved


async def test_a_word_may_change_until_the_window_closes_and_silence_is_consent(
    north: httpx.AsyncClient, south: httpx.AsyncClient, referee: httpx.AsyncClient
) -> None:
    ok(await say(south, "disputed"))
    assert ok(await say(south, "accepted"))["output"]["state"] == "open"
    assert reason(await resolve(referee)) == "not_disputed"
    with time_machine.travel(clock.now() + timedelta(hours=25), tick=False):
        assert reason(await say(north, "disputed")) == "window_closed"
        assert (await line(referee))["state"] == "accepted"


async def test_only_a_party_of_the_round_has_a_word_on_its_lines(house: House, south: httpx.AsyncClient) -> None:
    for organisation in ("east", ""):
        stranger = await house.caller("operator", name=f"stranger {organisation}", organisation=organisation)
        assert reason(await say(stranger, "disputed")) == "no_party"
    assert reason(await say(south, "disputed", "Z")) == "line_unknown"
    later = await south.post(f"{BASE}/words", json={"round": 2, "key": "A", "word": "accepted"})
    assert reason(later) == "round_unknown"


async def test_whoever_had_a_word_on_a_line_does_not_resolve_it(house: House, south: httpx.AsyncClient) -> None:
    both = await house.caller("operator", "approver", name="of south too", organisation="south")
    ok(await say(south, "disputed"))
    ok(await say(both, "disputed"))
    assert reason(await resolve(both)) == "own_word"


async def test_whoever_had_a_word_that_a_colleague_took_the_place_of_does_not_resolve_the_line(
    house: House, south: httpx.AsyncClient, referee: httpx.AsyncClient
) -> None:
    both = await house.caller("operator", "approver", name="of south too", organisation="south")
    for party, word in ((both, "accepted"), (south, "accepted"), (both, "disputed"), (south, "disputed")):
        ok(await say(party, word))
    assert reason(await resolve(both)) == "own_word"
    assert ok(await resolve(referee))["output"]["state"] == "resolved"


@pytest.mark.parametrize(
    "stands", [{}, {"price": "9"}, {"dur": "many"}, {"dur": ""}, {"dur": "1e99"}, {"dur": "9", "dur\x00": "9"}]
)
async def test_only_what_a_metric_can_be_stands_in_the_end(
    south: httpx.AsyncClient, referee: httpx.AsyncClient, stands: dict[str, str]
) -> None:
    ok(await say(south, "disputed"))
    body = {"round": 1, "key": "A", "stands": stands, "remark": "so be it"}
    answer = await referee.post(f"{BASE}/resolutions", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "SETTLE-01")
    assert (await line(referee))["state"] == "disputed"


async def test_of_two_who_resolve_a_line_at_once_one_does(house: House, south: httpx.AsyncClient) -> None:
    referees = [await house.caller("approver", name=f"referee {number}") for number in range(4)]
    ok(await say(south, "disputed"))
    answers = await asyncio.gather(*(resolve(each) for each in referees))
    assert sorted(each.status_code for each in answers) == [200, 422, 422, 422]


async def test_a_remark_that_no_database_can_hold_is_refused(south: httpx.AsyncClient) -> None:
    for answer in (await say(south, "disputed", remark="\x00"), await say(south, "disputed", "A\x00")):
        assert 400 <= answer.status_code < 500, answer.text


async def test_nobody_who_counts_waits_while_a_round_is_read_for_a_word(
    house: House, north: httpx.AsyncClient, south: httpx.AsyncClient
) -> None:
    async with house.database.writing(book=1) as tx:
        await tx.tuples("SELECT FROM records_structure WHERE book = 1 FOR NO KEY UPDATE")
        answer = await say(north, "disputed", "Z")  # there is no such line: told without waiting for who counts
        assert reason(answer) == "line_unknown"
    ok(await say(south, "disputed"))

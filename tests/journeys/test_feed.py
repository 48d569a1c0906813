"""Reading and following events over HTTP: in pages, or as they happen from a real server, and until when."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from clearhouse import ids
from clearhouse.transport.http import feed
from clearhouse.transport.http import following as transport_following
from followers import SECONDS_MAX, STREAM, Follower, following, listening
from hooking import Hooks
from house import House, client, ok, refused
from people import add

EVENTS = "/api/v1/events"
OPENED = "ledger.account_opened"


@pytest.fixture
async def url(house: House) -> AsyncGenerator[str]:
    """Give the address of a server on this house, which hears of what happens."""
    async with listening(house) as address:
        yield address


def pages(found: list[Any], size: int) -> Iterator[list[Any]]:
    yield from (found[start : start + size] for start in range(0, len(found), size))


# In pages ------------------------------------------------------------------------------------------------------------


async def test_events_are_read_in_pages_each_once_and_in_order(hooks: Hooks) -> None:
    await hooks.happen(*(f"shop:{number}" for number in range(7)))
    whole = ok(await hooks.operator.get(EVENTS, params={"limit": 1000}))["items"]
    found: list[Any] = []
    more: str | None = ""
    while more is not None:
        page = ok(await hooks.operator.get(EVENTS, params={"limit": 3, **({"cursor": more} if more else {})}))
        found += page["items"]
        more = page["next"]
    assert found == whole
    assert [each["data"]["code"] for each in whole if each["type"] == OPENED] == [f"shop:{number}" for number in range(7)]
    places = [tuple(int(part) for part in each["id"].split("-")) for each in whole]
    assert places == sorted(set(places))


async def test_a_reader_may_ask_for_some_types_or_for_one_subject(hooks: Hooks) -> None:
    await hooks.happen("shop", "till")
    opened = ok(await hooks.operator.get(EVENTS, params={"type": "ledger."}))["items"]
    assert {each["type"] for each in opened} == {OPENED}
    one = ok(await hooks.operator.get(EVENTS, params={"subject": opened[1]["subject"]}))["items"]
    assert one == [opened[1]]
    after = ok(await hooks.operator.get(EVENTS, params={"after": opened[0]["id"], "type": OPENED}))["items"]
    assert after == [opened[1]]


@pytest.mark.parametrize("after", ["rubbish", "2-1-0", "1-1", "1-99999999999999999999-0"])
async def test_a_place_that_is_none_of_this_book_is_refused(hooks: Hooks, after: str) -> None:
    for headers in ({}, STREAM):
        answered = await hooks.operator.get(EVENTS, params={"after": after}, headers=headers)
        assert refused(answered, 400) == "malformed_place"


async def test_what_was_refused_is_no_event(hooks: Hooks) -> None:
    await hooks.happen("shop")
    refused(await hooks.operator.post("/api/v1/ledger/accounts", json={"code": "shop", "asset": "NONE"}), 422)
    await hooks.house.seal()
    found = ok(await hooks.operator.get(EVENTS, params={"limit": 1000}))["items"]
    assert {each["type"] for each in found if each["type"].startswith("ledger.")} == {OPENED}


@pytest.mark.parametrize("kind", ["nothing.", "ledger."])
async def test_a_question_reads_only_so_much_of_the_log_and_says_how_far_that_was(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    await hooks.happen(*(f"shop:{number}" for number in range(7)))
    refused(await hooks.operator.post("/api/v1/ledger/accounts", json={"code": "shop", "asset": "NONE"}), 422)
    await hooks.house.seal()
    whole = ok(await hooks.operator.get(EVENTS, params={"limit": 1000}))["items"]
    monkeypatch.setattr(transport_following, "LOOKS_MAX", 2)
    monkeypatch.setattr(transport_following, "READ_MOST", 1)
    query: dict[str, Any] = {"type": kind, "limit": 3}
    found: list[Any] = []
    steps, more = 0, None
    while more is not None or steps == 0:
        answered = await hooks.operator.get(EVENTS, params={**query, **({} if more is None else {"cursor": more})})
        page = ok(answered)
        assert (f"cursor={page['next']}" in answered.headers.get("link", "")) == (page["next"] is not None)
        found, more, steps = found + page["items"], page["next"], steps + 1
    assert found == [each for each in whole if each["type"].startswith(kind)]
    assert len(whole) // 2 <= steps <= len(whole) + 2


# As they happen ------------------------------------------------------------------------------------------------------


async def test_who_follows_is_told_of_what_was_and_of_what_comes(hooks: Hooks, url: str) -> None:
    await hooks.happen("shop")
    async with following(url, hooks.operator.headers["Authorization"], type=OPENED) as follower:
        assert (await follower.next())["data"]["code"] == "shop"
        await hooks.happen("till")
        assert (await follower.next())["data"]["code"] == "till"


async def test_who_comes_back_with_the_last_id_goes_on_behind_it(hooks: Hooks, url: str) -> None:
    codes = [f"shop:{number}" for number in range(20)]
    await hooks.happen(*codes)
    got: list[str] = []
    last: dict[str, str] = {}
    while len(got) < len(codes):
        async with following(url, hooks.operator.headers["Authorization"], type=OPENED, headers=last) as follower:
            got += [(await follower.next())["data"]["code"] for _ in range(5)]
            last = {"Last-Event-ID": follower.ids[-1]}
    assert got == codes


async def test_one_who_reads_nothing_holds_nobody_back(hooks: Hooks, url: str) -> None:
    key = hooks.operator.headers["Authorization"]
    async with following(url, key) as idle, following(url, key, type=OPENED) as other:
        for codes in pages([f"shop:{number}" for number in range(60)], 20):
            await hooks.happen(*codes)
            assert [(await other.next())["data"]["code"] for _ in codes] == codes
        found = [(await idle.next())["id"] for _ in range(60)]
    assert len(set(found)) == 60


async def test_a_line_that_is_quiet_says_now_and_then_that_it_is_there(
    hooks: Hooks, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_following, "HEARTBEAT_SECONDS", 0.0)
    async with (
        following(url, hooks.operator.headers["Authorization"], type="nothing.") as follower,
        asyncio.timeout(SECONDS_MAX),
    ):
        said = [line async for line in _some(follower.lines, 6)]
    assert ": still here" in said
    assert any(line.startswith("id: 1-") for line in said)


async def _some(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        count -= 1
        if count == 0:
            return


async def test_a_stream_ends_when_its_key_is_revoked(hooks: Hooks, url: str) -> None:
    person = await add(hooks.house, "auditor")
    async with following(url, f"Bearer {person.secret}", type=OPENED) as follower:
        await hooks.happen("shop")
        assert (await follower.next())["data"]["code"] == "shop"
        ok(await hooks.house.admin.post(f"/api/v1/access/keys/{person.key}/revoke"))
        with pytest.raises(EOFError):
            await follower.next()


async def test_a_stream_ends_when_the_right_to_it_is_taken_away(hooks: Hooks, url: str) -> None:
    person = await add(hooks.house, "auditor")
    async with following(url, f"Bearer {person.secret}", type=OPENED) as follower:
        roles = {"roles": ["viewer"]}
        ok(await hooks.house.admin.put(f"/api/v1/access/principals/{person.id}/roles", json=roles))
        with pytest.raises(EOFError):
            await follower.next()


async def test_streams_end_with_the_server(hooks: Hooks, url: str) -> None:
    async with following(url, hooks.operator.headers["Authorization"], type="nothing.") as follower:
        hooks.house.feed.end()
        with pytest.raises(EOFError):
            await follower.next()


async def test_one_caller_follows_so_many_streams_and_another_one_when_one_of_them_ends(
    hooks: Hooks, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "STREAMS_MAX", 3)
    key = hooks.operator.headers["Authorization"]
    other = await hooks.house.caller("auditor")
    async with AsyncExitStack() as stack:
        kept = [await _followed(stack, url, key) for _ in range(2)]
        async with following(url, key) as third:
            await third.next()
            answered = await hooks.operator.get(EVENTS, headers=STREAM)
            assert (refused(answered, 429), "3 streams" in answered.text) == ("too_many_streams", True)
            assert ok(await hooks.operator.get(EVENTS, params={"limit": 1}))["items"]
            kept.append(await _followed(stack, url, other.headers["Authorization"]))
        async with asyncio.timeout(SECONDS_MAX):
            while 3 in hooks.house.feed._streams.values():
                await hooks.operator.get(EVENTS, params={"limit": 1})
        kept.append(await _followed(stack, url, key))
        assert len(kept) == 4


async def _followed(stack: AsyncExitStack, url: str, key: str) -> Follower:
    """Follow for as long as a stack lasts; a follower that nobody keeps hangs up."""
    follower = await stack.enter_async_context(following(url, key))
    await follower.next()
    return follower


async def test_of_streams_that_are_asked_for_at_once_no_more_are_given_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STREAMS_MAX", 2)
    here, who, other = feed.Feed(), ids.fresh(), ids.fresh()
    for _ in range(3):
        here.check(who)
    with here.counted(who) as first, here.counted(who), here.counted(who) as third, here.counted(other) as elsewhere:
        assert (first, third, elsewhere) == (True, False, True)
        with pytest.raises(feed.TooManyStreams):
            here.check(who)
    here.check(who)


async def test_whoever_may_not_read_events_may_not_follow_them(hooks: Hooks) -> None:
    viewer = await hooks.house.caller("viewer")
    for headers in ({}, STREAM):
        assert refused(await viewer.get(EVENTS, headers=headers), 403) == "denied"
    assert refused(await client(hooks.house.entrance, "").get(EVENTS, headers=STREAM), 401) == "unauthenticated"

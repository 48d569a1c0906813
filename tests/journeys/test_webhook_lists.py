"""Lists of webhooks: how many there may be, and deliveries page by page, from the newest on."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine

from clearhouse import clock
from clearhouse.kernel.webhooks import endpoints
from hooking import WEBHOOKS, Hooks
from house import ok, refused
from receiving import Receiver

OPENED = "ledger.account_opened"
HOUR = timedelta(hours=1)


async def test_deliveries_in_pages_are_the_same_as_in_one(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    await hooks.happen("a", "b", "c", "d", "e")
    await hooks.turn()
    for which in ({}, {"state": "delivered"}):
        whole = await hooks.deliveries(webhook, **which)
        assert len(whole) == 5
        found: list[Any] = []
        query: dict[str, Any] = {"limit": 2, **which}
        while len(found) < 5:
            page = ok(await hooks.house.admin.get(f"{WEBHOOKS}/{webhook['id']}/deliveries", params=query))
            found += page["items"]
            query["cursor"] = page["next"]
        assert (found, query["cursor"]) == (whole, None)


async def test_a_book_has_only_so_many_webhooks(hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "WEBHOOKS_MAX", 1)
    only = await hooks.add(receiver.url)
    answer = await hooks.house.admin.post(WEBHOOKS, json={"url": receiver.url})
    assert refused(answer, 422) == "many_webhooks"
    assert [each["id"] for each in ok(await hooks.house.admin.get(WEBHOOKS))["items"]] == [only["id"]]


async def test_a_replay_from_an_hour_on_sends_what_happened_since_and_nothing_before(
    hooks: Hooks, receiver: Receiver
) -> None:
    now = clock.now()
    for back, codes in ((9, "abcd"), (5, "ef"), (1, "g")):
        with time_machine.travel(now - back * HOUR, tick=True):
            for code in codes:
                await hooks.happen(code)
    webhook = await hooks.add(receiver.url, OPENED)
    await hooks.turn()
    assert receiver.taken == []
    await hooks.say(webhook, "replay", since=clock.text(now + HOUR))
    await hooks.turn()
    assert receiver.taken == []
    await hooks.say(webhook, "replay", since=clock.text(now - 6 * HOUR))
    await hooks.turn()
    assert sorted(each.event["data"]["code"] for each in receiver.taken) == ["e", "f", "g"]

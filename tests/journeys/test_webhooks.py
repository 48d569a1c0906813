"""Webhooks end to end, with real receivers: what is sent to whom, how it is signed, what becomes of what is not taken."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from clearhouse import clock
from clearhouse.kernel.webhooks import deliveries
from hooking import WEBHOOKS, Hooks, everything
from house import ok, refused
from receiving import Receiver, Taken, answer, fine

OPENED = "ledger.account_opened"
LATE = "UPDATE webhook_delivery SET next_at = clock_timestamp(), ends_at = clock_timestamp()"


def statuses(*wanted: int) -> Any:
    """Return answers with one status after another, the last one for ever."""
    given = list(wanted)

    async def answers(_: Taken) -> bytes:
        return answer(given.pop(0) if len(given) > 1 else given[0], b"so it is")

    return answers


# What is sent --------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_sent_what_it_asked_for_from_now_on_and_nothing_else(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.happen("before")
    webhook = await hooks.add(receiver.url, OPENED)
    ok(await hooks.operator.post("/api/v1/ledger/assets", json={"code": "POINT", "exponent": 0}))
    await hooks.happen("first", "second")
    await hooks.turn()
    assert [each.event["data"]["code"] for each in sorted(receiver.taken, key=lambda each: each.id)] == ["first", "second"]
    assert await hooks.states(webhook) == ["delivered", "delivered"]


async def test_a_type_with_a_star_stands_for_all_that_begin_so_and_none_for_every_one(hooks: Hooks) -> None:
    async with Receiver.opened() as ledger, Receiver.opened() as every:
        await hooks.add(ledger.url, "ledger.*")
        await hooks.add(every.url)
        await hooks.happen("shop")
        await hooks.turn()
        assert ledger.types == [OPENED]
        assert sorted(every.types) == [OPENED, "webhooks.added"]


async def test_the_body_is_the_event_and_the_signature_is_good_for_any_library_of_the_standard(
    hooks: Hooks, receiver: Receiver
) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    await hooks.happen("shop")
    await hooks.turn()
    taken = receiver.taken[0]
    event = Webhook(webhook["secret"]).verify(taken.body, taken.headers)
    assert (event["id"], event["type"], event["specversion"]) == (taken.id, OPENED, "1.0")
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(taken.body + b" ", taken.headers)


async def test_the_secret_is_shown_to_whoever_adds_it_and_is_nowhere_else(
    hooks: Hooks, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    headers = {"Idempotency-Key": "asked-twice"}
    added = ok(await hooks.house.admin.post(WEBHOOKS, json={"url": receiver.url}, headers=headers))
    webhook = added["webhook"]
    assert (
        refused(await hooks.house.admin.post(WEBHOOKS, json={"url": receiver.url}, headers=headers), 409)
        == "secret_shown_once"
    )
    replaced = await hooks.say(webhook, "secret")
    receiver.answers = statuses(500)
    await hooks.happen("shop")
    await hooks.turn()
    shown = [
        (await hooks.house.admin.get(path)).text
        for path in (
            WEBHOOKS,
            f"{WEBHOOKS}/{webhook['id']}",
            f"{WEBHOOKS}/{webhook['id']}/deliveries",
            "/api/v1/audit/lines",
        )
    ]
    async with hooks.house.database.writing() as tx:
        kept = await everything(tx)
    for secret in (added["secret"], replaced["secret"]):
        bare = secret.removeprefix("whsec_")
        assert bare not in "".join([*shown, kept, *capfd.readouterr(), *(str(each) for each in receiver.taken)])


async def test_while_a_secret_is_being_replaced_both_are_good_and_a_day_later_the_new_one_alone(
    hooks: Hooks, receiver: Receiver
) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    replaced = await hooks.say(webhook, "secret")
    await hooks.happen("shop")
    await hooks.turn()
    for secret in (webhook["secret"], replaced["secret"]):
        Webhook(secret).verify(receiver.taken[0].body, receiver.taken[0].headers)
    await hooks.hurry("UPDATE webhook_secret SET ends_at = ends_at - interval '1 day'")
    await hooks.happen("till")
    await hooks.turn()
    Webhook(replaced["secret"]).verify(receiver.taken[1].body, receiver.taken[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(receiver.taken[1].body, receiver.taken[1].headers)


async def test_a_webhook_that_is_tried_is_sent_an_event_that_goes_to_nobody_else(hooks: Hooks) -> None:
    async with Receiver.opened() as mine, Receiver.opened() as other:
        webhook = await hooks.add(mine.url, OPENED)
        await hooks.add(other.url)
        await hooks.say(webhook, "try")
        await hooks.turn()
        assert mine.types == ["webhooks.tried"]
        assert "webhooks.tried" not in other.types


# What is not taken ---------------------------------------------------------------------------------------------------


async def test_what_is_not_taken_is_tried_again_and_later_each_time(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    receiver.answers = statuses(500, 503, 200)
    await hooks.happen("shop")
    waits: list[timedelta] = []
    for _ in range(2):
        asked = clock.now()
        await hooks.turn()
        tried = (await hooks.deliveries(webhook))[0]
        assert (tried["state"], tried["answer"]) == ("pending", "so it is")
        waits.append(clock.parse(tried["next_at"]) - asked)
        await hooks.hurry()
    assert timedelta(seconds=3) < waits[0] < timedelta(seconds=7) < waits[1] < timedelta(seconds=14)
    await hooks.turn()
    assert (await hooks.deliveries(webhook))[0]["attempts"] == 3
    assert await hooks.states(webhook) == ["delivered"]
    assert len(set(receiver.ids)) == 1


async def test_after_three_days_a_delivery_is_dead_and_stays_so_until_it_is_replayed(
    hooks: Hooks, receiver: Receiver
) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    receiver.answers = statuses(500)
    await hooks.happen("shop", "till", "safe")
    await hooks.turn()
    given = clock.parse((await hooks.deliveries(webhook))[0]["gives_up_at"]) - clock.now()
    assert timedelta(days=2, hours=23) < given < timedelta(days=3)
    await hooks.hurry(LATE)
    await hooks.turn()
    assert await hooks.states(webhook) == ["dead"] * 3
    receiver.answers = fine
    await hooks.turn()
    assert len(receiver.taken) == 6
    one = (await hooks.deliveries(webhook, state="dead"))[-1]["event"]
    assert (await hooks.say(webhook, "replay", event=one))["deliveries"] == 1
    await hooks.turn()
    assert await hooks.states(webhook) == ["delivered", "dead", "dead"]
    assert (await hooks.say(webhook, "replay", dead=True))["deliveries"] == 2
    await hooks.turn()
    assert await hooks.states(webhook) == ["delivered"] * 3
    assert len(set(receiver.ids)) == 3


async def test_everything_since_a_time_is_sent_again_under_the_same_ids_what_was_never_sent_too(
    hooks: Hooks, receiver: Receiver
) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    await hooks.happen("long-ago")
    since = clock.text(clock.now())
    await hooks.happen("shop")
    await hooks.turn()
    await hooks.say(webhook, "disable")
    await hooks.happen("missed")
    await hooks.say(webhook, "enable")
    await hooks.turn()
    before = [each.event["data"]["code"] for each in receiver.taken]
    await hooks.say(webhook, "replay", since=since)
    await hooks.turn()
    again = [each.event["data"]["code"] for each in receiver.taken[len(before) :]]
    assert (sorted(before), sorted(again)) == (["long-ago", "shop"], ["missed", "shop"])
    assert len(set(receiver.ids)) == 3
    assert await hooks.states(webhook) == ["delivered"] * 3


async def test_a_receiver_that_says_it_is_gone_is_sent_nothing_more(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    receiver.answers = statuses(410)
    await hooks.happen("shop")
    await hooks.turn()
    await hooks.happen("till")
    await hooks.turn()
    assert len(receiver.taken) == 1
    shown = ok(await hooks.house.admin.get(f"{WEBHOOKS}/{webhook['id']}"))
    assert (shown["state"], shown["reason"]) == ("disabled", "gone")
    assert await hooks.states(webhook) == ["dead"]
    lines = (await hooks.house.admin.get("/api/v1/audit/lines", params={"limit": 1000})).text
    assert "webhooks.disabled" in lines


async def test_a_redirect_is_an_answer_and_is_not_followed(hooks: Hooks, receiver: Receiver) -> None:
    async with Receiver.opened() as inside:
        webhook = await hooks.add(receiver.url, OPENED)

        async def elsewhere(_: Taken) -> bytes:
            return answer(307, location=inside.url)

        receiver.answers = elsewhere
        await hooks.happen("shop")
        await hooks.turn()
        assert (len(receiver.taken), inside.taken) == (1, [])
        tried = (await hooks.deliveries(webhook))[0]
        assert (tried["state"], tried["status"]) == ("pending", 307)


async def test_of_an_answer_the_beginning_is_kept_however_long_it_is(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)

    async def endless(_: Taken) -> bytes:
        return b"HTTP/1.1 500 so\r\ncontent-length: 99999999\r\n\r\n" + b"no\x00\xff" * 10_000

    receiver.answers = endless
    await hooks.happen("shop")
    await hooks.turn()
    tried = (await hooks.deliveries(webhook))[0]
    assert (tried["status"], len(tried["answer"])) == (500, 500)
    assert tried["answer"].startswith("no \N{REPLACEMENT CHARACTER}no")


async def test_a_receiver_that_never_answers_holds_no_other_back(hooks: Hooks, receiver: Receiver) -> None:
    over = asyncio.Event()

    async def never(_: Taken) -> bytes:
        await over.wait()
        return b""

    async with Receiver.opened(never) as silent:
        await hooks.add(silent.url, OPENED)
        await hooks.add(receiver.url, OPENED)
        working = asyncio.create_task(hooks.courier.run())
        await hooks.happen(*(f"shop:{number}" for number in range(25)))
        await receiver.until(25)
        await silent.until(1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        over.set()
    assert len(set(receiver.ids)) == 25


async def test_what_a_worker_holds_when_it_ends_is_due_again_at_once(hooks: Hooks) -> None:
    over = asyncio.Event()

    async def never(_: Taken) -> bytes:
        await over.wait()
        return b""

    async with Receiver.opened(never) as silent:
        webhook = await hooks.add(silent.url, OPENED)
        working = asyncio.create_task(hooks.courier.run())
        await hooks.happen("shop")
        await silent.until(1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        over.set()
        assert len(await hooks.due()) == 1
        silent.answers = fine
        await hooks.turn()
        assert await hooks.states(webhook) == ["delivered"]
        assert len(set(silent.ids)) == 1


# What is refused -----------------------------------------------------------------------------------------------------

OURS = [
    "https://10.0.0.1/",
    "https://169.254.169.254/latest",
    "https://[::1]/",
    "https://[::ffff:192.168.0.1]/",
    "https://100.64.0.9/",
]


@pytest.mark.parametrize("url", OURS)
async def test_no_webhook_is_added_at_or_moved_to_an_address_that_is_not_on_the_open_internet(
    hooks: Hooks, url: str
) -> None:
    assert refused(await hooks.house.admin.post(WEBHOOKS, json={"url": url}), 422) == "address_refused"
    webhook = await hooks.add("https://192.0.2.7/")
    moved = await hooks.house.admin.patch(f"{WEBHOOKS}/{webhook['id']}", json={"url": url})
    assert refused(moved, 422) == "address_refused"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://8.8.8.8/", "url_refused"),
        ("https://somebody:secret@192.0.2.7/", "url_refused"),
        ("https://192.0.2.7/#here", "url_refused"),
        ("https:///hooks", "url_refused"),
        ("https://nowhere.invalid/", "host_unknown"),
    ],
)
async def test_an_address_that_could_not_be_meant_is_refused_when_it_is_written(hooks: Hooks, url: str, code: str) -> None:
    assert refused(await hooks.house.admin.post(WEBHOOKS, json={"url": url}), 422) == code


async def test_an_address_that_was_good_when_it_was_written_is_looked_at_again_when_it_is_used(hooks: Hooks) -> None:
    webhook = await hooks.add("https://192.0.2.7/", OPENED)
    await hooks.hurry("UPDATE webhook_endpoint SET url = 'https://10.0.0.1/hooks'")
    await hooks.happen("shop")
    await hooks.turn()
    tried = (await hooks.deliveries(webhook))[0]
    assert (tried["state"], tried["status"]) == ("pending", None)
    assert "10.0.0.1" in tried["answer"]


async def test_an_event_that_somebody_took_out_of_the_journal_ends_no_worker_and_keeps_nothing_else_back(
    hooks: Hooks, receiver: Receiver, owner_dsn: str
) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    await hooks.happen("shop")
    await hooks.happen("till")
    await hooks.courier.spread()
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE clearhouse.journal SET lines = '[]' WHERE lines LIKE '%\"shop\"%'")
    await hooks.turn()
    assert [each.event["data"]["code"] for each in receiver.taken] == ["till"]
    assert await hooks.states(webhook) == ["pending", "delivered"]
    assert "not in the journal" in (await hooks.deliveries(webhook))[-1]["answer"]


async def test_what_was_delivered_is_forgotten_after_thirty_days_and_what_is_dead_or_waits_is_not(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "FORGET_AT_ONCE", 2)  # so that it takes several steps
    webhook = await hooks.add(receiver.url, OPENED)
    await hooks.happen("a", "b", "c", "d", "e")
    await hooks.turn()
    await hooks.hurry("UPDATE webhook_delivery SET ended_at = ended_at - interval '29 days 23 hours'")
    await hooks.courier.forget()
    assert len(await hooks.deliveries(webhook)) == 5
    receiver.answers = statuses(500)
    await hooks.happen("dead")
    await hooks.turn()
    await hooks.hurry(LATE + " WHERE state = 'pending'")
    await hooks.turn()
    await hooks.happen("waits")
    await hooks.turn()
    await hooks.hurry("UPDATE webhook_delivery SET ended_at = ended_at - interval '40 days' WHERE state = 'dead'")
    await hooks.hurry("UPDATE webhook_delivery SET ended_at = ended_at - interval '2 hours' WHERE state = 'delivered'")
    await hooks.courier.forget()
    assert await hooks.states(webhook) == ["dead", "pending"]


async def test_a_replay_says_one_thing_of_a_webhook_that_is_enabled(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url, OPENED)
    path = f"{WEBHOOKS}/{webhook['id']}/replay"
    for body in ({}, {"dead": True, "event": "1-1-0"}):
        assert refused(await hooks.house.admin.post(path, json=body), 400) == "malformed"
    for event in ("1-1-0", "2-1-0", "rubbish", "1-9999999999999999999-0"):
        assert refused(await hooks.house.admin.post(path, json={"event": event}), 404) == "delivery_not_found"
    await hooks.say(webhook, "disable")
    for word, body in (("replay", {"dead": True}), ("try", None)):
        answered = await hooks.house.admin.post(f"{WEBHOOKS}/{webhook['id']}/{word}", json=body)
        assert refused(answered, 422) == "webhook_disabled"


async def test_a_webhook_has_no_more_secrets_at_a_time_than_a_receiver_can_try(hooks: Hooks, receiver: Receiver) -> None:
    webhook = await hooks.add(receiver.url)
    for _ in range(4):
        await hooks.say(webhook, "secret")
    answered = await hooks.house.admin.post(f"{WEBHOOKS}/{webhook['id']}/secret")
    assert refused(answered, 422) == "many_secrets"

"""Messages that come in: one effect each, however often they come, and dead letters for what has none."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from clearhouse import clock, ids
from clearhouse.app.inbox import subscriptions
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.inbox import dead
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.kernel.inbox.taking import replay_due, take
from clearhouse.refusals import NotFound, Refusal
from house import House, balance, movement, ok, refused, transaction

DEAD = "/api/v1/inbox/dead"
PAYMENTS = subscriptions("ledger.post@kafka:payments?as=gateway&name=payments")[0]


@pytest.fixture
async def bank(house: House) -> House:
    """Give a house with two accounts, and the service that messages act as."""
    await house.caller("operator", name="gateway")
    await house.open_accounts(await house.caller("operator", name="Ada"), "shop", "revenue")
    return house


def payment(name: str, amount: str = "1.00", credit: str = "revenue", **more: Any) -> Message:
    body = msgspec.json.encode(transaction(movement("shop", credit, amount), **more))
    return Message(name, "test", body)


async def paid(bank: House) -> str:
    return await balance(await bank.caller("viewer", name=str(ids.fresh())), "revenue")


async def letters(bank: House, **query: str) -> list[dict[str, Any]]:
    auditor = await bank.caller("auditor", name=str(ids.fresh()))
    return list(ok(await auditor.get(DEAD, params=query))["items"])


async def test_each_message_has_its_effect_once_however_often_and_wherever_it_comes(bank: House) -> None:
    messages = [payment(str(number)) for number in range(20)]
    assert await take(bank.door, PAYMENTS, messages) == []
    again = Door(bank.database)
    assert await take(again, PAYMENTS, [*messages, *messages]) == []
    await again.close()
    assert await paid(bank) == "20.00"


async def test_the_same_message_twice_in_a_batch_and_in_two_processes_at_once_has_one_effect(bank: House) -> None:
    doors = [bank.door, Door(bank.database), Door(bank.database)]
    await asyncio.gather(*(take(door, PAYMENTS, [payment("same"), payment("same")]) for door in doors))
    for door in doors[1:]:
        await door.close()
    assert await paid(bank) == "1.00"


async def test_effect_and_message_are_written_in_one_transaction(bank: House) -> None:
    await take(bank.door, PAYMENTS, [payment("1")])
    async with bank.database.writing() as tx:
        found = await tx.tuples(
            "SELECT k.xmin = t.xmin AND k.xmin = j.xmin FROM command_key AS k, ledger_transfer AS t, journal AS j"
            " WHERE k.key = 'payments/1' AND j.kind = 'ledger.post'"
        )
    assert found == [(True,)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_understood"),
        (b"\x00\xff", "not_understood"),
        (b"[]", "not_understood"),
        (b'{"transfers": [], "surprise": 1}', "not_understood"),
        (
            b'{"transfers": [{"debit": "shop", "credit": "nobody", "amount": "1.00", "currency": "USD"}]}',
            "account_unknown",
        ),
    ],
)
async def test_what_cannot_have_an_effect_is_put_aside_once_with_its_reason_and_holds_nobody_back(
    bank: House, body: bytes, code: str
) -> None:
    for _ in range(2):
        put_aside = await take(bank.door, PAYMENTS, [payment("1"), Message("2", "test", body), payment("3")])
        assert [each.refusal.code for each in put_aside] == [code]
    (letter,) = await letters(bank)
    assert (letter["subscription"], letter["message"], letter["code"]) == ("payments", "2", code)
    assert letter["reason"]
    assert await paid(bank) == "2.00"


async def test_what_a_decoder_refuses_is_put_aside_in_its_words_and_what_it_stumbles_over_by_its_kind(bank: House) -> None:
    def refuse(message: Message) -> Any:
        if message.body:
            raise NotFound(what="format", id="XML")
        raise KeyError

    picky = replace(PAYMENTS, decode=refuse)
    put_aside = await take(bank.door, picky, [Message("1", "test", b"<a/>"), Message("2", "test", b"")])
    assert [each.refusal.code for each in put_aside] == ["not_found", "not_understood"]
    assert sorted((each["message"], each["reason"]) for each in await letters(bank)) == [
        ("1", "There is no format XML here."), ("2", "The message cannot be understood: KeyError."),
    ]  # fmt: skip


async def test_a_try_that_ends_twice_is_told_once(bank: House) -> None:
    await take(bank.door, PAYMENTS, [payment("1", credit="nobody")])
    (letter,) = await letters(bank)
    ok(await (await bank.caller("operator", name="Cy")).post(f"{DEAD}/{letter['id']}/replay", json={}))
    async with bank.database.writing(book=1) as tx:
        (row,) = await dead.due(tx, PAYMENTS)
    for _ in range(2):
        async with bank.database.writing(book=1) as tx:
            await dead.tried(tx, row, None, clock.now())
    async with bank.database.writing() as tx:
        found = await tx.tuples("SELECT lines FROM journal WHERE kind = 'inbox.replay' AND lines LIKE '%inbox.replayed%'")
    assert len(found) == 1


async def test_an_id_that_comes_with_another_body_is_put_aside(bank: House) -> None:
    await take(bank.door, PAYMENTS, [payment("1", "1.00")])
    await take(bank.door, PAYMENTS, [payment("1", "9.00")])
    assert [each["code"] for each in await letters(bank)] == ["key_reused"]
    assert await paid(bank) == "1.00"


async def test_messages_of_a_subject_are_taken_in_their_order(bank: House) -> None:
    ok(await bank.admin.get("/health"))
    await bank.open_accounts(await bank.caller("operator", name="Bo"), "purse", normal="debit", floor="0.00")
    fill = msgspec.json.encode(transaction(movement("purse", "shop", "5.00")))
    spend = msgspec.json.encode(transaction(movement("revenue", "purse", "5.00")))
    for number in range(10):
        turns = [Message(f"{number}{name}", "test", body, "purse") for name, body in (("in", fill), ("out", spend))]
        assert await take(bank.door, PAYMENTS, turns) == []


async def test_a_subscription_whose_service_may_not_takes_nothing_and_loses_nothing(house: House) -> None:
    await house.caller("viewer", name="gateway")
    with pytest.raises(Refusal, match="ledger:post"):
        await take(house.door, PAYMENTS, [payment("1")])
    with pytest.raises(NotFound):
        await take(house.door, subscriptions("ledger.post@nats:a?as=nobody")[0], [payment("1")])


async def test_a_busy_door_is_waited_for(bank: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearhouse.kernel.commands.submitting.WAITING_ITEMS_MAX", 1)
    assert await take(bank.door, PAYMENTS, [payment(str(number)) for number in range(5)]) == []
    assert await paid(bank) == "5.00"


# Dead letters --------------------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_tried_again_once_its_reason_is_gone(bank: House) -> None:
    operator = await bank.caller("operator", name="Ada 2")
    await take(bank.door, PAYMENTS, [payment("1", credit="later")])
    (letter,) = await letters(bank)
    path = f"{DEAD}/{letter['id']}/replay"
    assert ok(await operator.post(path, json={"remark": "soon"}))["state"] == "due"
    assert await replay_due(bank.door, PAYMENTS) == 1
    waiting = ok(await operator.get(f"{DEAD}/{letter['id']}"))
    assert (waiting["state"], waiting["code"], waiting["replays"]) == ("waiting", "account_unknown", 1)
    await bank.open_accounts(operator, "later")
    ok(await operator.post(path, json={}))
    assert await replay_due(bank.door, PAYMENTS) == 1
    assert await replay_due(bank.door, PAYMENTS) == 0
    assert ok(await operator.get(f"{DEAD}/{letter['id']}"))["state"] == "replayed"
    assert await balance(operator, "later") == "1.00"
    assert refused(await operator.post(path, json={}), 422) == "dead_letter_not_waiting"
    await take(bank.door, PAYMENTS, [payment("1", credit="later")])
    assert await balance(operator, "later") == "1.00"


async def test_no_sender_can_use_up_the_key_of_a_replay(bank: House) -> None:
    operator = await bank.caller("operator", name="Ada 2")
    await take(bank.door, PAYMENTS, [payment("1", credit="later"), payment("1#1", "9.00"), payment("#1/1", "9.00")])
    await bank.open_accounts(operator, "later")
    (letter,) = await letters(bank)
    ok(await operator.post(f"{DEAD}/{letter['id']}/replay", json={}))
    await replay_due(bank.door, PAYMENTS)
    assert await balance(operator, "later") == "1.00"


async def test_a_replay_that_was_interrupted_after_its_effect_has_no_second_one(
    bank: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = await bank.caller("operator", name="Ada 2")
    await take(bank.door, PAYMENTS, [payment("1", credit="later")])
    await bank.open_accounts(operator, "later")
    (letter,) = await letters(bank)
    ok(await operator.post(f"{DEAD}/{letter['id']}/replay", json={}))
    with monkeypatch.context() as broken:
        broken.setattr(dead, "tried", None)
        with pytest.raises(TypeError):
            await replay_due(bank.door, PAYMENTS)
    await replay_due(bank.door, PAYMENTS)
    assert await balance(operator, "later") == "1.00"


async def test_a_dead_letter_that_is_let_be_is_not_tried_unless_somebody_changes_their_mind(bank: House) -> None:
    operator = await bank.caller("operator", name="Ada 2")
    await take(bank.door, PAYMENTS, [payment("1", credit="later")])
    (letter,) = await letters(bank)
    assert ok(await operator.post(f"{DEAD}/{letter['id']}/dismiss", json={"remark": "a test"}))["remark"] == "a test"
    assert refused(await operator.post(f"{DEAD}/{letter['id']}/dismiss", json={}), 422) == "dead_letter_not_waiting"
    assert await replay_due(bank.door, PAYMENTS) == 0
    assert [each["state"] for each in await letters(bank, state="dismissed")] == ["dismissed"]
    ok(await operator.post(f"{DEAD}/{letter['id']}/replay", json={}))
    assert await replay_due(bank.door, PAYMENTS) == 1
    assert refused(await operator.post(f"{DEAD}/ltr_nothing/dismiss", json={}), 404) == "dead_letter_not_found"


async def test_what_was_too_long_to_be_kept_whole_cannot_be_tried_again(bank: House) -> None:
    operator = await bank.caller("operator", name="Ada 2")
    await take(bank.door, PAYMENTS, [Message("1", "test", b"x" * (dead.BODY_BYTES_MAX + 1))])
    (letter,) = await letters(bank)
    assert (letter["length"], len(letter["body"])) == (dead.BODY_BYTES_MAX + 1, dead.BODY_BYTES_MAX)
    assert refused(await operator.post(f"{DEAD}/{letter['id']}/replay", json={}), 422) == "dead_letter_cut"


async def test_the_newest_dead_letters_stay_and_lists_lead_from_page_to_page(
    bank: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "LETTERS_MAX", 5)
    for number in range(8):
        await take(bank.door, PAYMENTS, [Message(str(number), "test", b"")])
    auditor = await bank.caller("auditor", name="Ann")
    found, cursor = list[str](), dict[str, str]()
    while True:
        answer = ok(await auditor.get(DEAD, params={"limit": 2, **cursor}))
        found += [each["message"] for each in answer["items"]]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert found == ["7", "6", "5", "4", "3"]


async def test_every_step_of_a_dead_letter_is_in_the_journal(bank: House) -> None:
    operator = await bank.caller("operator", name="Ada 2")
    for name in ("1", "2"):
        await take(bank.door, PAYMENTS, [payment(name, credit="later")])
    first, second = await letters(bank)
    ok(await operator.post(f"{DEAD}/{first['id']}/replay", json={}))
    await replay_due(bank.door, PAYMENTS)
    ok(await operator.post(f"{DEAD}/{second['id']}/dismiss", json={}))
    await bank.seal()
    rows = ok(await bank.admin.get("/api/v1/audit/lines", params={"limit": 1000}))["items"]
    lines = [line for row in rows for line in msgspec.json.decode(row["lines"]) if line["event"].startswith("inbox.")]
    assert [each["event"] for each in lines] == [
        "inbox.dead", "inbox.dead", "inbox.replay_asked", "inbox.dead_again", "inbox.dismissed",
    ]  # fmt: skip


# The setting ---------------------------------------------------------------------------------------------------------


def test_a_setting_says_what_becomes_of_messages() -> None:
    first, second = subscriptions("ledger.post@nats:pay.in?as=gateway ledger.post@kafka:pay?as=Ada%20B&book=other&name=x")
    assert (first.bus, first.address, first.name, first.principal, first.book) == (
        "nats", "pay.in", "ledger-post-pay-in", "gateway", "main",
    )  # fmt: skip
    assert (second.bus, second.address, second.name, second.principal, second.book) == (
        "kafka",
        "pay",
        "x",
        "Ada B",
        "other",
    )


@pytest.mark.parametrize(
    "text", ["x", "ledger.post@nats:a", "ledger.post@tcp:a?as=b", "nothing@nats:a?as=b", "ledger.post@nats:a?as=b&with=c"]
)
def test_a_setting_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="INBOX"):
        subscriptions(text)


def test_a_subscription_is_one_of_a_product_too() -> None:
    assert isinstance(PAYMENTS, Subscription)

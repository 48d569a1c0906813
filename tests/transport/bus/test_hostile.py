"""Senders who mean no good: whatever they put on a bus, what follows is taken, and nobody is somebody else by saying so."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import nats
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from nats.js.api import StreamConfig

from brokers import nats_server, tansu
from clearhouse.app.config import Config
from clearhouse.app.inbox import works
from house import House, balance, movement, ok, transaction

INBOX = "ledger.post@{}:payments?as=gateway&name=payments"
GOOD = msgspec.json.encode(transaction(movement("shop", "revenue", "1.00")))
LARGE = 1_048_576


@pytest.fixture
async def bank(house: House) -> House:
    """Give a house with two accounts, and the service that messages act as."""
    await house.caller("operator", name="gateway")
    await house.open_accounts(await house.caller("operator", name="Ada"), "shop", "revenue")
    return house


@asynccontextmanager
async def consuming(bank: House, **settings: str) -> AsyncGenerator[None]:
    """Take messages in for as long as the block lasts."""
    config = Config.read(settings)
    tasks = [asyncio.ensure_future(each(bank.database)) for each in works(config, bank.door)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def taken(bank: House, amount: str, *, dead: int) -> None:
    """Wait until so much was paid and so many are put aside, on the bus too."""
    viewer = await bank.caller("viewer", "auditor", name="who waits")

    async def is_so() -> bool:
        return (await balance(viewer, "revenue"), len(await letters(viewer))) == (amount, dead)

    await until(is_so)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(600):
        if await look():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it does not come")


async def letters(auditor: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list(ok(await auditor.get("/api/v1/inbox/dead"))["items"])


# Headers that must not stop what comes behind them: words of the server, ids that no key or header can be, and names.
ON_NATS: tuple[dict[str, str], ...] = (
    {"Status": "503", "Description": "go away"},
    {"Status": "404", "Description": "No Messages"},
    {"Status": "408", "Description": "Request Timeout"},
    {"Status": "100", "Description": "Idle Heartbeat"},
    {"Nats-Msg-Id": "x" * 30_000},
    {"Nats-Msg-Id": "a\nb\rc\0d"},
    {"principal": "admin", "Authorization": "Bearer admin", "by": "prn_admin"},
)


async def test_whatever_messages_of_nats_say_in_their_headers_the_next_one_is_taken(bank: House, tmp_path: Path) -> None:
    with nats_server(tmp_path) as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="incoming", subjects=["payments"]))
        for number, body in enumerate((b"", b"rubbish", GOOD)):
            for headers in ON_NATS:
                named = {name: value + str(number) * (name == "Nats-Msg-Id") for name, value in headers.items()}
                await stream.publish("payments", body, headers=named)
        await stream.publish("payments", GOOD)
        await client.close()
        async with consuming(bank, NATS_URL=server.url, INBOX=INBOX.format("nats")):
            await taken(bank, f"{len(ON_NATS) + 1}.00", dead=2 * len(ON_NATS))


async def test_a_message_that_fills_all_that_nats_takes_can_be_put_aside(bank: House, tmp_path: Path) -> None:
    with nats_server(tmp_path) as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="incoming", subjects=["payments"]))
        await stream.publish("payments", b"x" * LARGE)
        await stream.publish("payments", GOOD)
        async with consuming(bank, NATS_URL=server.url, INBOX=INBOX.format("nats")):
            await taken(bank, "1.00", dead=1)

            async def is_acknowledged() -> bool:
                return (await stream.consumer_info("incoming", "clearhouse-payments")).num_ack_pending == 0

            await until(is_acknowledged)
        letter = await stream.get_last_msg("clearhouse-dead", "clearhouse-dead.payments")
        await client.close()
    (kept,) = await letters(await bank.caller("auditor"))
    assert (kept["length"], kept["code"]) == (LARGE, "not_understood")
    assert letter.headers is not None
    assert (letter.headers["length"], letter.headers["code"]) == (str(LARGE), "not_understood")


async def test_a_message_that_fills_all_that_kafka_takes_can_be_put_aside(bank: House, tmp_path: Path) -> None:
    async with tansu(tmp_path) as wire:
        producer = AIOKafkaProducer(bootstrap_servers=wire.address, max_request_size=2 * LARGE)
        await producer.start()
        hostile = [("id", b"\xff\0" * 300), ("ce_id", b"\xff\xfe" * 20_000), ("principal", b"admin")]
        await producer.send_and_wait("payments", b"x" * (LARGE - 40_900), key=b"\0\xff", headers=hostile)
        await producer.send_and_wait("payments", GOOD, key=b"\0\xff")
        await producer.stop()
        async with consuming(bank, KAFKA_BOOTSTRAP_SERVERS=wire.address, INBOX=INBOX.format("kafka")):
            await taken(bank, "1.00", dead=1)
            reading = AIOKafkaConsumer("payments.dead", bootstrap_servers=wire.address, auto_offset_reset="earliest")
            await reading.start()
            letter = cast("Any", await reading.getone())
            await reading.stop()
    assert dict(letter.headers)["length"] == str(LARGE - 40_900).encode()


async def test_an_order_that_says_who_gives_it_is_not_understood_and_who_posted_is_the_service(
    bank: House, tmp_path: Path
) -> None:
    with nats_server(tmp_path) as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="incoming", subjects=["payments"]))
        for name in ("principal", "by", "caller", "book", "as", "idempotency_key"):
            await stream.publish("payments", json.dumps({**msgspec.json.decode(GOOD), name: "admin"}).encode())
        await stream.publish("payments", GOOD, headers={"principal": "admin", "book": "other"})
        await client.close()
        async with consuming(bank, NATS_URL=server.url, INBOX=INBOX.format("nats")):
            await taken(bank, "1.00", dead=6)
    async with bank.database.writing() as tx:
        found = await tx.tuples("SELECT principal FROM journal WHERE kind = 'ledger.post'")
    assert [str(each) for (each,) in found] == [await gateway(bank)]


async def gateway(bank: House) -> str:
    people = ok(await bank.admin.get("/api/v1/access/principals", params={"limit": 1000}))["items"]
    return next(str(each["id"]) for each in people if each["name"] == "gateway")

"""Messages on their way in, from real brokers, to a process that is killed between the commit and the acknowledgement."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import nats
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from nats.js.api import StreamConfig

from brokers import nats_server, tansu
from clearhouse.app.config import Config, SettingRefused
from clearhouse.app.inbox import works
from house import House, balance, movement, ok, transaction
from serving import libraries

SCRIPT = Path(__file__).parent.parent.parent / "consumer.py"
PAYMENTS = 60
LATE = 3
INBOX = "ledger.post@{}:payments?as=gateway&name=payments"


@pytest.fixture
async def bank(house: House) -> House:
    """Give a house with two accounts, and the service that messages act as."""
    await house.caller("operator", name="gateway")
    await house.open_accounts(await house.caller("operator", name="Ada"), "shop", "revenue")
    return house


@contextmanager
def consumer(dsn: str, **settings: str) -> Generator["subprocess.Popen[bytes]"]:
    """Run the consumer as a process."""
    environment = {**os.environ, "PYTHONPATH": libraries(), "APPLICATION": dsn, **settings}
    with subprocess.Popen([sys.executable, str(SCRIPT)], env=environment, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def messages() -> list[bytes]:
    """Return payments, and among them one that nobody understands and one to an account that is not there."""
    paid = [json.dumps(transaction(movement("shop", "revenue", "1.00"))).encode() for _ in range(PAYMENTS)]
    lost = json.dumps(transaction(movement("shop", "nowhere", "1.00"))).encode()
    return [*paid[:20], b"{", *paid[20:40], lost, *paid[40:]]


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1_200):
        if await look():
            return
        await asyncio.sleep(0.05)
    pytest.fail("the bus still has something")


async def killed_then_run_again(
    bank: House, dsn: str, send: Callable[[], Awaitable[None]], is_done: Callable[[], Awaitable[bool]], **settings: str
) -> None:
    """Run a consumer that is killed after its first commit, send more, and run one that is not killed until all is taken."""
    viewer = await bank.caller("viewer")
    with consumer(dsn, DIE="yes", **settings) as process:
        assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    assert await balance(viewer, "revenue") != "0.00"
    await send()
    with consumer(dsn, **settings):
        await until(is_done)
    assert await balance(viewer, "revenue") == f"{PAYMENTS + LATE}.00"
    dead = ok(await (await bank.caller("auditor")).get("/api/v1/inbox/dead"))["items"]
    assert sorted(each["code"] for each in dead) == ["account_unknown", "not_understood"]


async def test_a_kill_between_commit_and_acknowledgement_repeats_no_effect_from_nats(
    bank: House, app_dsn: str, tmp_path: Path
) -> None:
    with nats_server(tmp_path) as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="incoming", subjects=["payments"]))
        for body in messages():
            await stream.publish("payments", body)

        async def send() -> None:
            for _ in range(LATE):
                await stream.publish("payments", messages()[0])

        async def is_done() -> bool:
            told = await stream.consumer_info("incoming", "clearhouse-payments")
            return told.num_pending == 0 and told.num_ack_pending == 0

        await killed_then_run_again(bank, app_dsn, send, is_done, NATS_URL=server.url, INBOX=INBOX.format("nats"))
        assert (await stream.stream_info("clearhouse-dead")).state.messages == 2
        letter = await stream.get_last_msg("clearhouse-dead", "clearhouse-dead.payments")
        assert letter.headers is not None
        assert letter.headers["code"] in {"account_unknown", "not_understood"}
        await client.close()


async def test_a_kill_between_commit_and_acknowledgement_repeats_no_effect_from_kafka(
    bank: House, app_dsn: str, tmp_path: Path
) -> None:
    async with tansu(tmp_path) as wire:
        producer = AIOKafkaProducer(bootstrap_servers=wire.address)
        await producer.start()
        settings = {"KAFKA_BOOTSTRAP_SERVERS": wire.address, "INBOX": INBOX.format("kafka")}
        await made(wire.address, "payments")
        for number, body in enumerate(messages()):
            await producer.send_and_wait("payments", body, key=str(number % 7).encode())

        viewer = await bank.caller("viewer", name="who waits")

        async def send() -> None:
            for partition in range(LATE):  # behind everything else that each partition has
                await producer.send_and_wait("payments", messages()[0], partition=partition)

        async def is_done() -> bool:
            return await balance(viewer, "revenue") == f"{PAYMENTS + LATE}.00"

        await killed_then_run_again(bank, app_dsn, send, is_done, **settings)
        await producer.stop()
        assert await dead_of(wire.address) >= {b"{"}


async def made(servers: str, topic: str) -> None:
    """Make a topic, as its owner would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 3, 1)])
    await admin.close()


async def dead_of(servers: str) -> set[bytes]:
    """Return the bodies of the first dead letters of the topic."""
    reading = AIOKafkaConsumer("payments.dead", bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    await reading.start()
    page = cast("dict[Any, list[Any]]", await reading.getmany(timeout_ms=5_000))
    await reading.stop()
    return {each.value for records in page.values() for each in records}


async def test_a_subscription_to_a_bus_that_is_not_set_is_refused(bank: House) -> None:
    with pytest.raises(SettingRefused, match="INBOX"):
        works(Config(inbox=INBOX.format("nats")), bank.door)

"""Messages from Kafka: a consumer group for each subscription, whose offsets are committed after the effects are."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from clearhouse.kernel.inbox.dead import Dead
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.kafka import REQUEST_MILLISECONDS, ensure_topic, producer, stop
from clearhouse.transport.bus.sources import BATCH_BYTES_MAX, BATCH_MESSAGES, FETCH_SECONDS, letter

SESSION_MILLISECONDS = 10_000  # after a kill another one of the group takes over
MESSAGE_BYTES_MAX = 900_000  # below what brokers and producers take by default
KEY_BYTES_MAX = 10_000
IDS = ("ce_id", "message-id", "id")


@asynccontextmanager
async def opened(kafka: Kafka, subscription: Subscription) -> "AsyncGenerator[KafkaSource]":
    """Join the group; dead letters go to `<topic>.dead`, and both topics are made if they are missing."""
    sending = await producer(kafka)
    try:
        for topic in (subscription.address, f"{subscription.address}.dead"):
            await ensure_topic(kafka, sending, topic)
        consumer = AIOKafkaConsumer(
            subscription.address, **kafka.options, group_id=f"clearhouse-{subscription.name}", enable_auto_commit=False,
            auto_offset_reset="earliest", request_timeout_ms=REQUEST_MILLISECONDS * 4, fetch_max_bytes=BATCH_BYTES_MAX,
            session_timeout_ms=SESSION_MILLISECONDS, heartbeat_interval_ms=SESSION_MILLISECONDS // 4,
        )  # fmt: skip
        try:
            await consumer.start()
            yield KafkaSource(subscription.address, consumer, sending)
        finally:
            await consumer.stop()
    finally:
        await stop(sending)


@dataclass(slots=True)
class KafkaSource:
    """What a subscription has in a topic."""

    topic: str
    consumer: AIOKafkaConsumer
    producer: AIOKafkaProducer
    reached: dict[Any, int] = field(default_factory=dict[Any, int])

    async def fetch(self) -> Sequence[Message]:
        """Return the next messages."""
        found = cast(  # the library does not say what keys and values are here: bytes
            "Mapping[Any, Sequence[Any]]",
            await self.consumer.getmany(timeout_ms=int(FETCH_SECONDS * 1_000), max_records=BATCH_MESSAGES),
        )
        self.reached = {place: records[-1].offset + 1 for place, records in found.items() if records}
        return [_message(each) for records in found.values() for each in records]

    async def bury(self, dead: Sequence[Dead]) -> None:
        """Send dead letters to their topic, with the reason in headers."""
        for each in dead:
            headers, body = letter(each, room=MESSAGE_BYTES_MAX)
            try:
                await self._send(each, headers, body)
            except MessageSizeTooLargeError:  # this topic takes less than the one that it came from
                await self._send(each, headers, b"")

    async def _send(self, dead: Dead, headers: Mapping[str, str], body: bytes) -> None:
        key = dead.message.subject.encode()[:KEY_BYTES_MAX]
        told = [(name, value.encode()) for name, value in headers.items()]
        await self.producer.send_and_wait(f"{self.topic}.dead", body, key=key or None, headers=told)

    async def acknowledge(self) -> None:
        """Commit the offsets of what was fetched."""
        await self.consumer.commit(self.reached)


def _message(each: Any) -> Message:
    headers = {name: value for name, value in each.headers if value}
    given = next((headers[name].decode(errors="replace") for name in IDS if name in headers), None)
    place = f"{each.topic}:{each.partition}:{each.offset}"
    subject = (each.key or b"").decode(errors="replace")
    return Message(given or f"{place}:{each.timestamp}", f"kafka:{place}", each.value or b"", subject)

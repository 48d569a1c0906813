"""Messages from Kafka: a consumer group for each subscription, whose offsets are committed after the effects are."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from clearhouse.kernel.inbox.dead import Dead
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.kafka import REQUEST_MILLISECONDS, ensure_topic, producer, stop
from clearhouse.transport.bus.sources import BATCH_MESSAGES, FETCH_SECONDS

SESSION_MILLISECONDS = 10_000  # after a kill another one of the group takes over
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
            auto_offset_reset="earliest", request_timeout_ms=REQUEST_MILLISECONDS * 4,
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
            reasons = {"code": each.refusal.code, "reason": each.reason, "message-id": each.message.id}
            await self.producer.send_and_wait(
                f"{self.topic}.dead", each.message.body, key=each.message.subject.encode() or None,
                headers=[(name, value.encode()) for name, value in reasons.items()],
            )  # fmt: skip

    async def acknowledge(self) -> None:
        """Commit the offsets of what was fetched."""
        await self.consumer.commit(self.reached)


def _message(each: Any) -> Message:
    headers = {name: value for name, value in each.headers if value}
    given = next((headers[name].decode(errors="replace") for name in IDS if name in headers), None)
    place = f"{each.topic}:{each.partition}:{each.offset}"
    subject = (each.key or b"").decode(errors="replace")
    return Message(given or f"{place}:{each.timestamp}", f"kafka:{place}", each.value or b"", subject)

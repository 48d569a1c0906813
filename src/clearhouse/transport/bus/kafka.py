"""Events to Kafka: keyed by their subject, in batches, one batch of a partition after another.

Promise: `deliver` returns when all in-sync replicas have stored every event. A batch is stored whole or not, and the next of
its partition sets out when it has arrived, so order holds in a partition; what comes twice has the same id.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, UnknownError, UnsupportedVersionError
from aiokafka.partitioner import DefaultPartitioner
from msgspec import UNSET

from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.journal.readers import Claim, Reader
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.envelopes import CONTENT_TYPE, body

TOPIC = "clearhouse.events"
PARTITIONS = 8
REPLICAS_MAX = 3
BATCH_BYTES_MAX = 512 * 1024
REQUEST_MILLISECONDS = 5_000
STOP_SECONDS = 2.0
_HEADERS = [("content-type", CONTENT_TYPE.encode())]
_log = structlog.get_logger(__name__)
_partition: Callable[[bytes, Sequence[int], Sequence[int]], int] = DefaultPartitioner()


async def ensure_topic(kafka: Kafka, started: AIOKafkaProducer, topic: str) -> None:
    """Make a topic if it is missing and we may; one that is there stays as its owner made it."""
    if topic in (await started.client.fetch_all_metadata()).topics():
        return
    admin = AIOKafkaAdminClient(**kafka.options, request_timeout_ms=REQUEST_MILLISECONDS)
    try:
        await admin.start()
        brokers = (await admin.describe_cluster())["brokers"]
        await admin.create_topics([NewTopic(topic, PARTITIONS, min(REPLICAS_MAX, len(brokers)))])
        await started.client.force_metadata_update()
    except KafkaError as error:  # others may be those who make topics here, or the first message does
        _log.info("the topic was not made", topic=topic, reason=repr(error))
    finally:
        await admin.close()


async def producer(kafka: Kafka) -> AIOKafkaProducer:
    """Start a producer that waits for all in-sync replicas and writes nothing twice, where the broker knows how."""
    for idempotent in (True, False):
        made = AIOKafkaProducer(
            **kafka.options, client_id="clearhouse", acks="all", enable_idempotence=idempotent,
            max_batch_size=BATCH_BYTES_MAX, request_timeout_ms=REQUEST_MILLISECONDS,
        )  # fmt: skip
        try:
            await made.start()
        except (UnknownError, UnsupportedVersionError, ClusterAuthorizationFailedError) as error:
            await stop(made)
            if not idempotent:
                raise
            _log.info("no idempotent producer here", reason=repr(error))
        except BaseException:
            await stop(made)
            raise
        else:
            return made
    raise AssertionError  # the second try returned or raised


async def stop(made: AIOKafkaProducer) -> None:
    """Stop a producer; one whose broker is away is not waited for."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await made.stop()
    await made.client.close()


class KafkaBus:
    """Publishes events; one producer for a process."""

    def __init__(self, kafka: Kafka, topic: str = TOPIC) -> None:
        self._kafka = kafka
        self._topic = topic
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    @property
    def reader(self) -> Reader:
        """The reader that it is."""
        return Reader("kafka", self.deliver, close=self.close)

    async def deliver(self, _: Claim, events: Sequence[Event]) -> None:
        """Publish events and wait until they are stored."""
        started = await self._started()
        try:
            await self._publish(started, events)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give the producer up: one that failed may be about to send what comes later."""
        given_up, self._producer = self._producer, None
        if given_up is not None:
            await stop(given_up)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                started = await producer(self._kafka)
                try:
                    await ensure_topic(self._kafka, started, self._topic)
                except BaseException:
                    await stop(started)
                    raise
                self._producer = started
            return self._producer

    async def _publish(self, started: AIOKafkaProducer, events: Sequence[Event]) -> None:
        places = sorted(await started.partitions_for(self._topic))
        dealt: dict[int, list[Event]] = {}
        for event in events:
            dealt.setdefault(_partition(_key(event), places, places), []).append(event)
        chains = [asyncio.create_task(self._chain(started, place, its)) for place, its in dealt.items()]
        try:
            await asyncio.gather(*chains)
        finally:
            for chain in chains:
                chain.cancel()
            await asyncio.gather(*chains, return_exceptions=True)

    async def _chain(self, started: AIOKafkaProducer, place: int, events: Sequence[Event]) -> None:
        """Send the events of one partition, a batch when the one before it has arrived."""
        batch = started.create_batch()
        for event in events:
            key, value = _key(event), body(event)
            if batch.append(key=key, value=value, timestamp=None, headers=_HEADERS) is None:
                await (await started.send_batch(batch, self._topic, partition=place))
                batch = started.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=_HEADERS)
        await (await started.send_batch(batch, self._topic, partition=place))


def _key(event: Event) -> bytes:
    return (event.source if event.subject is UNSET else event.subject).encode()

"""Messages from NATS JetStream: a durable consumer for each subscription, acknowledged one by one after the commit."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, Header
from nats.js.errors import NotFoundError

from clearhouse.kernel.inbox.dead import Dead
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.transport.bus.jetstream import ConnectionClosed, connect, ensure_stream
from clearhouse.transport.bus.sources import BATCH_MESSAGES, FETCH_SECONDS

DEAD = "clearhouse-dead"
ACKNOWLEDGE_SECONDS = 30.0


@asynccontextmanager
async def opened(url: str, subscription: Subscription) -> "AsyncGenerator[JetStreamSource]":
    """Connect; a stream for the subject is made if there is none. What was not acknowledged comes again at once."""
    closed = asyncio.Event()
    client = await connect(url, closed)
    try:
        stream = client.jetstream()
        source = JetStreamSource(subscription.name, stream, await _joined(stream, subscription), closed)
        try:
            yield source
        finally:
            await source.return_all()
    finally:
        await client.close()


async def _joined(stream: JetStreamContext, subscription: Subscription) -> JetStreamContext.PullSubscription:
    durable = f"clearhouse-{subscription.name}"
    try:
        name = await stream.find_stream_name_by_subject(subscription.address)
    except NotFoundError:
        name = durable
        await ensure_stream(stream, name, [subscription.address])
    await ensure_stream(stream, DEAD, [f"{DEAD}.>"])
    config = ConsumerConfig(ack_wait=ACKNOWLEDGE_SECONDS, max_ack_pending=2 * BATCH_MESSAGES)
    return await stream.pull_subscribe(subscription.address, durable=durable, stream=name, config=config)


@dataclass(slots=True)
class JetStreamSource:
    """What a subscription has in JetStream."""

    name: str
    stream: JetStreamContext
    pull: JetStreamContext.PullSubscription
    closed: asyncio.Event
    fetched: list[Msg] = field(default_factory=list[Msg])

    async def fetch(self) -> Sequence[Message]:
        """Return the next messages."""
        if self.closed.is_set():
            raise ConnectionClosed("the connection to NATS was lost")
        with suppress(nats.errors.TimeoutError):
            self.fetched = await self.pull.fetch(BATCH_MESSAGES, timeout=FETCH_SECONDS)
        return [_message(each) for each in self.fetched]

    async def bury(self, dead: Sequence[Dead]) -> None:
        """Publish dead letters to `clearhouse-dead.<subscription>`, with the reason in headers."""
        for each in dead:
            reasons = {"code": each.refusal.code, "reason": each.reason, "source": each.message.source}
            headers = {name: " ".join(value.split()) for name, value in reasons.items()}  # a header is one line
            headers[Header.MSG_ID] = f"{self.name}/{each.message.id}"
            await self.stream.publish(f"{DEAD}.{self.name}", each.message.body, headers=headers)

    async def acknowledge(self) -> None:
        """Acknowledge what was fetched, and wait for the last one to be heard."""
        fetched, self.fetched = self.fetched, []
        for each in fetched[:-1]:
            await each.ack()
        await fetched[-1].ack_sync()

    async def return_all(self) -> None:
        """Let what was fetched and not acknowledged come again at once."""
        with suppress(nats.errors.Error, OSError):
            for each in self.fetched:
                await each.nak()


def _message(each: Msg) -> Message:
    place = each.metadata
    given = (each.headers or {}).get(Header.MSG_ID)
    own = f"{place.stream}:{place.sequence.stream}:{place.timestamp.timestamp()}"
    return Message(given or own, f"nats:{each.subject}", each.data)

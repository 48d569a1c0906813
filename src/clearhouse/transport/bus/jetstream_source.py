"""Messages from NATS JetStream: a durable consumer for each subscription, acknowledged one by one after the commit.

Promise: a message is told from a word of the server by where its answer goes, which no sender can choose; what its headers
say is never believed.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Inbox
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, Header
from nats.js.errors import NotFoundError

from clearhouse.kernel.inbox.dead import Dead
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.transport.bus.jetstream import ConnectionClosed, connect, ensure_stream, hang_up
from clearhouse.transport.bus.sources import BATCH_BYTES_MAX, BATCH_MESSAGES, FETCH_SECONDS, HEADERS_BYTES_MAX, letter

DEAD = "clearhouse-dead"
ACKNOWLEDGE_SECONDS = 30.0
ANSWER_SECONDS_MAX = 5.0
_OURS = "$JS.ACK."  # where a message of a stream is acknowledged; the server writes it, and a word of its own has none
_NOTHING_NOW = ("404", "408", "409")


@asynccontextmanager
async def opened(url: str, subscription: Subscription) -> "AsyncGenerator[JetStreamSource]":
    """Connect; a stream for the subject is made if there is none. What was not acknowledged comes again at once."""
    closed = asyncio.Event()
    client = await connect(url, closed)
    try:
        stream = client.jetstream()
        name, durable = await _joined(stream, subscription)
        inbox = await client.subscribe(client.new_inbox())
        asking = f"$JS.API.CONSUMER.MSG.NEXT.{name}.{durable}"
        source = JetStreamSource(subscription.name, client, stream, inbox, asking, closed)
        try:
            yield source
        finally:
            await source.return_all()
    finally:
        await hang_up(client)


async def _joined(stream: JetStreamContext, subscription: Subscription) -> tuple[str, str]:
    """Return the stream of a subscription and its consumer there, both made if they are missing."""
    durable = f"clearhouse-{subscription.name}"
    try:
        name = await stream.find_stream_name_by_subject(subscription.address)
    except NotFoundError:
        name = durable
        await ensure_stream(stream, name, [subscription.address])
    await ensure_stream(stream, DEAD, [f"{DEAD}.>"])
    try:
        await stream.consumer_info(name, durable)
    except NotFoundError:
        config = ConsumerConfig(
            durable_name=durable, filter_subject=subscription.address, ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACKNOWLEDGE_SECONDS, max_ack_pending=2 * BATCH_MESSAGES,
        )  # fmt: skip
        await stream.add_consumer(name, config)
    return name, durable


@dataclass(slots=True)
class JetStreamSource:
    """What a subscription has in JetStream."""

    name: str
    client: Client
    stream: JetStreamContext
    inbox: Inbox
    asking: str
    closed: asyncio.Event
    fetched: list[Msg] = field(default_factory=list[Msg])

    async def fetch(self) -> Sequence[Message]:
        """Return the next messages."""
        if self.closed.is_set():
            raise ConnectionClosed("the connection to NATS was lost")
        room = max(BATCH_BYTES_MAX, self.client.max_payload + HEADERS_BYTES_MAX)
        await self._ask({"batch": BATCH_MESSAGES, "max_bytes": room, "no_wait": True}, BATCH_MESSAGES)
        if not self.fetched:
            await self._ask({"batch": 1, "expires": int(FETCH_SECONDS * 1e9)}, 1)
        return [_message(each) for each in self.fetched]

    async def _ask(self, wish: dict[str, int], most: int) -> None:
        """Ask for messages, and keep them as they come until the server has no more to give."""
        await self.client.publish(self.asking, msgspec.json.encode(wish), reply=self.inbox.subject)
        while len(self.fetched) < most:
            came = await self.inbox.next_msg(timeout=ANSWER_SECONDS_MAX)
            if came.reply.startswith(_OURS):
                self.fetched.append(came)
            elif (came.headers or {}).get(Header.STATUS) in _NOTHING_NOW:
                break
            else:
                raise ConnectionClosed(f"NATS gives no messages: {came.headers}")

    async def bury(self, dead: Sequence[Dead]) -> None:
        """Publish dead letters to `clearhouse-dead.<subscription>`, with the reason in headers."""
        for each in dead:
            headers, body = letter(each, room=self.client.max_payload)
            headers[Header.MSG_ID] = f"{self.name}/{sha256(each.message.id.encode()).hexdigest()}"
            await self.stream.publish(f"{DEAD}.{self.name}", body, headers=headers)

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

"""Events to NATS JetStream: subject `clearhouse.<book>.<type>`, de-duplicated by their id.

Promise: `deliver` returns when the stream has stored every event. A connection that broke is never used again, since the
client would send what it still has and skip what was under way; the page comes again, and the stream drops what it has.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import Header, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.journal.readers import Claim, Reader
from clearhouse.transport.bus.envelopes import CONTENT_TYPE, body, book_name, waves

STREAM = "clearhouse"
SUBJECTS = "clearhouse.>"
DAYS_KEPT = 7
PENDING_MAX = 4_000
CONNECT_SECONDS = 5
CLOSE_SECONDS = 2.0


class ConnectionClosed(ConnectionError):
    """The connection to NATS was lost."""


async def connect(url: str, closed: asyncio.Event) -> Client:
    """Connect to one of the servers of a URL (several are parted by commas), without ever connecting again by itself."""

    async def over() -> None:
        closed.set()

    async def told(_: Exception) -> None:
        """Whoever waits for an answer is told; the client would only print it."""

    client = Client()
    try:
        await client.connect(
            url.split(","), name="clearhouse", allow_reconnect=False, connect_timeout=CONNECT_SECONDS,
            max_reconnect_attempts=1, closed_cb=over, error_cb=told, **credentials(url),
        )  # fmt: skip
    except BaseException:
        await hang_up(client)  # whoever was not let in has a socket, and the client would leave it to the collector
        raise
    return client


async def hang_up(client: Client) -> None:
    """Close a connection. One whose other end takes nothing any more is not waited for: what it has to send is dropped."""
    with suppress(TimeoutError, nats.errors.Error, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()
            return
    transport: Any = cast("Any", client)._transport  # noqa: SLF001 - nobody else has it, and it waits for the other end
    writer = getattr(transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


def credentials(url: str) -> dict[str, Any]:
    """Return who gets in by a URL: a name and a password, or a token; the client would take what is quoted as it stands."""
    first = urlsplit(url.partition(",")[0])
    if first.username is None:
        return {}
    name = unquote(first.username)
    return {"token": name} if first.password is None else {"user": name, "password": unquote(first.password)}


async def ensure_stream(stream: JetStreamContext, name: str, subjects: list[str]) -> None:
    """Make a stream if it is missing; one that is there stays as its owner made it."""
    try:
        await stream.stream_info(name)
    except NotFoundError:
        config = StreamConfig(
            name=name, subjects=subjects, storage=StorageType.FILE, max_age=DAYS_KEPT * 86_400.0, duplicate_window=120.0
        )
        await stream.add_stream(config)


class JetStreamBus:
    """Publishes events; one connection for a process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._closed = asyncio.Event()
        self._stream: JetStreamContext | None = None

    @property
    def reader(self) -> Reader:
        """The reader that it is."""
        return Reader("nats", self.deliver, close=self.close)

    async def deliver(self, _: Claim, events: Sequence[Event]) -> None:
        """Publish events and wait until they are stored."""
        stream = await self._connected()
        try:
            for wave in waves(events):
                await self._publish(stream, wave)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give the connection up."""
        client, self._client, self._stream = self._client, None, None
        self._closed.set()
        if client is not None and not client.is_closed:
            await hang_up(client)

    async def _connected(self) -> JetStreamContext:
        async with self._connecting:
            if self._stream is not None and not self._closed.is_set():
                return self._stream
            await self.close()
            self._closed = asyncio.Event()
            self._client = await connect(self._url, self._closed)
            stream = self._client.jetstream(publish_async_max_pending=PENDING_MAX)
            await ensure_stream(stream, STREAM, [SUBJECTS])
            self._stream = stream
            return stream

    async def _publish(self, stream: JetStreamContext, wave: Sequence[Event]) -> None:
        closed = asyncio.create_task(self._closed.wait())
        stored = asyncio.create_task(_stored(stream, wave))
        try:
            await asyncio.wait([closed, stored], return_when=asyncio.FIRST_COMPLETED)
            if not stored.done():
                raise ConnectionClosed("the connection to NATS was lost")
            await stored
        finally:
            for task in (closed, stored):
                task.cancel()
            # the client may swallow a cancel while it sends; then only the end of the connection ends it
            await asyncio.wait([closed, stored], timeout=CLOSE_SECONDS)


async def _stored(stream: JetStreamContext, wave: Sequence[Event]) -> None:
    acknowledged = [
        await stream.publish_async(
            f"clearhouse.{book_name(event)}.{event.type}", body(event),
            headers={Header.MSG_ID: event.id, "content-type": CONTENT_TYPE},
        )
        for event in wave
    ]  # fmt: skip
    await asyncio.gather(*acknowledged)

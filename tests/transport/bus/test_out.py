"""Events on their way out, to real brokers that are killed in mid-stream: nothing lost, no gap, order per subject."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import nats
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer
from msgspec import UNSET, Raw

from brokers import Nats, mock_cluster, nats_server, tansu
from clearhouse import ids
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import readers
from clearhouse.kernel.journal.events import Cursor, Event, after
from clearhouse.kernel.journal.readers import Claim, Reader
from clearhouse.kernel.journal.writing import Line
from clearhouse.transport.bus import kafka
from clearhouse.transport.bus.addresses import Kafka, KafkaAddressRefused
from clearhouse.transport.bus.envelopes import BYTES_MAX, body, waves
from clearhouse.transport.bus.jetstream import JetStreamBus
from clearhouse.transport.bus.kafka import TOPIC, KafkaBus
from telling import tell

ROWS = 60
LINES = 10
SUBJECTS = 7
LARGE = b'"' + b"x" * 500_000 + b'"'


async def told(database: Database, rows: int = ROWS) -> list[str]:
    """Tell of a few subjects, again and again, and return the ids of what was told."""
    for row in range(rows):
        lines = [Line("test.told", f"subject {(row * LINES + place) % SUBJECTS}", {"row": row}) for place in range(LINES)]
        await tell(database, *lines)
    return [f"1-{row + 1}-{place}" for row in range(rows) for place in range(LINES)]


class Broken:
    """A bus whose broker goes away in the middle of a few deliveries."""

    def __init__(self, bus: JetStreamBus | KafkaBus, go_away: Callable[[], Awaitable[None]]) -> None:
        self.bus = bus
        self.go_away = go_away
        self.rows = [5, 20, 40]
        self.failures = 0

    async def __call__(self, claimed: Claim, events: Sequence[Event]) -> None:
        delivery = asyncio.create_task(self.bus.deliver(claimed, events))
        if self.rows and events[-1].cursor.number >= self.rows[0]:
            self.rows.pop(0)
            for _ in range(10 * len(self.rows)):  # each time a little further on
                await asyncio.sleep(0)
            await self.go_away()
        try:
            await delivery
        except Exception:
            self.failures += 1
            raise


async def published(database: Database, dsn: str, broken: Broken) -> list[str]:
    """Publish in small pages what a few subjects had to tell, tried again without delay, and return the ids of it all."""
    expected = await told(database)
    reader = Reader(broken.bus.reader.name, broken, most=25, seconds=5)
    async with database.writing() as tx:
        await readers.enrol_everywhere(tx, reader.name)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as owner:
        while not await arrived(database):
            await owner.execute("UPDATE clearhouse.event_reader SET due_at = clock_timestamp()")
            claimed = await readers.claim(database, reader)
            if claimed is not None:
                await readers.turn(database, reader, claimed)
    await broken.bus.close()
    assert broken.rows == []
    return expected


async def arrived(database: Database) -> bool:
    async with database.reading([1]) as tx:
        return all(each.lag == 0 for each in await readers.standings(tx))


def in_order(arrived: Sequence[dict[str, Any]], expected: Sequence[str]) -> None:
    """Check that nothing is missing and that of each subject the first arrivals are in the order in which they were told."""
    first: dict[str, str] = {}
    for each in arrived:
        first.setdefault(each["id"], each["subject"])
    assert sorted(first) == sorted(expected)
    for subject in set(first.values()):
        ids = [name for name, its in first.items() if its == subject]
        assert ids == sorted(ids, key=lambda each: [int(part) for part in each.split("-")])


# NATS ----------------------------------------------------------------------------------------------------------------


async def stored(server: Nats) -> list[dict[str, Any]]:
    """Return everything that the stream has, in its order."""
    client = await nats.connect(server.url)
    stream = client.jetstream()
    count = (await stream.stream_info("clearhouse")).state.messages
    found = await stream.pull_subscribe("clearhouse.>", stream="clearhouse")
    messages = [each for _ in range(0, count, 100) for each in await found.fetch(min(100, count), timeout=5)]
    await client.close()
    for each in messages:
        envelope = json.loads(each.data)
        assert each.subject == f"clearhouse.main.{envelope['type']}"
        assert each.headers is not None
        assert each.headers["Nats-Msg-Id"] == envelope["id"]
    return [json.loads(each.data) for each in messages]


async def test_nats_killed_in_mid_stream_loses_nothing_and_stores_nothing_twice(
    database: Database, owner_dsn: str, tmp_path: Path
) -> None:
    with nats_server(tmp_path) as server:

        async def die() -> None:
            await asyncio.to_thread(server.kill)
            server.start()

        broken = Broken(JetStreamBus(server.url), die)
        expected = await published(database, owner_dsn, broken)
        found = await stored(server)
    assert 1 <= broken.failures <= 3  # a delivery may be faster than the kill
    in_order(found, expected)
    assert len(found) == len(expected)


async def test_a_nats_that_takes_nothing_any_more_is_given_up_within_seconds(database: Database, tmp_path: Path) -> None:
    await told(database, rows=1)
    async with database.reading([1]) as tx:
        events = (await after(tx, Cursor(), most=1)).events
    large = [msgspec.structs.replace(events[0], id=f"1-9-{place}", data=Raw(LARGE)) for place in range(40)]
    with nats_server(tmp_path) as server:
        bus, claimed = JetStreamBus(server.url), Claim(1, "nats", ids.fresh(), 0, 0)
        await bus.deliver(claimed, events)
        server.send(signal.SIGSTOP)  # its machine takes what comes until that is full, and then nothing
        delivering = asyncio.create_task(asyncio.wait_for(bus.deliver(claimed, large), 0.5))
        await asyncio.wait([delivering], timeout=30)
        server.send(signal.SIGCONT)
        assert isinstance(delivering.exception(), TimeoutError)
        await bus.deliver(claimed, events)
        await bus.close()


async def test_what_is_delivered_again_to_nats_is_dropped_by_its_id(database: Database, tmp_path: Path) -> None:
    await told(database, rows=2)
    heard: list[Event] = []

    async def hear(_: Claim, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)
        heard.extend(events)

    async with database.writing() as tx:
        await readers.enrol_everywhere(tx, "ear")
    claimed = await readers.claim(database, Reader("ear", hear))
    assert claimed is not None
    await readers.turn(database, Reader("ear", hear), claimed)
    with nats_server(tmp_path) as server:
        bus = JetStreamBus(server.url)
        for _ in range(3):
            await bus.deliver(claimed, heard)
        await bus.close()
        assert len(await stored(server)) == len(heard) == 20


# Kafka ---------------------------------------------------------------------------------------------------------------


async def consumed(servers: str, expected: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the topic has, partition by partition, as soon as everything expected is among it."""
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    found: list[dict[str, Any]] = []
    missing = set(expected)
    try:
        while missing:
            page = cast("dict[Any, list[Any]]", await consumer.getmany(timeout_ms=1_000))
            for records in page.values():
                for record in records:
                    envelope = json.loads(record.value)
                    assert record.key == envelope["subject"].encode()
                    found.append(envelope)
                    missing.discard(envelope["id"])
    finally:
        await consumer.stop()
    return found


async def test_kafka_switched_off_in_mid_stream_loses_nothing(database: Database, owner_dsn: str) -> None:
    with mock_cluster() as cluster:
        cluster.make(TOPIC)

        async def switch() -> None:
            cluster.off()
            await asyncio.get_running_loop().run_in_executor(None, cluster.on)

        broken = Broken(KafkaBus(Kafka.read(cluster.servers)), switch)
        expected = await published(database, owner_dsn, broken)
        in_order(await consumed(cluster.servers, expected), expected)


async def test_kafka_behind_a_wire_that_is_cut_in_mid_stream_loses_nothing(
    database: Database, owner_dsn: str, tmp_path: Path
) -> None:
    async with tansu(tmp_path) as wire:

        async def cut() -> None:
            await wire.cut()
            await wire.mend()

        broken = Broken(KafkaBus(Kafka.read(wire.address)), cut)
        expected = await published(database, owner_dsn, broken)
        in_order(await consumed(wire.address, expected), expected)


async def test_a_broker_that_stays_away_fails_the_delivery_and_a_later_one_arrives(
    database: Database, owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "REQUEST_MILLISECONDS", 500)
    async with tansu(tmp_path) as wire:
        broken = Broken(KafkaBus(Kafka.read(wire.address)), wire.cut)
        deliver = broken.bus.deliver

        async def mend(_: Claim, events: Sequence[Event]) -> None:
            try:
                await deliver(_, events)
            except Exception:
                await wire.mend()
                raise

        broken.bus.deliver = mend
        expected = await published(database, owner_dsn, broken)
        assert 1 <= broken.failures <= 3  # a delivery may be faster than the kill
        in_order(await consumed(wire.address, expected), expected)


# What both have in common --------------------------------------------------------------------------------------------


def event(place: int, subject: str = "", text: str = "") -> Event:
    return Event(f"1-7-{place}", "/books/main", "test.told", "2026-01-01T00:00:00Z", "prn_1", subject=subject or UNSET,
                 data=Raw(json.dumps(text).encode()), datacontenttype="application/json")  # fmt: skip


def test_of_a_subject_one_event_is_on_its_way_at_a_time() -> None:
    cut = waves([event(0, "a"), event(1, "b"), event(2, "a"), event(3), event(4), event(5, "a"), event(6, "b")])
    assert [[each.id[-1] for each in wave] for wave in cut] == [["0", "1", "3", "4"], ["2", "6"], ["5"]]


def test_an_event_that_is_too_large_says_where_its_data_are() -> None:
    assert len(body(event(0, "a", "x" * (BYTES_MAX - 400)))) <= BYTES_MAX
    large = json.loads(body(event(0, "a", "x" * BYTES_MAX)))
    assert "data" not in large
    assert large["dataref"] == "/api/v1/audit/lines?book=main&cursor=6&limit=1"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a:9092", {"bootstrap_servers": ["a:9092"], "security_protocol": "PLAINTEXT"}),
        ("a:1,b:2", {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}),
        (
            "sasl_plaintext://me:p%40ss@a:1?mechanism=scram-sha-512",
            {
                "bootstrap_servers": ["a:1"], "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "me", "sasl_plain_password": "p@ss",
            },
        ),
    ],
)  # fmt: skip
def test_an_address_of_kafka_says_where_and_how(text: str, options: dict[str, Any]) -> None:
    assert Kafka.read(text).options == options


def test_an_encrypted_address_brings_what_to_trust() -> None:
    assert Kafka.read("ssl://a:9093").options["ssl_context"].check_hostname
    assert Kafka.read("sasl_ssl://me:secret@a:9093").options["security_protocol"] == "SASL_SSL"


@pytest.mark.parametrize(
    "text", ["", "a", "a:0", "a:99999", ":9092", "http://a:1", "me:x@a:1", "sasl_ssl://a:1", "a:1?mechanism=MD5", "a:1,b"]
)
def test_an_address_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(KafkaAddressRefused):
        Kafka.read(text)

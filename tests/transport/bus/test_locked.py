"""Buses behind TLS and a password: who has both gets in, and nothing is told to one who only says that it is the bus."""

import asyncio
import gc
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import nats
import pytest
import trustme
from aiokafka import AIOKafkaConsumer
from aiokafka.helpers import create_ssl_context
from nats.js.api import StreamConfig

from brokers import LOCAL, Nats, nats_server, tansu
from clearhouse.app.config import Config
from clearhouse.app.inbox import works
from clearhouse.kernel.journal.events import Event
from clearhouse.kernel.journal.readers import Claim
from clearhouse.transport.bus.addresses import Kafka
from clearhouse.transport.bus.jetstream import STREAM, JetStreamBus
from clearhouse.transport.bus.kafka import KafkaBus
from house import House, balance, movement, transaction

EVENT = Event("1-1-0", "/books/main", "test.told", "2026-01-31T12:00:00Z", "somebody")
CLAIM: Any = Claim  # no bus looks at it
NAME, PASSWORD = "clearhouse", "a p@ss:word/of?ours#"
QUOTED = "a%20p%40ss%3Aword%2Fof%3Fours%23"
SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Papers:
    """A certificate for this machine, as files, and that of the authority which gave it."""

    certificate: Path
    key: Path
    authority: Path


def issued(folder: Path, name: str = LOCAL) -> Papers:
    authority = trustme.CA()
    given = authority.issue_cert(name)
    papers = Papers(folder / "certificate", folder / "key", folder / "authority")
    given.private_key_pem.write_to_path(papers.key)
    papers.certificate.write_bytes(b"".join(each.bytes() for each in given.cert_chain_pems))
    authority.cert_pem.write_to_path(papers.authority)
    return papers


def shown(papers: Papers) -> ssl.SSLContext:
    """Return what a server shows that has these papers."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(papers.certificate, papers.key)
    return context


# When a certificate is refused, asyncio's own start_tls leaves half a transport behind, which says so when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:.*_SSLProtocolTransport:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Generator[None]:
    """Let what a test leaves behind be collected before the next one, which would be blamed for it."""
    yield
    gc.collect()


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return issued(tmp_path)


@pytest.fixture
def trusted(papers: Papers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the authority be one that this machine trusts, as an operator does."""
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.authority))


@pytest.fixture
def locked(tmp_path: Path, papers: Papers) -> Generator[Nats]:
    """Give a NATS that wants TLS, a name and a password."""
    folder = tmp_path / "nats"
    folder.mkdir()
    words = ["--tls", "--tlscert", str(papers.certificate), "--tlskey", str(papers.key), "--user", NAME, "--pass", PASSWORD]
    with nats_server(folder, *words) as server:
        yield server


def address(server: Nats, who: str = f"{NAME}:{QUOTED}@", scheme: str = "tls") -> str:
    return f"{scheme}://{who}{server.url.removeprefix('nats://')}"


async def told(bus: JetStreamBus | KafkaBus) -> None:
    try:
        await asyncio.wait_for(bus.deliver(CLAIM, [EVENT]), SECONDS_MAX)
    finally:
        await bus.close()


async def stored(server: Nats) -> int:
    client = await nats.connect(address(server), user=NAME, password=PASSWORD)
    found = await client.jetstream().stream_info(STREAM)
    await client.close()
    return found.state.messages


@pytest.mark.usefixtures("trusted")
async def test_events_reach_nats_over_tls_with_a_password(locked: Nats) -> None:
    await told(JetStreamBus(address(locked)))
    assert await stored(locked) == 1


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("who", ["", "clearhouse:wrong@", "nobody:a%20p%40ss@"])
async def test_without_the_password_nats_lets_nobody_in(locked: Nats, who: str) -> None:
    with pytest.raises(Exception, match=r"(?i)authorization|nats"):
        await told(JetStreamBus(address(locked, who)))


async def test_a_nats_whose_certificate_nobody_vouches_for_is_told_nothing(locked: Nats) -> None:
    with pytest.raises(Exception, match=r"(?i)certificate|nats"):
        await told(JetStreamBus(address(locked)))


async def test_a_nats_whose_certificate_is_for_another_machine_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = issued(tmp_path, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.authority))
    words = ["--tls", "--tlscert", str(other.certificate), "--tlskey", str(other.key)]
    with nats_server(tmp_path, *words) as server, pytest.raises(Exception, match=r"(?i)certificate|nats"):
        await told(JetStreamBus(address(server, "")))


@pytest.mark.usefixtures("trusted")
async def test_messages_come_in_from_nats_over_tls_with_a_password(house: House, locked: Nats) -> None:
    await house.caller("operator", name="gateway")
    operator = await house.caller("operator", name="Ada")
    await house.open_accounts(operator, "shop", "revenue")
    inbox = "ledger.post@nats:payments?as=gateway&name=payments"
    client = await nats.connect(address(locked), user=NAME, password=PASSWORD)
    await client.jetstream().add_stream(StreamConfig(name="incoming", subjects=["payments"]))
    (take,) = works(Config(nats_url=address(locked), inbox=inbox), house.door)
    taking = asyncio.ensure_future(take(house.database))
    await client.jetstream().publish("payments", msgspec.json.encode(transaction(movement("shop", "revenue", "1.00"))))
    for _ in range(600):
        if await balance(operator, "revenue") == "1.00":
            break
        await asyncio.sleep(0.05)
    await client.close()
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert await balance(operator, "revenue") == "1.00"


@pytest.mark.usefixtures("trusted")
async def test_events_reach_kafka_over_tls(tmp_path: Path, papers: Papers) -> None:
    async with tansu(tmp_path, tls=shown(papers)) as wire:
        await told(KafkaBus(Kafka.read(f"ssl://{wire.address}")))
        reading = AIOKafkaConsumer(
            "clearhouse.events", bootstrap_servers=wire.address, auto_offset_reset="earliest", security_protocol="SSL",
            ssl_context=create_ssl_context(),
        )  # fmt: skip
        await reading.start()
        came = cast("Any", await reading.getone())
        await reading.stop()
    assert EVENT.id.encode() in came.value


async def test_a_kafka_whose_certificate_nobody_vouches_for_is_told_nothing(tmp_path: Path, papers: Papers) -> None:
    async with tansu(tmp_path, tls=shown(papers)) as wire:
        with pytest.raises(Exception, match=r"(?i)kafka|connect|certificate"):
            await told(KafkaBus(Kafka.read(f"ssl://{wire.address}")))

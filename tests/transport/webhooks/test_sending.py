"""Sending against names that lie, receivers without the right certificate, and ones that never end."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_network

import pytest
import trustme

from clearhouse.transport.webhooks.addresses import Network
from clearhouse.transport.webhooks.sending import Outcome, Sender
from receiving import Receiver, Taken

LOOP = (ip_network("127.0.0.0/8"),)


class Lying:
    """A name that leads to one place when it is looked at, and to another a moment later."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _: str) -> Sequence[str]:
        self.asked += 1
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]]


async def sent(sender: Sender, url: str) -> Outcome:
    try:
        return await sender.send(url, b"{}", {})
    finally:
        await sender.close()


async def test_a_name_that_leads_home_a_moment_later_leads_nowhere() -> None:
    async with Receiver.opened() as inside:
        name = Lying("8.8.8.8", "127.0.0.1")
        network = Network(resolve=name)
        url = f"https://rebinding.example:{inside.port}/"
        await network.check(url)
        outcome = await sent(Sender(network), url)
        assert (outcome.status, inside.taken) == (None, [])
        assert "127.0.0.1" in outcome.answer


async def test_a_connection_goes_to_the_address_that_was_looked_at_and_to_no_later_one() -> None:
    async with Receiver.opened() as meant:
        name = Lying("127.0.0.1", "127.0.0.1", "127.0.0.2")
        outcome = await sent(Sender(Network(LOOP, name)), f"http://hooks.example:{meant.port}/")
        assert (outcome.status, name.asked) == (200, 2)
        assert meant.taken[0].headers["host"] == f"hooks.example:{meant.port}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def shown(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return what a receiver shows that has a certificate for a name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize(("name", "status"), [("hooks.example", 200), ("another.example", None), ("127.0.0.1", None)])
async def test_a_certificate_must_be_for_the_name_and_not_for_the_address(
    authority: trustme.CA, trusted: ssl.SSLContext, name: str, status: int | None
) -> None:
    async with Receiver.opened(tls=shown(authority, name)) as receiver:
        sender = Sender(Network(LOOP, Lying("127.0.0.1")), trusted=trusted)
        outcome = await sent(sender, f"https://hooks.example:{receiver.port}/")
        assert outcome.status == status


async def test_a_certificate_of_an_authority_that_nobody_knows_is_none(authority: trustme.CA) -> None:
    async with Receiver.opened(tls=shown(authority, "hooks.example")) as receiver:
        outcome = await sent(Sender(Network(LOOP, Lying("127.0.0.1"))), f"https://hooks.example:{receiver.port}/")
        assert (outcome.status, "CERTIFICATE" in outcome.answer.upper()) == (None, True)


async def test_an_answer_that_never_ends_ends_here() -> None:
    over = asyncio.Event()

    async def drips(_: Taken) -> bytes:
        await over.wait()
        return b""

    async with Receiver.opened(drips) as receiver:
        outcome = await sent(Sender(Network(LOOP), seconds=0.2), receiver.url)
        over.set()
    assert outcome == Outcome(None, "there was no answer within 0.2 seconds")


@pytest.mark.parametrize("said", [b"rubbish\r\n\r\n", b"HTTP/1.1 200", b"", b"HTTP/1.1 999999 no\r\n\r\n"])
async def test_an_answer_that_is_none_is_a_reason(said: bytes) -> None:
    async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(rubbish, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await sent(Sender(Network(LOOP), seconds=5), f"http://127.0.0.1:{port}/")
    assert outcome.status is None
    assert outcome.answer

"""Connections are kept for what goes to the same place, and only those that are good."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from clearhouse.transport.webhooks import connections
from clearhouse.transport.webhooks.addresses import Network
from clearhouse.transport.webhooks.sending import Sender
from receiving import answer

LONG = answer(200, b"x" * 100_000)


@dataclass(slots=True)
class Counting:
    """A receiver that counts who connected and who is still there."""

    says: bytes = answer(200, b"thanks")
    keeps: bool = True
    port: int = 0
    came: int = 0
    there: int = 0
    left: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came, self.there = self.came + 1, self.there + 1
        try:
            while await reader.readuntil(b"{}"):
                writer.write(self.says)
                await writer.drain()
                if not self.keeps:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            async with self.left:
                self.there -= 1
                self.left.notify_all()

    async def until_there(self, is_so: Callable[[int], bool]) -> None:
        async with asyncio.timeout(10), self.left:
            await self.left.wait_for(lambda: is_so(self.there))


@asynccontextmanager
async def counting(says: bytes = answer(200, b"thanks"), *, keeps: bool = True) -> AsyncGenerator[Counting]:
    receiver = Counting(says, keeps)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    async with server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


@pytest.fixture
async def sender() -> AsyncGenerator[Sender]:
    """Give a sender that may send to this machine."""
    made = Sender(Network((ip_network("127.0.0.0/8"),)), seconds=5)
    yield made
    await made.close()


async def test_one_connection_serves_everything_that_goes_to_a_place_one_after_another(sender: Sender) -> None:
    async with counting() as receiver:
        assert [(await sender.send(receiver.url, b"{}", {})).status for _ in range(5)] == [200] * 5
        assert receiver.came == 1


async def test_what_is_sent_at_once_goes_over_as_many_connections_which_are_all_kept(sender: Sender) -> None:
    async with counting() as receiver:
        for _ in range(3):
            await asyncio.gather(*(sender.send(receiver.url, b"{}", {}) for _ in range(10)))
        assert (receiver.came, receiver.there) == (10, 10)


async def test_places_never_share_a_connection(sender: Sender) -> None:
    async with counting() as one, counting() as other:
        for receiver in (one, other, one, other):
            assert (await sender.send(receiver.url, b"{}", {})).status == 200
        assert (one.came, other.came) == (1, 1)


async def test_a_connection_whose_answer_was_not_read_to_its_end_is_closed(sender: Sender) -> None:
    async with counting(LONG) as receiver:
        assert [(await sender.send(receiver.url, b"{}", {})).status for _ in range(2)] == [200] * 2
        await receiver.until_there(lambda count: count == 0)
        assert receiver.came == 2


async def test_a_connection_that_the_receiver_closed_is_not_used_again(sender: Sender) -> None:
    async with counting(keeps=False) as receiver:
        for number in range(1, 4):
            assert (await sender.send(receiver.url, b"{}", {})).status == 200
            await receiver.until_there(lambda count: count == 0)
            assert receiver.came == number


async def test_of_many_places_the_connections_that_rest_the_longest_are_closed(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEPT_MAX", 3)
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(counting()) for _ in range(5)]
        for receiver in receivers:
            await sender.send(receiver.url, b"{}", {})
        for early in receivers[:2]:
            await early.until_there(lambda count: count == 0)
        assert [each.there for each in receivers] == [0, 0, 1, 1, 1]


async def test_a_sender_that_is_closed_keeps_nothing(sender: Sender) -> None:
    async with counting() as receiver:
        await asyncio.gather(*(sender.send(receiver.url, b"{}", {}) for _ in range(4)))
        await sender.close()
        await receiver.until_there(lambda count: count == 0)
        await sender.send(receiver.url, b"{}", {})
        await receiver.until_there(lambda count: count == 0)

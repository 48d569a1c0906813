"""Receivers of webhooks: a real server on a port of its own, which answers as it is told and keeps what it was sent."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Taken:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = Callable[[Taken], Awaitable[bytes]]


async def fine(_: Taken) -> bytes:
    return answer(200, b"thanks")


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} so", f"content-length: {len(body)}", *(f"{name}: {its}" for name, its in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Receiver:
    """A server that answers each request with what `answers` says."""

    port: int = 0
    answers: Answer = fine
    taken: list[Taken] = field(default_factory=list[Taken])
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.taken]

    @property
    def types(self) -> list[str]:
        return [each.event["type"] for each in self.taken]

    @classmethod
    @asynccontextmanager
    async def opened(cls, answers: Answer = fine, *, tls: ssl.SSLContext | None = None) -> "AsyncGenerator[Receiver]":
        receiver = cls(answers=answers)
        server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=tls)
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            server.close()

    async def until(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(SECONDS_MAX), self.news:
            await self.news.wait_for(lambda: len(self.taken) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        taken = Taken(first.split()[1], headers, body)
        async with self.news:
            self.taken.append(taken)
            self.news.notify_all()
        writer.write(await self.answers(taken))
        await writer.drain()

"""Those who follow events over the wire, from a real server on a house."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import uvicorn

from house import House

EVENTS = "/api/v1/events"
STREAM = {"Accept": "text/event-stream"}
SECONDS_MAX = 30.0


@dataclass(slots=True)
class Follower:
    """Somebody who follows, and what arrived."""

    lines: AsyncIterator[str]
    ids: list[str] = field(default_factory=list[str])

    async def next(self) -> dict[str, Any]:
        """Return the next event."""
        async with asyncio.timeout(SECONDS_MAX):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.ids.append(value)
                elif name == "data":
                    return msgspec.json.decode(value)
        message = "the stream has ended"
        raise EOFError(message)


@asynccontextmanager
async def listening(house: House) -> AsyncGenerator[str]:
    """Serve a house, which hears of what happens, and give the address."""
    socket_of_it = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(house.entrance, log_config=None, lifespan="off", timeout_graceful_shutdown=20, ws="none")
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server._serve([socket_of_it]))
    hearing = asyncio.create_task(house.feed.run(house.database))
    yield f"http://127.0.0.1:{socket_of_it.getsockname()[1]}"
    house.feed.end()
    server.should_exit = True
    async with asyncio.timeout(10):
        await serving
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)


@asynccontextmanager
async def following(
    url: str, key: str, *, path: str = EVENTS, headers: dict[str, str] | None = None, **query: str
) -> AsyncGenerator[Follower]:
    """Follow events over the wire."""
    asked = {**STREAM, "Authorization": key, **(headers or {})}
    async with (
        httpx.AsyncClient(base_url=url, timeout=SECONDS_MAX) as http,
        http.stream("GET", path, headers=asked, params=query) as answered,
    ):
        assert answered.status_code == 200, await answered.aread()
        assert answered.headers["content-type"].startswith("text/event-stream")
        yield Follower(answered.aiter_lines())

"""Connections that webhooks go over: to the addresses that were looked at, kept a while for what goes to the same place.

Promise: how many there are costs a webhook nothing, since each is in the hands of one sender or at rest, and nobody counts
the others; one that broke, or whose answer was not read to its end, is closed and never used again.
"""

import ssl
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import httpcore

from clearhouse.transport.webhooks.addresses import Network

KEPT_MAX = 50
KEPT_SECONDS = 30.0
Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connections to the addresses that were looked at, and never by name. TLS still asks for the name of the host."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._inner = cast(
            "httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend()
        )  # its twin for a machine without anyio is none

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,  # noqa: ASYNC109 - theirs
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        """Connect to the first address of a host that answers."""
        failed: Exception = httpcore.ConnectError("there is no address")
        for address in await self._network.addresses(host):
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


class Connections:
    """Those at rest, the longest at rest first; one in use is with whoever uses it."""

    def __init__(self, network: Network, trusted: ssl.SSLContext) -> None:
        self._backend = _Guarded(network)
        self._trusted = trusted
        self._resting: dict[httpcore.AsyncHTTPConnection, None] = {}
        self._is_closed = False

    @asynccontextmanager
    async def post(
        self, where: httpcore.URL, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> AsyncGenerator[httpcore.Response]:
        """Post over a connection that is at rest, or over a new one, and give the answer as it comes."""
        connection = await self._taken(where.origin)
        try:
            answer = await connection.handle_async_request(httpcore.Request("POST", where, headers=headers, content=body))
            try:
                yield answer
            finally:
                await answer.aclose()
        finally:
            if connection.is_available() and not self._is_closed:
                self._resting[connection] = None
            else:
                await connection.aclose()
            await self._let_go()

    async def close(self) -> None:
        """Close every connection that is at rest, and keep none from now on."""
        self._is_closed = True
        await self._let_go()

    async def _taken(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        """Return the connection to a place that was used last, if it is good still, or a new one."""
        for each in reversed(list(self._resting)):
            if each in self._resting and each.can_handle_request(origin):
                del self._resting[each]
                if not each.has_expired():
                    return each
                await each.aclose()
        return httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._trusted, keepalive_expiry=KEPT_SECONDS, network_backend=self._backend
        )

    async def _let_go(self) -> None:
        """Close what has been at rest for too long, or is too much."""
        for longest in list(self._resting):
            if len(self._resting) <= KEPT_MAX and not self._is_closed and not longest.has_expired():
                break
            if longest in self._resting:  # closing another took a moment in which somebody may have taken it
                del self._resting[longest]
                await longest.aclose()

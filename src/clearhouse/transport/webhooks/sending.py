"""Sending one webhook: to an address that was looked at, within a time, with an answer that is bounded.

Promise: a redirect is an answer like any other and is not followed; whatever the other side does, this ends, in words that
fit a row.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, cast

import httpcore
import httpx

from clearhouse.refusals import Refusal
from clearhouse.transport.webhooks.addresses import NETWORK, PORTS, Network, UrlRefused, read

SECONDS_MAX = 15.0
ANSWER_BYTES_MAX = 500
CONNECTIONS_KEPT_MAX = 50
CONNECTIONS_MAX = 10_000  # deliveries have a bound of their own; a second one here would let slow receivers hold others up
USER_AGENT = f"clearhouse/{version('clearhouse')}"
Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try: the status, if there was one, and a piece of the answer or the reason why there is none."""

    status: int | None
    answer: str

    @property
    def is_taken(self) -> bool:
        """Tell whether the receiver has it."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_gone(self) -> bool:
        """Tell whether the receiver wants nothing more, ever."""
        return self.status == HTTPStatus.GONE


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


class Sender:
    """Sends webhooks, and keeps connections for the next ones."""

    def __init__(
        self, network: Network = NETWORK, *, seconds: float = SECONDS_MAX, trusted: ssl.SSLContext | None = None
    ) -> None:
        """Send into a network; `trusted` says whose certificates are good, if not the usual ones."""
        self._network = network
        self._seconds = seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trusted or httpx.create_ssl_context(trust_env=False), network_backend=_Guarded(network),
            max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_KEPT_MAX, keepalive_expiry=30.0,
        )  # fmt: skip

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Post a body, and say what became of it."""
        answer = _Answer()
        try:
            async with asyncio.timeout(self._seconds):
                await self._post(url, body, headers, answer)
        except TimeoutError:
            return answer.outcome(f"there was no answer within {self._seconds:g} seconds")
        except Refusal as refusal:
            return answer.outcome(str(refusal))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError, OSError) as error:
            return answer.outcome(f"{type(error).__name__}: {error}")
        return answer.outcome("")

    async def _post(self, text: str, body: bytes, headers: Mapping[str, str], answer: "_Answer") -> None:
        url = read(text)
        if url.scheme != "https" and not all(map(self._network.is_named, await self._network.addresses(url.host))):
            raise UrlRefused(url=text[:200], problem="it must begin with https://")
        where = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port or PORTS[url.scheme], target=url.raw_path
        )
        sent = {
            "host": url.netloc.decode("ascii"), "user-agent": USER_AGENT, "accept-encoding": "identity",
            "content-type": "application/cloudevents+json", "content-length": str(len(body)), **headers,
        }  # fmt: skip
        fields: list[tuple[str, str]] = list(sent.items())
        async with self._pool.stream("POST", where, headers=fields, content=body) as given:
            answer.status = given.status
            await answer.read(given)


class _Answer:
    """An answer as far as it has come."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.piece = b""

    async def read(self, given: httpcore.Response) -> None:
        """Read the beginning of a body."""
        stream: Any = given.aiter_stream()
        async for chunk in stream:
            self.piece += chunk
            if len(self.piece) >= ANSWER_BYTES_MAX:
                break
        await stream.aclose()

    def outcome(self, reason: str) -> Outcome:
        """Return what there is; a reason counts only where no status came."""
        if self.status is None:
            return Outcome(None, reason[:ANSWER_BYTES_MAX])
        text = self.piece[:ANSWER_BYTES_MAX].decode("utf-8", "replace")
        return Outcome(self.status, "".join(each if each.isprintable() else " " for each in text))

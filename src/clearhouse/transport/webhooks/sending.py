"""Sending one webhook: to an address that was looked at, within a time, with an answer that is bounded.

Promise: a redirect is an answer like any other and is not followed; whatever the other side does, this ends, in words that
fit a row.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import httpcore
import httpx

from clearhouse.refusals import Refusal
from clearhouse.transport.webhooks.addresses import NETWORK, PORTS, Network, UrlRefused, read
from clearhouse.transport.webhooks.connections import Connections

SECONDS_MAX = 15.0
ANSWER_BYTES_MAX = 500
USER_AGENT = f"clearhouse/{version('clearhouse')}"


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


class Sender:
    """Sends webhooks, and keeps connections for the next ones."""

    def __init__(
        self, network: Network = NETWORK, *, seconds: float = SECONDS_MAX, trusted: ssl.SSLContext | None = None
    ) -> None:
        """Send into a network; `trusted` says whose certificates are good, if not the usual ones."""
        self._network = network
        self._seconds = seconds
        self._connections = Connections(network, trusted or httpx.create_ssl_context(trust_env=False))

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()

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
        fields = [(name.encode(), value.encode()) for name, value in sent.items()]
        async with self._connections.post(where, fields, body) as given:
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
        text = reason if self.status is None else self.piece[:ANSWER_BYTES_MAX].decode("utf-8", "replace")
        shown = "".join(each if each.isprintable() else " " for each in text[:ANSWER_BYTES_MAX])
        return Outcome(self.status, shown)

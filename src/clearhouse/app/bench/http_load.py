"""Load over HTTP: connections that each post one transaction after another, on bare sockets so as to cost little."""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

OK = (b"HTTP/1.1 201", b"HTTP/1.1 200")


@dataclass(slots=True)
class Tally:
    """How many were acknowledged, and how many were not."""

    posted: int = 0
    refused: int = 0


async def load(url: str, key: str, *, connections: int, accounts: int, seconds: float) -> Tally:
    """Post for some seconds and return what was answered."""
    tally = Tally()
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    until = perf_counter() + seconds
    requests = _requests(key, accounts)
    made = [
        await loop.create_connection(lambda: _Connection(requests, until, tally), parts.hostname or "", parts.port or 80)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.over for _, connection in made))
    return tally


def _requests(key: str, accounts: int) -> Iterator[bytes]:
    """Give one request after another, each with a key of its own."""
    run = random.getrandbits(64)
    head = (
        "POST /api/v1/ledger/transactions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nIdempotency-Key: {run:x}-"
    )
    for number in count():
        debit, credit = random.sample(range(accounts), 2)
        leg = {"debit": f"h:{debit}", "credit": f"h:{credit}", "amount": "1.00", "currency": "USD"}
        body = json.dumps({"transfers": [leg]})
        yield f"{head}{number}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], until: float, tally: Tally) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._until = until
        self._tally = tally
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.WriteTransport", transport)  # a socket's, of whatever loop
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole, and send the next request."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._transport is None:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        if len(body) < length:
            return
        self._received = b""
        if head.startswith(OK):
            self._tally.posted += 1
        else:
            self._tally.refused += 1
        if perf_counter() < self._until:
            self._transport.write(next(self._requests))
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, with what ended it."""
        if not self.over.done():
            if exc is None:
                self.over.set_result(None)
            else:
                self.over.set_exception(exc)

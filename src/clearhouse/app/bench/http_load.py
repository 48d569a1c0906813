"""Load over HTTP: so many connections that each post one transaction after another, on bare sockets so as not to be slow."""

import asyncio
import json
import random
from dataclasses import dataclass
from time import perf_counter
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
    until = perf_counter() + seconds
    parts = urlsplit(url)
    async with asyncio.TaskGroup() as tasks:
        for place in range(connections):
            tasks.create_task(
                _connection(
                    (parts.hostname or "", parts.port or 80), key, place, accounts=accounts, until=until, tally=tally
                )
            )
    return tally


async def _connection(address: tuple[str, int], key: str, place: int, *, accounts: int, until: float, tally: Tally) -> None:
    reader, writer = await asyncio.open_connection(*address)
    number = 0
    try:
        while perf_counter() < until:
            number += 1
            debit, credit = random.sample(range(accounts), 2)
            leg = {"debit": f"a:{debit}", "credit": f"a:{credit}", "amount": "1.00", "currency": "USD"}
            body = json.dumps({"transfers": [leg]}).encode()
            writer.write(
                b"POST /api/v1/ledger/transactions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                + f"Authorization: Bearer {key}\r\nIdempotency-Key: {place}-{number}-{until}\r\n".encode()
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(length)
            if head.startswith(OK):
                tally.posted += 1
            else:
                tally.refused += 1
    finally:
        writer.close()

"""The audit trail as whoever audits it asks for it, and recomputes it with nothing but what any language has."""

import hashlib
import json
from typing import Any

import httpx

from house import ok

AUDIT = "/api/v1/audit"
COPY = (
    "INSERT INTO journal (book, at, kind, principal, lines, digest, number, chain)"
    " SELECT book, at, kind, principal, lines, digest, number + 1, chain FROM journal WHERE number = 3"
)


async def verdict(viewer: httpx.AsyncClient, **which: str) -> dict[str, Any]:
    return ok(await viewer.post(f"{AUDIT}/verify", params=which))


async def head(viewer: httpx.AsyncClient, **which: str) -> str:
    return str(ok(await viewer.get(f"{AUDIT}/head", params=which))["head"])


def replayed(exported: str) -> str:
    """Return the head of an export, recomputed with nothing but what any language has."""
    chain, number = bytes(32), 0
    for number, text in enumerate(exported.splitlines(), start=1):
        row = json.loads(text)
        told = f"{row['book']}\n{row['at']}\n{row['kind']}\n{row['principal']}\n{row['lines']}"
        digest = hashlib.sha256(told.encode()).digest()
        chain = hashlib.sha256(chain + number.to_bytes(8, "big") + digest).digest()
        assert (row["number"], row["digest"], row["chain"]) == (number, digest.hex(), chain.hex())
    return f"{number}:{chain.hex()}"

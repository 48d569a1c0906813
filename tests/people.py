"""People with keys, as whoever adds them sees them."""

from dataclasses import dataclass
from typing import Any

import httpx

from house import House, client, ok

PRINCIPALS = "/api/v1/access/principals"


@dataclass(frozen=True, slots=True)
class Person:
    """A principal with a key, as whoever added it sees it."""

    id: str
    key: str
    secret: str
    client: httpx.AsyncClient


async def add(
    house: House, *roles: str, name: str = "Mira Novak", book: str = "main", organisation: str = "", **key: Any
) -> Person:
    """Add a principal and issue it a key."""
    body = {"name": name, "roles": list(roles), "organisation": organisation}
    added = ok(await house.admin.post(PRINCIPALS, params={"book": book}, json=body))
    issued = ok(await house.admin.post(f"{PRINCIPALS}/{added['id']}/keys", params={"book": book}, json=key))
    return Person(added["id"], issued["id"], issued["secret"], client(house.entrance, issued["secret"]))

"""A whole house for a test: the doors of one process on a real database, and callers with keys of their own."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from typing import Any

import httpx
from litestar import Litestar

from clearhouse.app.products import CHECKS, EVENTS, FIGURES, ROUTERS
from clearhouse.app.server import EXPRESS
from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.limits import OwnLimiter
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.transport.http.application import application, framework
from clearhouse.transport.http.catalogue import catalogue
from clearhouse.transport.http.entrance import Entrance
from clearhouse.transport.http.feed import Feed
from clearhouse.transport.webhooks.addresses import NETWORK

SECRET = "a secret for tests that is long enough"
SECRETS_KEY = "a".ljust(43, "b") + "="
URL = "http://clearhouse.test"


@dataclass(frozen=True, slots=True)
class House:
    """The doors, and who may come in."""

    database: Database
    door: Door
    gate: Gate
    entrance: Entrance
    feed: Feed
    admin: httpx.AsyncClient

    @classmethod
    @asynccontextmanager
    async def opened(cls, database: Database, admin_key: str, *, rate: int = 100_000) -> "AsyncGenerator[House]":
        door = Door(database)
        gate = Gate(database, secret=SECRET)
        feed = Feed()
        NETWORK.allow([ip_network("127.0.0.0/8"), ip_network("192.0.2.0/24")])
        entrance = application(
            framed(),
            express=EXPRESS,
            door=door,
            gate=gate,
            limiter=OwnLimiter(rate),
            feed=feed,
            checks=CHECKS,
        )
        admin = client(entrance, admin_key)
        yield cls(database, door, gate, entrance, feed, admin)
        await admin.aclose()
        await door.close()

    async def caller(
        self, *roles: str, name: str = "", book: str = "main", kind: str = "service", organisation: str = ""
    ) -> httpx.AsyncClient:
        """Add a principal with these roles, issue it a key, and return a client that shows it."""
        body = {"name": name or f"{'-'.join(roles)} of {book}", "roles": list(roles), "kind": kind}
        body |= {"organisation": organisation} if organisation else {}
        added = ok(await self.admin.post("/api/v1/access/principals", params={"book": book}, json=body))
        path = f"/api/v1/access/principals/{added['id']}/keys"
        issued = ok(await self.admin.post(path, params={"book": book}, json={}))
        return client(self.entrance, issued["secret"])

    async def open_accounts(self, operator: httpx.AsyncClient, *codes: str, asset: str = "USD", **rules: Any) -> None:
        """Open accounts of one asset under these codes."""
        for code in codes:
            ok(await operator.post("/api/v1/ledger/accounts", json={"code": code, "asset": asset, **rules}))

    async def seal(self) -> None:
        """Number and chain what is committed so far."""
        while await sweep(self.database):
            pass


@cache
def framed() -> Litestar:
    """Return the routes, which are the same in every house and take a good part of a second to put together."""
    return framework(ROUTERS, catalogue=catalogue(EVENTS), figures=FIGURES)


def client(entrance: Entrance, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(entrance), base_url=URL, headers=headers)


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int) -> str:
    """Return the code of a refusal, which must be a problem document of that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["code"])


def movement(debit: str, credit: str, amount: str, currency: str = "USD", **more: Any) -> dict[str, Any]:
    return {"debit": debit, "credit": credit, "amount": amount, "currency": currency, **more}


def transaction(*legs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"transfers": list(legs), **more}


async def post(operator: httpx.AsyncClient, *legs: dict[str, Any], **more: Any) -> Any:
    """Post a transaction and return what was posted."""
    return ok(await operator.post("/api/v1/ledger/transactions", json=transaction(*legs, **more)))


async def balance(viewer: httpx.AsyncClient, code: str, asset: str = "USD", **when: str) -> str:
    """Return an account's balance."""
    answer = await viewer.get(f"/api/v1/ledger/accounts/{code}/balance", params={"asset": asset, **when})
    return str(ok(answer)["balance"])

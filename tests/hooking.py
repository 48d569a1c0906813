"""Webhooks of a house, and the courier that a worker would run, a turn at a time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from clearhouse import clock
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.webhooks import deliveries
from clearhouse.transport.webhooks.delivering import Courier
from clearhouse.transport.webhooks.sending import Sender
from house import House, ok

WEBHOOKS = "/api/v1/webhooks"


@dataclass(frozen=True, slots=True)
class Hooks:
    """The webhooks of the main book."""

    house: House
    courier: Courier
    operator: httpx.AsyncClient

    @classmethod
    @asynccontextmanager
    async def opened(cls, house: House, sender: Sender | None = None, *, by: str = "who posts") -> "AsyncGenerator[Hooks]":
        operator = await house.caller("operator", name=by)
        await house.seal()
        hooks = cls(house, Courier(house.database, sender or Sender(seconds=5)), operator)
        yield hooks
        await hooks.courier.sender.close()

    async def add(self, url: str, *types: str, **more: Any) -> dict[str, Any]:
        """Add a webhook and return it, with its secret beside it. What happened before is not for it."""
        await self.house.seal()
        added = ok(await self.house.admin.post(WEBHOOKS, json={"url": url, "types": list(types), **more}))
        return {**added["webhook"], "secret": added["secret"]}

    async def happen(self, *codes: str) -> None:
        """Let an account of each code be opened: an event of type `ledger.account_opened`."""
        await self.house.open_accounts(self.operator, *codes)
        await self.house.seal()

    async def turn(self) -> None:
        """Make deliveries of what happened and send all that is due, each once."""
        await self.house.seal()
        await self.courier.spread()
        while due := await self.due():
            for endpoint in due:
                await self.courier.send_due(endpoint)

    async def due(self) -> list[tuple[int, UUID]]:
        async with self.house.database.writing() as tx:
            return await deliveries.due(tx, clock.now())

    async def hurry(self, statement: str = "UPDATE webhook_delivery SET next_at = clock_timestamp()") -> None:
        """Let time pass, by a statement that says how."""
        async with self.house.database.writing() as tx:
            await tx.do(statement)

    async def say(self, webhook: dict[str, Any], word: str, **body: Any) -> Any:
        answer = await self.house.admin.post(f"{WEBHOOKS}/{webhook['id']}/{word}", json=body or None)
        return ok(answer)

    async def deliveries(self, webhook: dict[str, Any], **query: str) -> list[dict[str, Any]]:
        return ok(await self.house.admin.get(f"{WEBHOOKS}/{webhook['id']}/deliveries", params=query))["items"]

    async def states(self, webhook: dict[str, Any]) -> list[str]:
        return [each["state"] for each in reversed(await self.deliveries(webhook))]


async def everything(tx: Tx) -> str:
    """Return every column of every table but that of the secrets as one text."""
    names = await tx.tuples(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'clearhouse'::regnamespace"
        " AND relname NOT IN ('webhook_secret', 'migration')"
    )
    rows = [await tx.tuples(f"SELECT t::text FROM {name} AS t") for (name,) in names]
    return "\n".join(str(text) for table in rows for (text,) in table)

"""An office for trying reconciliation: accounts, rules, two files, a clerk who reconciles, and two who approve."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from house import House, balance, ok
from papers import Desk

HERE = "/api/v1/reconciliation"
SETS = f"{HERE}/rule-sets"
BREAKS = f"{HERE}/breaks"
CSV = {"content-type": "text/csv"}
LINES = {"content-type": "application/x-ndjson"}
RULES: dict[str, Any] = {
    "name": "nostro-eur",
    "rules": [
        {"by": "reference", "tolerance": [{"amount": "0.05", "currency": "EUR"}]},
        {"by": "end_to_end"},
        {"by": "reference", "many": True},
        {"by": "amount", "days": 2},
    ],
    "account": "nostro",
    "write_off": "differences",
    "suspense": "suspense",
}
OURS = """id,amount,currency,date,reference,end_to_end,text
o1,100.00,EUR,2026-11-02,invoice 1,,
o2,50.00,EUR,2026-11-02,invoice 2,,
o3,70.00,EUR,2026-11-03,invoice 3,,
o4,-9.99,EUR,2026-11-03,,e2e-4,a fee
o5,33.00,EUR,2026-11-04,,,
o6,12.00,EUR,2026-11-05,invoice 6,,
"""
THEIRS = """{"id": "t1", "amount": "99.98", "currency": "EUR", "date": "2026-11-03", "reference": "invoice 1"}
{"id": "t2", "amount": "20.00", "currency": "EUR", "date": "2026-11-03", "reference": "invoice 2"}
{"id": "t2b", "amount": "30.00", "currency": "EUR", "date": "2026-11-03", "reference": "invoice 2"}
{"id": "t4", "amount": "-9.99", "currency": "EUR", "date": "2026-11-03", "end_to_end": "e2e-4"}
{"id": "t5", "amount": "33.00", "currency": "EUR", "date": "2026-11-06"}
{"id": "t6", "amount": "11.00", "currency": "EUR", "date": "2026-11-06", "reference": "invoice 6"}
{"id": "t7", "amount": "5.00", "currency": "EUR", "date": "2026-11-07", "text": "from nobody we know"}
"""


class Office:
    """A house with accounts, rules, and people who reconcile."""

    def __init__(self, house: House, desk: Desk) -> None:
        self.house, self.desk = house, desk

    @property
    def clerk(self) -> httpx.AsyncClient:
        return self.desk["clerk"].client

    async def load(self, side: str, content: str, headers: dict[str, str], name: str = "nostro-eur") -> Any:
        answer = await self.clerk.post(f"{SETS}/{name}/items", params={"side": side}, content=content, headers=headers)
        return ok(answer)

    async def run(self, name: str = "nostro-eur") -> Any:
        return ok(await self.clerk.post(f"{SETS}/{name}/runs"))

    async def both(self) -> Any:
        await self.load("ours", OURS, CSV)
        await self.load("theirs", THEIRS, LINES)
        return await self.run()

    async def matches(self, run: str) -> list[Any]:
        return ok(await self.clerk.get(f"{HERE}/runs/{run}/matches"))["items"]

    async def breaks(self, **which: Any) -> dict[str, Any]:
        """Return breaks by the ids of their items."""
        return {each["item"]["id"]: each for each in ok(await self.clerk.get(BREAKS, params=which))["items"]}

    async def say(self, broken: str, word: str, body: Any = None, who: str = "clerk") -> httpx.Response:
        item = (await self.breaks()).get(broken, {"id": broken})["id"]
        return await self.desk[who].client.post(f"{BREAKS}/{item}/{word}", json=body)

    async def approved(self, broken: str, who: str = "anna") -> Any:
        """Approve what was proposed of a break, and return the match that came of it."""
        approval = (await self.breaks())[broken]["approval"]
        assert await self.desk.approve(who, approval) == "approved"
        return await self.match((await self.breaks(state="closed"))[broken]["match"])

    async def match(self, match: str) -> Any:
        return ok(await self.clerk.get(f"{HERE}/matches/{match}"))

    async def amend(self, match: str, word: str, **body: Any) -> httpx.Response:
        return await self.clerk.post(f"{HERE}/matches/{match}/{word}", json=body)

    async def undo(self, match: str) -> Any:
        """Propose an undo, let another approve it, and return the match."""
        approval = ok(await self.amend(match, "undo"))["approval"]
        assert await self.desk.approve("anna", approval) == "approved"
        return await self.match(match)


@asynccontextmanager
async def opened(house: House) -> AsyncGenerator[Office]:
    """Give an office with rules, a clerk who reconciles, and two who approve."""
    desk = Desk(house)
    await desk.hire("clerk", "operator", "approver")
    for name in ("anna", "bert"):
        await desk.hire(name, "approver")
    for kind in ("reconciliation.break", "reconciliation.match"):
        await desk.rule({"role": "approver"}, kind=kind)
    made = Office(house, desk)
    for code in ("nostro", "differences"):
        await house.open_accounts(made.clerk, code, asset="EUR", normal="debit")
    await house.open_accounts(made.clerk, "suspense", asset="EUR")
    ok(await made.clerk.post(SETS, json=RULES))
    yield made
    for each in desk.clerks.values():
        await each.client.aclose()


async def accounts(office: Office) -> list[str]:
    return [await balance(office.clerk, code, "EUR") for code in ("nostro", "differences", "suspense")]

"""A product for trying approvals: papers that clerks write, that others approve, and that are released once they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.approval import Approval, Subject, digest
from clearhouse.kernel.approvals.requests import Edit, Wanted
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal.writing import Line
from clearhouse.money import Amount
from clearhouse.refusals import Refusal
from house import House, client, ok

APPROVALS = "/api/v1/approvals"
POLICIES = f"{APPROVALS}/policies"
PRINCIPALS = "/api/v1/access/principals"
PAPER = "test.paper"
Answers = list[Approval | Refusal]


class Write(msgspec.Struct, frozen=True):
    """A paper with a text, to be approved; `creator` and `editors` had a hand in it before."""

    paper: str
    text: str
    creator: UUID | None = None
    editors: tuple[UUID, ...] = ()
    amounts: tuple[tuple[str, str], ...] = ()
    kind: str = PAPER


class Strike(msgspec.Struct, frozen=True):
    """Somebody changed a paper."""

    paper: str


class Release(msgspec.Struct, frozen=True):
    """A paper is to be released with a text."""

    paper: str
    text: str


async def write(tx: Tx, asked: Sequence[Asked[Write]], at: datetime) -> Answers:
    return await requests.request(tx, [wanted(each) for each in asked], at)


def wanted(asked: Asked[Write]) -> Wanted:
    command = asked.command
    amounts = [Amount.parse(text, money.iso(code) or money.Asset(code, 0)) for text, code in command.amounts]
    return Wanted(
        id=asked.id, subject=Subject(command.kind, command.paper), content=digest(command.text), by=asked.by,
        creator=command.creator or asked.by, editors=command.editors, title=command.text, amounts=tuple(amounts),
    )  # fmt: skip


async def strike(tx: Tx, asked: Sequence[Asked[Strike]], at: datetime) -> list[list[Approval] | Refusal]:
    return [await requests.edited(tx, [Edit(Subject(PAPER, each.command.paper), each.by)], at) for each in asked]


async def release(tx: Tx, asked: Sequence[Asked[Release]], at: datetime) -> Answers:
    claims = [(Subject(PAPER, each.command.paper), digest(each.command.text)) for each in asked]
    return await requests.approved(tx, claims, at)


def _line(asked: Asked[Any], _: object) -> Line:
    return Line("test.paper", asked.command.paper, asked.command)


WRITE = Kind("test.write", "test:paper", write, Approval, _line)
STRIKE = Kind("test.strike", "test:paper", strike, list[Approval], _line)
RELEASE = Kind("test.release", "test:paper", release, Approval, _line)


@dataclass(frozen=True, slots=True)
class Clerk:
    """Somebody with a key."""

    id: UUID
    name: str
    client: httpx.AsyncClient

    @property
    def text(self) -> str:
        return ids.text("prn", self.id)

    def caller(self, book: int = 1) -> Caller:
        scopes = frozenset({"test:paper", "approvals:decide", "approvals:withdraw"})
        return Caller(self.id, self.name, books={"here": book}, scopes={book: scopes})


@dataclass(slots=True)
class Desk:
    """A house in which papers are written."""

    house: House
    clerks: dict[str, Clerk] = field(default_factory=dict[str, Clerk])

    def __getitem__(self, name: str) -> Clerk:
        return self.clerks[name]

    async def hire(self, name: str, *roles: str, kind: str = "person", book: str = "main") -> Clerk:
        body = {"name": name, "roles": list(roles), "kind": kind}
        added = ok(await self.house.admin.post(PRINCIPALS, params={"book": book}, json=body))
        issued = ok(await self.house.admin.post(f"{PRINCIPALS}/{added['id']}/keys", params={"book": book}, json={}))
        clerk = Clerk(ids.parse("prn", added["id"]), name, client(self.house.entrance, issued["secret"]))
        self.clerks[name] = clerk
        return clerk

    async def rule(self, *levels: Mapping[str, Any], kind: str = PAPER, **more: Any) -> Any:
        """Set the rules for papers."""
        return ok(await self.house.admin.post(POLICIES, json={"kind": kind, "levels": list(levels), **more}))

    async def submit(
        self, name: str, kind: Kind[Any, Any], *asked: Any, book: int = 1, door: Door | None = None
    ) -> list[Any]:
        return await (door or self.house.door).submit(kind, asked, caller=self[name].caller(book), book=book)

    async def write(self, name: str, paper: str, text: str = "pay", **more: Any) -> Any:
        """Return what is asked for a paper, or the refusal."""
        return (await self.submit(name, WRITE, Write(paper, text, **more)))[0]

    async def release(self, paper: str, text: str = "pay") -> str:
        """Return the state that a paper is released in, or the code of the refusal."""
        answer = (await self.submit(next(iter(self.clerks)), RELEASE, Release(paper, text)))[0]
        return answer.code if isinstance(answer, Refusal) else str(answer.state.value)

    async def say(self, name: str, word: str, approval: str, **body: Any) -> str:
        """Return what an approval has come to, or the code of the refusal."""
        answer = (await self[name].client.post(f"{APPROVALS}/{approval}/{word}", json=body)).json()
        return str(answer.get("code") or answer["state"])

    async def approve(self, name: str, approval: str, level: int = 1) -> str:
        return await self.say(name, "approve", approval, level=level)

    async def show(self, name: str, approval: str) -> Any:
        return ok(await self[name].client.get(f"{APPROVALS}/{approval}"))

    async def inbox(self, name: str) -> list[str]:
        """Return what waits for somebody, by the title."""
        return [each["title"] for each in ok(await self[name].client.get(f"{APPROVALS}/inbox"))["items"]]

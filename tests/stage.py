"""A kind of command for trying the door: words written into a table, with everything that may go wrong on the way."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.kinds import Kind, Run
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal

SOCKET = ".s.PGSQL.5432"
# No key and no unique index: what is done twice is there twice.
TABLE = """
CREATE TABLE clearhouse.told (
    place bigint GENERATED ALWAYS AS IDENTITY, book int, id uuid, text text CHECK (text <> 'poison')
);
GRANT INSERT, SELECT ON clearhouse.told TO clearhouse_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse TO clearhouse_writer;
"""
SAY = "INSERT INTO told (book, id, text) VALUES (%(book)s, %(id)s, %(text)s)"


class Silent(Refusal):
    """{text} says nothing."""

    code = "test_silent"


class Hushed(Refusal):
    """Not now."""

    code = "test_hushed"
    kind = RefusalKind.UNAVAILABLE


class Say(msgspec.Struct, frozen=True):
    """Say something, under an id if one is chosen."""

    text: str
    id: UUID | None = None


class Said(msgspec.Struct, frozen=True):
    """What was said."""

    id: UUID
    text: str


def caller(name: str, *scopes: str) -> Caller:
    """Return somebody who may say things in the first two books."""
    allowed = frozenset(scopes or ("test:say",))
    return Caller(ids.fresh(), name, books={"main": 1, "other": 2}, scopes={1: allowed, 2: allowed})


ANN = caller("Ann")


@dataclass(slots=True)
class Stage:
    """A door with that kind behind it, and what goes wrong there."""

    database: Database
    door: Door
    owner_dsn: str
    batches: list[list[str]] = field(default_factory=list[list[str]])
    open: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    silence: str = ""
    hushed: str | None = None
    hush: Refusal = field(default_factory=Hushed)
    bug: str | None = "bug"
    collisions: int = 0
    state: str = ""
    losses: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    @staticmethod
    def build(owner_dsn: str) -> None:
        with psycopg.connect(owner_dsn, autocommit=True) as owner:
            owner.execute(TABLE)

    def kind(self, name: str = "test.say", *, kept: bool = True, run: Run[Say, Said] | None = None) -> Kind[Say, Said]:
        return Kind(
            name, "test:say", run or self.run, Said, lambda asked, said: Line(name, str(said.id), asked.command),
            identify=lambda command: command.id, natural=False, kept=kept,
        )  # fmt: skip

    async def run(self, tx: Tx, asked: Sequence[Asked[Say]], _: datetime) -> list[Said | Refusal]:
        self.batches.append([each.command.text for each in asked])
        self.reached.set()
        await self.open.wait()
        answers = [await self._said(tx, each) for each in asked]
        await tx.flush()
        if self.collisions:
            self.collisions -= 1
            await tx.do(f"DO $$ BEGIN RAISE EXCEPTION 'a collision' USING ERRCODE = '{self.state}'; END $$")
        if self.losses:
            self.losses -= 1
            await self._cut(tx)
        return answers

    async def _said(self, tx: Tx, asked: Asked[Say]) -> Said | Refusal:
        text = asked.command.text
        if text == self.hushed:
            return self.hush
        if text == self.silence:
            return Silent(text=repr(text))
        if text == self.bug:
            message = "our own mistake"
            raise KeyError(message)
        await tx.do(SAY, book=tx.book, id=asked.id, text=text)
        return Said(asked.id, text)

    async def _cut(self, tx: Tx) -> None:
        """Kill the server's side of a transaction, as an administrator would."""
        pid = tx.connection.info.backend_pid
        async with await psycopg.AsyncConnection.connect(self.owner_dsn, autocommit=True) as owner:
            await owner.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    async def answer(
        self, text: str, *, key: str | None = None, by: Caller = ANN, book: int = 1, kind: Kind[Say, Said] | None = None
    ) -> Said | Refusal:
        return (await self.door.submit(kind or self.kind(), [Say(text)], caller=by, book=book, key=key))[0]

    async def say(self, text: str, **how: Any) -> Said:
        answer = await self.answer(text, **how)
        assert isinstance(answer, Said), answer
        return answer

    async def begun(self, text: str, **how: Any) -> "asyncio.Task[Said]":
        """Return somebody's saying that has reached its transaction, and waits there."""
        self.reached.clear()
        task = asyncio.create_task(self.say(text, **how))
        await self.reached.wait()
        return task

    def asked(self, question: str) -> list[Any]:
        """Return the first column of what the owner sees."""
        with psycopg.connect(self.owner_dsn, options="-c search_path=clearhouse") as owner:
            return [row[0] for row in owner.execute(question.encode())]

    def told(self) -> list[str]:
        return self.asked("SELECT text FROM told ORDER BY place")

    def journal(self) -> list[str]:
        """Return the events of every line, in the order of their rows."""
        return [
            each["event"]
            for text in self.asked("SELECT lines FROM journal ORDER BY id")
            for each in msgspec.json.decode(text)
        ]

    def journal_ids(self) -> list[str]:
        """Return the subject of every line."""
        return [
            each["subject"]
            for text in self.asked("SELECT lines FROM journal ORDER BY id")
            for each in msgspec.json.decode(text)
        ]

    async def open_book(self, name: str) -> int:
        return int(self.asked(f"INSERT INTO book (name) VALUES ('{name}') RETURNING id")[0])

    @asynccontextmanager
    async def elsewhere(self, dsn: str, *, connections: int = 6) -> "AsyncGenerator[Stage]":
        """Give what another process would have: the same database, and nothing remembered."""
        database = await Database.open(dsn, writers_max=connections)
        other = Stage(database, Door(database), self.owner_dsn)
        try:
            yield other
        finally:
            await other.door.close()
            await database.close()

    @asynccontextmanager
    async def wired(self, dsn: str) -> "AsyncGenerator[tuple[Stage, Wire]]":
        """Give the same from behind a wire that may lose answers."""
        async with Wire.laid(dsn) as wire, self.elsewhere(wire.dsn) as other:
            yield other, wire


@dataclass(slots=True)
class Wire:
    """A socket between us and PostgreSQL that can fall silent at the worst moment: right after a commit."""

    server: str
    dsn: str
    commits_to_lose: int = 0

    @classmethod
    @asynccontextmanager
    async def laid(cls, dsn: str) -> "AsyncGenerator[Wire]":
        with tempfile.TemporaryDirectory(prefix="wire-") as folder:
            wire = cls(f"{conninfo_to_dict(dsn)['host']}/{SOCKET}", make_conninfo(dsn, host=folder))
            listening = await asyncio.start_unix_server(wire.carry, Path(folder) / SOCKET)
            yield wire
            listening.close()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self.server)
        asking = asyncio.create_task(self._pass_on(reader, back))
        while (said := await there.read(65_536)) and not self._lost(said):
            writer.write(said)
        writer.close()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        back.close()

    def _lost(self, said: bytes) -> bool:
        """Tell whether this is the answer to a commit that nobody will ever hear."""
        lost = b"COMMIT\x00" in said and self.commits_to_lose > 0
        self.commits_to_lose -= lost
        return lost

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while given := await reader.read(65_536):
            back.write(given)
        back.close()

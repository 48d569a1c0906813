"""Authentication: from a credential to a caller, with a memory of one second.

Promise: a key that is revoked, expired or of somebody shut out opens nothing a second later; refused logins and denials
leave a trace in the journal, at a rate that an attacker cannot raise.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.kernel.access import keys, tokens
from clearhouse.kernel.access.callers import MAIN, Caller
from clearhouse.kernel.access.roles import Role, scopes_of
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Kind, NotFound, Refusal

MEMORY_SECONDS = 1.0
CALLERS_MAX = 10_000
TRACES_MAX = 100
TRACE_SECONDS = 1.0
CREDENTIAL_LENGTH_MAX = 2_000


class Unauthenticated(Refusal):
    """This needs a key: send it as `Authorization: Bearer …` or `X-API-Key`; the one given is missing, ended or unknown."""

    code = "unauthenticated"
    kind = Kind.UNAUTHENTICATED


@dataclass(frozen=True, slots=True)
class _Kept:
    principal: UUID
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Row:
    id: UUID
    name: str
    organisation: str
    kind: str
    book: int | None
    book_name: str | None
    role: Role | None


@dataclass(slots=True)
class Traces:
    """What was refused, until it is written down: so many a second, and the number of those beyond."""

    lines: list[tuple[int, Line]] = field(default_factory=list[tuple[int, Line]])
    beyond: int = 0

    def add(self, book: int, line: Line) -> None:
        """Remember a refusal."""
        if len(self.lines) < TRACES_MAX:
            self.lines.append((book, line))
        else:
            self.beyond += 1

    def take(self, main: int) -> Mapping[int, list[Line]]:
        """Return what is there by book, and begin anew."""
        found: dict[int, list[Line]] = {}
        for book, line in self.lines:
            found.setdefault(book or main, []).append(line)
        if self.beyond:
            found.setdefault(main, []).append(Line("access.more_refused", "", {"count": self.beyond}))
        self.lines, self.beyond = [], 0
        return found

    def give_back(self, taken: Mapping[int, list[Line]]) -> None:
        """Remember what was taken and could not be written down."""
        for book, lines in taken.items():
            for line in lines:
                self.add(book, line)


class Gate:
    """Lets callers in. One a process."""

    def __init__(self, database: Database, *, secret: str = "") -> None:
        self._database = database
        self.secret = secret
        self._known: dict[str, tuple[float, Caller]] = {}
        self._looks: dict[str, asyncio.Task[Caller | None]] = {}
        self.traces = Traces()

    async def caller(self, authorization: str | None, api_key: str | None = None) -> Caller:
        """Return who shows this credential, or refuse."""
        credential = _credential(authorization, api_key)
        known = self._known.get(credential)
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return known[1]
        look = self._looks.get(credential)
        if look is None:
            look = self._looks[credential] = asyncio.create_task(self._learnt(credential))
        found = await asyncio.shield(look)  # others wait for the same answer
        if found is None:
            self.traces.add(0, Line("access.refused", _shown(credential)))
            raise Unauthenticated
        return found

    def forget(self) -> None:
        """Look everybody up anew: what an administrator changed here counts here at once."""
        self._known.clear()
        self._looks.clear()

    def denied(self, caller: Caller, refusal: Refusal, *, book: int = 0) -> None:
        """Remember that somebody wanted what they may not."""
        data = {"code": refusal.code, **refusal.values}
        self.traces.add(book, Line("access.denied", ids.text("prn", caller.id), data, refused=refusal.code))

    async def trace(self) -> None:
        """Write refusals down, once a second, until cancelled."""
        await self._database.loops.forever("traces", self.flush, TRACE_SECONDS)

    async def flush(self) -> None:
        """Write down what was refused so far."""
        if not self.traces.lines:
            return
        async with self._database.writing() as tx:
            main = await tx.tuples("SELECT id FROM book WHERE name = %(name)s", {"name": MAIN})
            taken = self.traces.take(int(str(main[0][0])))
            tx.if_rolled_back(lambda: self.traces.give_back(taken))
            for book, lines in taken.items():
                writing.write(tx, lines, book=book, kind="access.refusals", by=writing.SYSTEM, at=clock.now())

    async def _learnt(self, credential: str) -> Caller | None:
        """Look a credential up and remember whose it is, unless everything was forgotten in the meantime."""
        until = asyncio.get_running_loop().time() + MEMORY_SECONDS
        found = None
        try:
            found = await self._look(credential)
        finally:
            if self._looks.get(credential) is asyncio.current_task():
                del self._looks[credential]
                self._remember(credential, until, found)
        return found

    def _remember(self, credential: str, until: float, found: Caller | None) -> None:
        if len(self._known) >= CALLERS_MAX:
            self._known.clear()
        if found is None:
            self._known.pop(credential, None)
        else:
            self._known[credential] = until, found

    async def _look(self, credential: str) -> Caller | None:
        if not credential or len(credential) > CREDENTIAL_LENGTH_MAX or not credential.isascii():
            return None
        async with self._database.writing() as tx:
            principal = tokens.read(credential, self.secret) if credential.count(".") == 2 else None  # noqa: PLR2004 - a JWT
            by_token = principal is not None
            if principal is None:
                kept = await tx.row(keys.sql["credential"], _Kept, id=keys.id_of(credential))
                if kept is None or not keys.same(credential, kept.digest):
                    return None
                principal = kept.principal
            return _caller(await tx.rows(keys.sql["caller"], _Row, id=principal), by_token=by_token)


async def acting(database: Database, name: str, book: str) -> Caller:
    """Return the caller that a program of ours acts as: the principal of this name that is at home in a book."""
    async with database.writing() as tx:
        found = await tx.tuples(keys.sql["named"], {"name": name, "book": book})
        rows = await tx.rows(keys.sql["caller"], _Row, id=found[0][0]) if found else []
    caller = _caller(rows, by_token=False)
    if caller is None:
        raise NotFound(what="principal", id=name)
    return caller


def _credential(authorization: str | None, api_key: str | None) -> str:
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and rest:
        return rest.strip()
    return api_key or ""


def _shown(credential: str) -> str:
    """Return what may be written down of a credential: the id of a key, nothing of anything else."""
    if not credential.startswith(keys.PREFIX):
        return "none" if not credential else "unreadable"
    return ids.text("key", keys.id_of(credential))


def _caller(rows: list[_Row], *, by_token: bool) -> Caller | None:
    if not rows:
        return None
    roles: dict[int, set[Role]] = {}
    books: dict[str, int] = {}
    for row in rows:
        if row.book is not None and row.book_name is not None and row.role is not None:
            books[row.book_name] = row.book
            roles.setdefault(row.book, set()).add(row.role)
    first = rows[0]
    scopes = {book: scopes_of(each) for book, each in roles.items()}
    return Caller(first.id, first.name, first.organisation, first.kind, books, scopes, by_token)

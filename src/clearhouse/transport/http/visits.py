"""A visit: one request of a caller who was let in, and what it can do here: submit commands and read its books."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from litestar import Request
from litestar.params import HeaderParameter, QueryParameter
from prometheus_client import CollectorRegistry

from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.callers import Caller, require
from clearhouse.kernel.access.roles import Scope
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Tx
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal
from clearhouse.transport.http.feed import Feed
from clearhouse.transport.http.health import Pulse

Command = TypeVar("Command")
Answer = TypeVar("Answer")

ADMINISTRATION = "access:write"
Dialect = Callable[[dict[str, Any]], dict[str, Any]]
KEY_LENGTH_MAX = 200
KEY_PATTERN = r"^[\x21-\x7e]+$"
Book = Annotated[
    str | None,
    QueryParameter(name="book", required=False, max_length=63, description="The book that is meant, if you have several."),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key", required=False, min_length=1, max_length=KEY_LENGTH_MAX, pattern=KEY_PATTERN,
        description="Makes a repetition harmless: the same key and body give the same answer.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, let in."""

    caller: Caller
    door: Door
    gate: Gate
    feed: Feed

    async def submit(
        self, kind: Kind[Command, Answer], command: Command, *, book: str | None = None, key: str | None = None
    ) -> Answer:
        """Carry out one command, or raise its refusal."""
        answer = (await self.submit_all(kind, [command], book=book, key=key))[0]
        if isinstance(answer, Refusal):
            raise answer
        return answer

    async def submit_all(
        self, kind: Kind[Command, Answer], commands: Sequence[Command], *, book: str | None = None, key: str | None = None
    ) -> list[Answer | Refusal]:
        """Carry out commands and return an answer for each."""
        answers = await self.door.submit(kind, commands, caller=self.caller, book=self.caller.book(book), key=key)
        if kind.scope == ADMINISTRATION:
            self.gate.forget()
        return answers

    def require(self, scope: Scope, book: str | None = None) -> int:
        """Refuse a caller that may not do this, and return the book that is meant."""
        number = self.caller.book(book)
        require(self.caller, scope, number)
        return number

    async def may_still(self, scope: Scope, book: int, *credential: str | None) -> bool:
        """Tell whether a credential that was good is good yet, for whoever stays long."""
        try:
            return (await self.gate.caller(*credential)).allows(scope, book)
        except Refusal as refusal:
            if refusal.kind is RefusalKind.UNAUTHENTICATED:
                return False
            raise

    @asynccontextmanager
    async def reading(self, scope: Scope, book: str | None = None) -> AsyncGenerator[Tx]:
        """Open a view of one book, if the caller may see it."""
        async with self.door.database.reading([self.require(scope, book)]) as tx:
            yield tx


@dataclass(frozen=True, slots=True)
class Own:
    """What a house counts and finds out about itself, for whoever asks, let in or not; how it refuses below each path."""

    pulse: Pulse
    registry: CollectorRegistry
    dialects: Mapping[str, Dialect]


def own(request: Request[Any, Any, Any]) -> Own:
    """Return what the house that was asked knows about itself."""
    return cast("Own", request.scope["own"])  # type: ignore[typeddict-item] - the entrance put it there


def here(request: Request[Any, Any, Any]) -> Visit:
    """Return the visit that a request is."""
    return cast("Visit", request.scope["visit"])  # type: ignore[typeddict-item] - the entrance put it there

"""Stages: what is done with the rows of one table that are in one state and due, declared by a product as a frozen value."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from clearhouse.kernel.db.database import Tx

Message = TypeVar("Message")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing is wrong: look again then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    """Try again after a while, and set it aside when the tries are used up."""

    error: str


@dataclass(frozen=True, slots=True)
class Aside:
    """Trying again will not help: somebody has to look at it."""

    error: str


@dataclass(frozen=True, slots=True)
class Unheard:
    """Nobody knows whether the other side took a message: the row stays in doubt."""

    error: str


@dataclass(frozen=True, slots=True)
class Heard(Generic[Message, Answer]):
    """What the other side answered to a message of a row."""

    id: UUID
    message: Message
    answer: Answer


@dataclass(frozen=True, slots=True)
class Leased(Generic[Message]):
    """What `prepare` may return where every write counts: it wrote this lease, and its end, with the move itself."""

    lease: UUID
    messages: Mapping[UUID, "Message | NotYet"]


NotYet = Later | Failed | Aside
Advance = Callable[[Tx, Sequence[UUID], datetime], Awaitable[Mapping[UUID, NotYet]]]


@dataclass(frozen=True, slots=True)
class Moves:
    """One transaction: claim, advance, commit."""

    advance: Advance


@dataclass(frozen=True, slots=True)
class Calls(Generic[Message, Answer]):
    """Two transactions with a call to the outside between them; a row is in doubt from the first to the second."""

    prepare: Callable[[Tx, Sequence[UUID], datetime], Awaitable[Mapping[UUID, Message | NotYet] | Leased[Message]]]
    call: Callable[[Sequence[Message]], Awaitable[Sequence[Answer | Unheard]]]
    record: Callable[[Tx, Sequence[Heard[Message, Answer]], datetime], Awaitable[Mapping[UUID, NotYet]]]
    lease_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long a row waits after it failed: twice as long each time, up to a longest, with some of it at random."""

    first_seconds: float = 1.0
    longest_seconds: float = 3_600.0
    tries: int = 12

    def wait(self, attempts: int, share: float) -> timedelta:
        """Return how long to wait after so many failures; `share`, between 0 and 1, moves it within its second half."""
        doubled = self.first_seconds * 2.0 ** min(attempts - 1, 60)
        return timedelta(seconds=min(self.longest_seconds, doubled) * (0.5 + share / 2))


@dataclass(frozen=True, slots=True)
class Stage:
    """What is done with the rows of a table in a state.

    `order` is by what due rows are taken, first the oldest; `about` says to an operator what the stage does, and `prefix`
    begins the ids of its rows there. The rows of a `prompt` one are looked for when they are due, not at the next sweep.
    """

    name: str
    queue: str
    table: str
    state: str
    does: Moves | Calls[Any, Any]
    batch: int = 1_000
    back_off: BackOff = BackOff()
    order: str = "next_at"
    about: str = ""
    prefix: str = "row"
    prompt: bool = False

"""A kind of command: its name, who may ask for it, the function that runs a batch, and what the journal says."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Refusal

Command = TypeVar("Command")
Answer = TypeVar("Answer")

Run = Callable[[Tx, Sequence[Asked[Command]], datetime], Awaitable[list[Answer | Refusal]]]


@dataclass(frozen=True, slots=True)
class Kind(Generic[Command, Answer]):
    """One kind of command. `identify` gives the id that the caller chose, where the command carries one.

    `natural` says that running it again under the same id gives the same answer without a stored key; `kept` is false where
    the answer holds a secret that must be nowhere. `told` gives what stands for a command that is too much itself: in the
    journal where it is refused, and in what tells one body under a key from another. `events` are the types that its lines
    may have, each with the type of its data, or None for one without: the catalogue of events is made of them.
    """

    name: str
    scope: str
    run: Run[Command, Answer]
    answer: type[Answer]
    line: Callable[[Asked[Command], Answer], Line]
    identify: Callable[[Command], UUID | None] = lambda _: None
    natural: bool = True
    kept: bool = True
    told: Callable[[Command], object] = lambda command: command
    events: Mapping[str, Any] = field(default_factory=dict[str, Any])

"""A command on its way: what is asked, by whom, and the id that whatever it makes will have.

The id is made once, at the door (from the key, if the caller gave one), so a command that is run again after a collision
or a lost connection makes the same thing again and never a second one.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

Command = TypeVar("Command", covariant=True)


@dataclass(frozen=True, slots=True)
class Asked(Generic[Command]):
    """One command, who asks, and the id for what it makes."""

    command: Command
    id: UUID
    by: UUID
    name: str = ""

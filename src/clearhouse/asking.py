"""A command on its way: what is asked, by whom, and the id that whatever it makes will have.

The id is made once, at the door (from the key, if the caller gave one), so a command that is run again after a collision
or a lost connection makes the same thing again and never a second one.
"""

from typing import Generic, TypeVar
from uuid import UUID

import msgspec

Command = TypeVar("Command", covariant=True)


class Asked(msgspec.Struct, Generic[Command], frozen=True):
    """One command, who asks, and the id for what it makes."""

    command: Command
    id: UUID
    by: UUID
    name: str = ""

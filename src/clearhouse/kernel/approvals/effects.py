"""Effects: what an approval does by itself, in the transaction of the last word on it.

Promise: an approval and what it does commit together, or neither does. What cannot be done refuses that last word with its
reason, and the approval waits as it did before.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.approvals.approval import Approval, Subject
from clearhouse.kernel.db.database import Tx


@dataclass(frozen=True, slots=True)
class Effect:
    """What the approval of subjects does.

    `hold` locks the rows of subjects, since those come before approvals; `carry_out` does it, by whoever said the last word,
    and raises the refusal if it cannot.
    """

    hold: Callable[[Tx, Sequence[Subject]], Awaitable[None]]
    carry_out: Callable[[Tx, Approval, UUID, datetime], Awaitable[None]]


EFFECTS: dict[str, Effect] = {}


def declare(effects: Mapping[str, Effect]) -> None:
    """Say what approvals do, by the kind of their subject; a kind has one effect. The composition root says which."""
    for kind, effect in effects.items():
        if EFFECTS.setdefault(kind, effect) is not effect:
            raise ValueError(kind)


async def hold(tx: Tx, subjects: Sequence[Subject]) -> None:
    """Lock the rows of subjects whose approval does something, each effect's together."""
    for effect in {id(found): found for each in subjects if (found := EFFECTS.get(each.kind)) is not None}.values():
        await effect.hold(tx, [each for each in subjects if EFFECTS.get(each.kind) is effect])

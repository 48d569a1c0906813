"""Lies: what the bank is told to do wrong, and to whom.

Promise: under one seed the same orders meet the same lies, in whatever batches they come; only `next` counts. A lie changes
what the bank says or does; its books stay balanced and say what really happened.
"""

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse.refusals import Kind, Refusal


class LieRefused(Refusal):
    """A lie is told of the next orders, of some ids, or of a share of all: one of the three, and {problem}."""

    code = "lie_refused"
    kind = Kind.MALFORMED


class Fault(Enum):
    """What goes wrong."""

    REFUSE = "refuse"
    LOSE_BEFORE = "lose_before"
    LOSE_AFTER = "lose_after"
    SLOW = "slow"
    TWICE = "twice"
    PART = "part"
    REJECT = "reject"
    RETURN = "return"
    DOWN = "down"
    MISSING = "missing"
    EXTRA = "extra"
    WRONG = "wrong"


# A lie of each of these sets may meet one order: what it is answered, and what becomes of it.
ANSWERS = frozenset({Fault.REFUSE, Fault.LOSE_BEFORE, Fault.LOSE_AFTER})
COURSES = frozenset({Fault.SLOW, Fault.TWICE, Fault.PART, Fault.REJECT, Fault.RETURN})
STATEMENTS = frozenset({Fault.MISSING, Fault.EXTRA, Fault.WRONG})


class Rest(Enum):
    """What becomes of the rest of an order that was confirmed in part; who asks is told if it has ended, not if never."""

    LATER = "later"
    NEVER = "never"
    ENDED = "ended"
    REJECTED = "rejected"


class Outage(Enum):
    """How a bank that is down fails: nothing reaches it, it falls silent before it acts, or after."""

    NOT_SENT = "not_sent"
    BEFORE = "before"
    AFTER = "after"


class Lie(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One lie: about the `next` so many orders, about `ids`, about a `share` of all, or else about everything.

    `next` counts calls if the bank is down, and the first lines of each statement. `seconds` is how much later, by the
    bank's clock, what is late comes: the confirmation, its repetition, the rest of a part, the rejection, the return.
    `code` is the reason that is given.
    """

    fault: Fault
    next: Annotated[int, msgspec.Meta(ge=0)] | None = None
    ids: list[UUID] = []
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{0,35}$")] = ""
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    part: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    rest: Rest = Rest.LATER
    outage: Outage = Outage.NOT_SENT

    def checked(self) -> "Lie":
        """Return it; one that says twice of whom it is told, or that nobody could meet, is refused."""
        if (self.next is not None) + bool(self.ids) + (self.share is not None) > 1:
            raise LieRefused(problem="more than one was given")
        if self.fault is Fault.DOWN and (self.ids or self.share is not None):
            raise LieRefused(problem="a bank is down for the next calls, or for all")
        return self


class Liar:
    """The lies that are told now; counts down those of the next so many."""

    def __init__(self, lies: Iterable[Lie], seed: int) -> None:
        self.lies = list(lies)
        self.seed = seed
        self.told = False
        self._ids = {place: frozenset(lie.ids) for place, lie in enumerate(self.lies) if lie.ids}

    def tells(self, faults: frozenset[Fault]) -> bool:
        """Tell whether any such lie may be told."""
        return any(lie.fault in faults and lie.next != 0 for lie in self.lies)

    def meets(self, faults: frozenset[Fault], whom: UUID) -> Lie | None:
        """Return the first lie of these that somebody meets, and count it."""
        for place, lie in enumerate(self.lies):
            if lie.fault in faults and self._is_told(place, whom):
                self._count(place)
                return lie
        return None

    def outage(self) -> Outage | None:
        """Return how a call fails, if the bank is down, and count it."""
        found = next((place for place, lie in enumerate(self.lies) if lie.fault is Fault.DOWN and lie.next != 0), None)
        if found is None:
            return None
        self._count(found)
        return self.lies[found].outage

    def left(self) -> list[Lie]:
        """Return the lies that are still to be told."""
        return [lie for lie in self.lies if lie.next != 0]

    def _is_told(self, place: int, whom: UUID) -> bool:
        lie = self.lies[place]
        if place in self._ids:
            return whom in self._ids[place]
        if lie.share is not None:
            return chance(self.seed, lie.fault, str(whom)) < lie.share
        return lie.next != 0

    def _count(self, place: int) -> None:
        lie = self.lies[place]
        if lie.next is not None:
            self.lies[place] = msgspec.structs.replace(lie, next=lie.next - 1)
            self.told = True


def chance(seed: int, fault: Fault, whom: str) -> float:
    """Return a number from 0 up to 1 that is always the same for the same seed, fault and name."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{fault.value}:{whom}".encode()).digest()[:6], "big") / 2**48

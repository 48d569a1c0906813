"""Where an account stands, in memory: its four counters, its limits, and the version they were read at.

This is the one mutable type of the ledger and lives only inside a process. It may be ahead of the database while a batch
is on its way; the version, compared when the batch is written, decides whether it was right.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from clearhouse import ids

DIGITS_MAX = 10**38
Normal = Literal["debit", "credit"]
State = Literal["open", "frozen", "closed"]


@dataclass(slots=True, eq=False)
class Standing:
    """One account's counters and rules as they stand after everything decided so far."""

    id: str
    code: str
    asset: str
    exponent: int
    normal: Normal
    state: State
    floor: int | None
    ceiling: int | None
    version: int
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int
    booked: datetime
    name: str = field(init=False)
    credit_normal: bool = field(init=False)
    limited: bool = field(init=False)

    def __post_init__(self) -> None:
        """Keep what the hot path would otherwise work out each time."""
        self.name = ids.text("acc", UUID(self.id))
        self.credit_normal = self.normal == "credit"
        self.limited = self.floor is not None or self.ceiling is not None

    @property
    def available(self) -> int:
        """Return what may leave: the posted balance less what is held for leaving, on the normal side."""
        if self.credit_normal:
            return self.credits_posted - self.debits_posted - self.debits_pending
        return self.debits_posted - self.credits_posted - self.credits_pending

    @property
    def expected(self) -> int:
        """Return what the balance would be if all that is held for arriving arrived, and nothing left."""
        if self.credit_normal:
            return self.credits_posted + self.credits_pending - self.debits_posted
        return self.debits_posted + self.debits_pending - self.credits_posted

    @property
    def counters(self) -> tuple[int, int, int, int]:
        """Return the four counters."""
        return self.debits_posted, self.credits_posted, self.debits_pending, self.credits_pending

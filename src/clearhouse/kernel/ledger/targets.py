"""What captures, releases and reversals aim at: an earlier transfer, what is left of it, and what becomes of it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clearhouse.kernel.ledger.transfers import TransferKind


@dataclass(slots=True, eq=False)
class Target:
    """An earlier transfer as the batch leaves it. A hold has a state; anything posted has what was reversed of it.

    `stored` is what the database says was reversed (for a hold: whether it is there at all).
    """

    id: UUID
    kind: int
    debit: str
    credit: str
    amount: int
    state: str | None = None
    remaining: int = 0
    captured: int = 0
    expires_at: datetime | None = None
    pinned_at: datetime | None = None
    reversed: int = 0
    stored: int = 0

    @property
    def is_hold(self) -> bool:
        """Tell whether it is a hold, ended or not."""
        return self.kind == TransferKind.HOLD

    def answer(self) -> None:
        """Free a hold for the answer to what it was pinned for: it expires no more."""
        if self.pinned_at is not None:
            self.pinned_at = self.expires_at = None

    def mark(self) -> tuple[str | None, int, int, int]:
        """Return what a refused transaction has to be put back to."""
        return self.state, self.remaining, self.captured, self.reversed

    def restore(self, mark: tuple[str | None, int, int, int]) -> None:
        """Put it back."""
        self.state, self.remaining, self.captured, self.reversed = mark

"""A cell: what is kept of one metric of one key (and organisation) in a round, and what an aggregation shows of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

Number = int | Decimal
_EXACT = Context(prec=400)


@dataclass(frozen=True, slots=True)
class Cell:
    """The count, and of numbers the exact sum, the least, the most and the latest."""

    organisation: str
    count: int
    total: Number | None = None
    least: Number | None = None
    most: Number | None = None
    latest: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What is made of the records of a key, metric by metric.

    `numeric`: a value that is no number refuses its upload; `scalar`: so does one that is nested. `apart`: organisations
    have cells of their own. `show` gets the cells of one metric of one key and returns what is shown of them.
    """

    name: str
    show: Callable[[Sequence[Cell]], Any]
    numeric: bool = True
    scalar: bool = True
    apart: bool = False

    @property
    def counts(self) -> bool:
        """Tell whether presence is all that matters."""
        return not self.scalar


def added(one: Number, other: Number) -> Number:
    """Add exactly, whatever Python's own idea of enough digits is."""
    return _EXACT.add(Decimal(one), Decimal(other))


def text(number: Number | None) -> str:
    """Write a number as people do, with the decimals it came with and never in powers of ten."""
    return "0" if number is None else f"{number:f}" if isinstance(number, Decimal) else str(number)

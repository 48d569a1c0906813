"""Settling: a round's cells, by key and metric, and what a settlement makes of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearhouse.slices.records.cells import Aggregation, Cell, Number

Cells = Mapping[str, Mapping[str, Sequence[Cell]]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a structure says on how its rounds are settled."""

    aggregation: Aggregation
    tolerance: Number


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is made of a round. `apart` says that it compares organisations, so the aggregation must keep them apart.

    `books`: what organisations owe each other is posted to the ledger, where the structure has a currency.
    """

    name: str
    settle: Callable[[Cells, Terms], dict[str, Any]]
    apart: bool = False
    books: bool = False


def shown(cells: Cells, aggregation: Aggregation) -> dict[str, Any]:
    """Return cells as their aggregation shows them, by key and metric."""
    return {key: {metric: aggregation.show(its) for metric, its in metrics.items()} for key, metrics in cells.items()}

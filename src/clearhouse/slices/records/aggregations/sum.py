"""`sum`: the exact sum of the values."""

from collections.abc import Sequence

from clearhouse.slices.records.cells import Aggregation, Cell, text


def show(cells: Sequence[Cell]) -> str | None:
    """Return what is shown of a metric of a key."""
    return text(cells[0].total)


AGGREGATION = Aggregation("sum", show)

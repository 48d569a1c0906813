"""`min`: the least value."""

from collections.abc import Sequence

from clearhouse.slices.records.cells import Aggregation, Cell, text


def show(cells: Sequence[Cell]) -> str | None:
    """Return what is shown of a metric of a key."""
    return text(min(cell.least or 0 for cell in cells))


AGGREGATION = Aggregation("min", show)

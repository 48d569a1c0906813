"""`mcCounter`: the number of records in which the metric is present and not null, whatever its value."""

from collections.abc import Sequence

from clearhouse.slices.records.cells import Aggregation, Cell


def show(cells: Sequence[Cell]) -> str | None:
    """Return what is shown of a metric of a key."""
    return str(sum(cell.count for cell in cells))


AGGREGATION = Aggregation("mcCounter", show, numeric=False, scalar=False)

"""`latest`: the value that came last, of whatever sort unless nested."""

from collections.abc import Sequence

from clearhouse.slices.records.cells import Aggregation, Cell


def show(cells: Sequence[Cell]) -> str | None:
    """Return what is shown of a metric of a key."""
    return cells[-1].latest


AGGREGATION = Aggregation("latest", show, numeric=False)

"""`1CDR`: the exact sum of each organisation that submitted records, with their number, and when the first and last came."""

from collections.abc import Sequence
from typing import Any

from clearhouse.slices.records.cells import Aggregation, Cell, text


def show(cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Return what is shown of a metric of a key: what each organisation said."""
    return {cell.organisation: _said(cell) for cell in cells}


def _said(cell: Cell) -> dict[str, Any]:
    times = {name: int(at.timestamp()) for name, at in (("first", cell.first_at), ("last", cell.last_at)) if at is not None}
    return {"sum": text(cell.total), "count": str(cell.count), **times}


AGGREGATION = Aggregation("1CDR", show, apart=True)

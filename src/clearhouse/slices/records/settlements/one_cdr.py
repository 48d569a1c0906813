"""`1CDR`: one common record a key, of what the organisations said: whether they agree, and if not, by how much.

MATCHED within the tolerance, MISMATCH beyond it, PARTIAL where an organisation that took part in the round said nothing, or
where only one took part at all.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from clearhouse.slices.records.cells import Cell, added, text
from clearhouse.slices.records.settling import Cells, Settlement, Terms

SIDES_MIN = 2


def settle(cells: Cells, terms: Terms) -> dict[str, Any]:
    """Return the common records."""
    said = {cell.organisation for metrics in cells.values() for its in metrics.values() for cell in its}
    sides = max(SIDES_MIN, len(said))
    return {key: {metric: _compared(its, terms, sides) for metric, its in metrics.items()} for key, metrics in cells.items()}


def _compared(cells: Sequence[Cell], terms: Terms, sides: int) -> dict[str, Any]:
    totals = [cell.total or 0 for cell in cells]
    difference = added(max(totals), Decimal(min(totals)).copy_negate())
    status = "PARTIAL" if len(cells) < sides else "MATCHED" if difference <= terms.tolerance else "MISMATCH"
    values = {cell.organisation: text(cell.total) for cell in cells}
    return {"values": values, "difference": text(difference), "status": status}


SETTLEMENT = Settlement("1CDR", settle, apart=True)

"""`net`: bilateral positions between organisations.

The primary key of such a structure names the organisation that owes; whoever submitted the records is owed. What two owe
each other is set off, and one of them owes the difference.
"""

from decimal import Decimal
from typing import Any

from clearhouse.slices.records.cells import Number, added, text
from clearhouse.slices.records.settling import Cells, Settlement, Terms


def settle(cells: Cells, _: Terms) -> dict[str, Any]:
    """Return who owes whom how much, by debtor, metric and creditor; whoever owes nothing more is not in it."""
    found: dict[str, Any] = {}
    for (debtor, creditor, metric), amount in sorted(positions(cells).items()):
        found.setdefault(debtor, {}).setdefault(metric, {})[creditor] = text(amount)
    return found


def positions(cells: Cells) -> dict[tuple[str, str, str], Number]:
    """Return what each debtor owes each creditor of each metric, set off against the other way, above zero."""
    owed: dict[tuple[str, str, str], Number] = {}
    for debtor, metrics in cells.items():
        for metric, its in metrics.items():
            for cell in its:
                way, amount = (debtor, cell.organisation, metric), Decimal(cell.total or 0)
                if debtor > cell.organisation:
                    way, amount = (cell.organisation, debtor, metric), amount.copy_negate()
                if debtor != cell.organisation:
                    owed[way] = added(owed.get(way, 0), amount)
    return {
        (debtor, creditor, metric) if amount > 0 else (creditor, debtor, metric): Decimal(amount).copy_abs()
        for (debtor, creditor, metric), amount in owed.items()
        if amount
    }


SETTLEMENT = Settlement("net", settle, apart=True, books=True)

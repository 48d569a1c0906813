"""Aggregations: what becomes of the records of a key.

To add one, as docs/records.md shows it, put a file here with a constant `AGGREGATION`. The database keeps the count,
the sum, the least, the most and the latest value of each metric, whatever the aggregation; an aggregation says
whether values must be numbers, whether organisations are kept apart, and what of the cells is shown. Nothing else is
to be touched.
"""

from importlib import import_module
from pkgutil import iter_modules

from clearhouse.slices.records.cells import Aggregation


def found() -> dict[str, Aggregation]:
    """Return what lies in this folder, by name."""
    modules = [import_module(module.name) for module in iter_modules(__path__, f"{__name__}.")]
    there: list[Aggregation] = [module.AGGREGATION for module in modules]
    return {each.name: each for each in there}


FOUND = found()

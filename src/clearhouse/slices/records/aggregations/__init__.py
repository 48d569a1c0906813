"""Aggregations: what becomes of the records of a key.

To add one, put a file here with a constant `AGGREGATION`. The database keeps the count, the sum, the least, the most and the
latest value of each metric, whatever the aggregation; an aggregation says whether values must be numbers, whether
organisations are kept apart, and what of the cells is shown. Nothing else is to be touched.
"""

from importlib import import_module
from pkgutil import iter_modules

from clearhouse.slices.records.cells import Aggregation

FOUND: dict[str, Aggregation] = {}
for module in iter_modules(__path__, f"{__name__}."):
    aggregation: Aggregation = import_module(module.name).AGGREGATION
    FOUND[aggregation.name] = aggregation

"""Settlements: what becomes of a round once nothing more can come into it.

To add one, put a file here with a constant `SETTLEMENT`: it gets the cells of every key and metric, and returns what the
round comes to. It is computed whenever it is asked for, from sums that never change again; nothing else is to be touched.
"""

from importlib import import_module
from pkgutil import iter_modules

from clearhouse.slices.records.settling import Settlement

FOUND: dict[str, Settlement] = {}
for module in iter_modules(__path__, f"{__name__}."):
    settlement: Settlement = import_module(module.name).SETTLEMENT
    FOUND[settlement.name] = settlement

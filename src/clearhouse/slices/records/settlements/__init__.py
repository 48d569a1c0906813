"""Settlements: what becomes of a round once nothing more can come into it.

To add one, as docs/records.md shows it, put a file here with a constant `SETTLEMENT`: it gets the cells of every key
and metric, and returns what the round comes to. It is computed whenever it is asked for, from sums that never change
again; nothing else is to be touched.
"""

from importlib import import_module
from pkgutil import iter_modules

from clearhouse.slices.records.settling import Settlement


def found() -> dict[str, Settlement]:
    """Return what lies in this folder, by name."""
    modules = [import_module(module.name) for module in iter_modules(__path__, f"{__name__}.")]
    there: list[Settlement] = [module.SETTLEMENT for module in modules]
    return {each.name: each for each in there}


FOUND = found()

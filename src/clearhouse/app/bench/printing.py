"""Printing a report: a table for people, one object of JSON for machines."""

import sys

import msgspec
from rich.console import Console
from rich.table import Table

from clearhouse.app.bench.rounds import Report, Result

WHOLE_FROM = 10


def show(found: Report, *, as_json: bool) -> None:
    """Print a report."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    rounds = min(each.rounds for each in found.results)
    table = Table(title=f"{found.bench} on {found.machine}, rounds: {rounds}")
    for name in ("what", "median", "spread", "unit", "asked", "÷", "ratio", "must", "goal"):
        table.add_column(name, justify="left" if name in {"what", "unit", "÷"} else "right")
    for each in found.results:
        table.add_row(
            each.name, _value(each.value), _spread(each), each.unit, "" if each.asked is None else _value(each.asked),
            each.reference or "", _figure(each.ratio), _figure(each.least), _figure(each.goal),
        )  # fmt: skip
    (Console() if sys.stdout.isatty() else Console(width=160)).print(table)


def _value(value: float) -> str:
    return f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.2f}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _spread(each: Result) -> str:
    return f"±{each.spread * 50:.0f} %" if each.rounds > 1 else ""

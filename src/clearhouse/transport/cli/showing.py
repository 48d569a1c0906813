"""Showing answers: a table or a few lines for people, one JSON document with `--json`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.tree import Tree

RIGHT = frozenset({
    "amount", "available", "balance", "captured", "credits", "debits", "difference", "exponent", "items", "number",
    "remaining", "transfers", "waiting", "credits_posted", "debits_posted", "credits_pending", "debits_pending", "accounts",
})  # fmt: skip


def show(answer: Mapping[str, Any], *, json: bool) -> None:
    """Show one thing, a line for each of its values."""
    if json:
        _json(answer)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in answer.items():
        table.add_row(f"[bold]{name.replace('_', ' ')}", _text(value))
    _console().print(table)


def show_all(items: Sequence[Mapping[str, Any]], columns: Iterable[str], *, json: bool) -> None:
    """Show many things, a row each with these of their values."""
    if json:
        _json(items)
        return
    names = list(columns)
    table = Table()
    for name in names:
        right = name in RIGHT
        table.add_column(name.replace("_", " "), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for each in items:
        table.add_row(*(_text(each.get(name)) for name in names))
    _console().print(table)


def show_tree(answer: Mapping[str, Any], *, json: bool) -> None:
    """Show what is made up of parts: each line an amount, what it is, and below it what it is made up of."""
    if json:
        _json(answer)
    else:
        for each in (answer["tree"], *answer.get("afterwards", ())):
            _console().print(_branch(each, Tree("")).children[0])


def _branch(node: Mapping[str, Any], above: Tree) -> Tree:
    words = [
        node["amount"],
        node["currency"],
        node["what"].replace("_", " "),
        *(node.get(name) for name in ("id", "note", "at", "day")),
    ]
    here = above.add(escape("  ".join(str(each) for each in words if each is not None)))
    for each in node.get("parts", ()):
        _branch(each, here)
    return above


def progress(title: str) -> Progress:
    """Return a bar that people see and machines do not."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def say(sentence: str) -> None:
    """Tell people something beside the answer."""
    sys.stderr.write(f"{sentence}\n")


def _json(answer: object) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


def _console() -> Console:
    """Return the terminal, or a page wide enough that nothing breaks where somebody pipes it on."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return msgspec.json.encode(value).decode()

"""`clearhouse events …`: what happened, and what is happening."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from clearhouse.slices.operations.asked import READING, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import server
from clearhouse.transport.cli.showing import show_all

EVENTS = "/api/v1/events"
Type = Annotated[str | None, Parameter(name="--type", help="What the types begin with, like ledger.")]
After = Annotated[str | None, Parameter(help="The last event that you have seen.")]
app = App(name="events", help="What happened, and what is happening.")


@app.command(name="list")
def list_events(
    *, prefix: Type = None, subject: str | None = None, after: After = None, limit: Most = 100, how: Reading = READING
) -> None:
    """List events, oldest first."""
    found = server().items(EVENTS, most=limit, book=how.book, type=prefix, subject=subject, after=after)
    show_all(found, ("id", "time", "type", "subject", "data"), json=how.json)


@app.command
def follow(*, prefix: Type = None, subject: str | None = None, after: After = None, how: Reading = READING) -> None:
    """Print events as they happen, a line of JSON each, until Ctrl-C."""
    query = {"book": how.book, "type": prefix, "subject": subject, "after": after}
    for line in server().events(EVENTS, **query):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


@app.command
def readers(*, limit: Most = 100, how: Reading = READING) -> None:
    """List who reads the events of this book, how far each has come, and what it fails at."""
    found = server().items(f"{EVENTS}/readers", most=limit, book=how.book)
    show_all(found, ("name", "number", "lag", "attempts", "moved_at", "problem"), json=how.json)

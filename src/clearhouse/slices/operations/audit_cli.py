"""`clearhouse audit …`: read, export and verify the audit trail."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from clearhouse.slices.operations.asked import READING, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import Refused, server
from clearhouse.transport.cli.showing import progress, say, show, show_all

KeptHead = Annotated[
    str | None, Parameter(help="A head that was kept elsewhere: was anything up to it rewritten or cut off?")
]
app = App(name="audit", help="Read, export and verify the audit trail.")


@app.command
def lines(*, after: int = 0, limit: Most = 100, how: Reading = READING) -> None:
    """List the rows of the audit trail after a number, in order."""
    found = server().items("/api/v1/audit/lines", most=limit, cursor=after, book=how.book)
    show_all(found, ("number", "at", "kind", "principal", "lines"), json=how.json)


@app.command
def head(*, how: Reading = READING) -> None:
    """Show what proves the whole trail up to now; keep it where nobody here can reach it."""
    show(server().get("/api/v1/audit/head", book=how.book), json=how.json)


@app.command
def export(file: Path, *, how: Reading = READING) -> None:
    """Write the whole trail to FILE; docs/verify_audit.py verifies it offline, with nothing but Python."""
    part, size = file.with_name(file.name + ".part"), 0
    with server().stream("/api/v1/audit/export", book=how.book) as pieces, part.open("wb") as target, progress("kB") as bar:
        task = bar.add_task("", total=None)
        for piece in pieces:
            size += target.write(piece)
            bar.update(task, completed=size // 1024)
        target.flush()
        os.fsync(target.fileno())
    part.replace(file)
    show({"file": str(file), "bytes": size}, json=how.json)


@app.command
def verify(*, head: KeptHead = None, how: Reading = READING) -> None:
    """Recompute the trail and name the first row that was altered, removed or put in."""
    found = server().post("/api/v1/audit/verify", head=head, book=how.book)
    show(found, json=how.json)
    if not found["intact"]:
        sentence = f"the audit trail is not intact: row {found['number']} is {found['fault']}"
        raise Refused(sentence, "audit_not_intact")
    say("the audit trail is intact")

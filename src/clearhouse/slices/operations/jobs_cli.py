"""`clearhouse jobs …`: what happens by itself, and what of it waits."""

from cyclopts import App

from clearhouse.slices.operations.asked import READING, Reading
from clearhouse.transport.cli.client import server
from clearhouse.transport.cli.showing import show_all

app = App(name="jobs", help="What happens by itself, and what of it waits.")


@app.command(name="list")
def list_jobs(*, how: Reading = READING) -> None:
    """List the work of the workers, with how much of each waits and since when."""
    show_all(server().get("/api/v1/jobs", book=how.book), ("name", "waiting", "since", "about"), json=how.json)

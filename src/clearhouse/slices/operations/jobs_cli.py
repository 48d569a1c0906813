"""`clearhouse jobs …`: what happens by itself, what of it waits, and trying again what was set aside."""

from cyclopts import App

from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

JOBS = "/api/v1/jobs"
COUNTS = ("waiting", "since", "later", "retrying", "set_aside")
app = App(name="jobs", help="What happens by itself, and what of it waits.")


@app.command(name="list")
def list_jobs(*, how: Reading = READING) -> None:
    """List the work of the workers, with how much of each waits and since when."""
    show_all(server().get(JOBS, book=how.book), ("name", *COUNTS, "about"), json=how.json)


@app.command
def queues(*, how: Reading = READING) -> None:
    """List the queues, with how much waits in each."""
    show_all(server().get(f"{JOBS}/queues", book=how.book), ("name", *COUNTS, "stages"), json=how.json)


@app.command
def aside(job: str, *, limit: Most = 100, how: Reading = READING) -> None:
    """List what a JOB has set aside, with the reason."""
    found = server().items(f"{JOBS}/{segment(job)}/aside", most=limit, book=how.book)
    show_all(found, ("id", "attempts", "error"), json=how.json)


@app.command
def retry(job: str, *ids: str, how: Asked = ASKED) -> None:
    """Let a JOB try again what it has set aside: these, or the first thousand."""
    body = {"ids": list(ids)}
    show(server().post(f"{JOBS}/{segment(job)}/retry", body, key=how.key, book=how.book), json=how.json)

"""`clearhouse schedules …`: what happens by the clock, when next, and how it went."""

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from clearhouse.refusals import Malformed
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

SCHEDULES = "/api/v1/schedules"
Zone = Annotated[str, Parameter(help="The time zone whose clock is meant, such as Europe/Berlin.")]
Arguments = Annotated[Path | None, Parameter(help="A file with the job's arguments, as a JSON object.")]
app = App(name="schedules", help="What happens by the clock.")


@app.command(name="list")
def list_schedules(*, limit: Most = 100, how: Reading = READING) -> None:
    """List schedules, with when each is next."""
    found = server().items(SCHEDULES, most=limit, book=how.book)
    show_all(found, ("name", "state", "cron", "zone", "job", "next_at", "last_done_at", "last_error"), json=how.json)


@app.command(name="show")
def show_schedule(schedule: str, *, how: Reading = READING) -> None:
    """Show a schedule with its last firing."""
    show(server().get(f"{SCHEDULES}/{segment(schedule)}", book=how.book), json=how.json)


@app.command(name="set")
def set_schedule(
    name: str, cron: str, job: str, *, zone: Zone = "UTC", arguments: Arguments = None, how: Asked = ASKED
) -> None:
    """Set when a JOB happens: CRON is five fields such as '30 0 * * *'."""
    given: object = None if arguments is None else _arguments(arguments)
    body: dict[str, object] = {"name": name, "cron": cron, "job": job, "zone": zone, "arguments": given}
    show(server().post(SCHEDULES, body, key=how.key, book=how.book), json=how.json)


@app.command
def pause(schedule: str, *, how: Asked = ASKED) -> None:
    """Let a schedule rest."""
    _say("pause", schedule, how)


@app.command
def resume(schedule: str, *, how: Asked = ASKED) -> None:
    """Let a schedule that rests go on with its next tick."""
    _say("resume", schedule, how)


@app.command
def run(schedule: str, *, how: Asked = ASKED) -> None:
    """Let a schedule fire once now, beside its ticks."""
    _say("run", schedule, how)


def _say(word: str, schedule: str, how: Asked) -> None:
    show(server().post(f"{SCHEDULES}/{segment(schedule)}/{word}", key=how.key, book=how.book), json=how.json)


def _arguments(file: Path) -> object:
    try:
        return msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise Malformed(field=str(file), problem=error.strerror or "it cannot be read") from error
    except msgspec.DecodeError as error:
        raise Malformed(field=str(file), problem=str(error)) from error

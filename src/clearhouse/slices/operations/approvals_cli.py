"""`clearhouse approvals …`: the rules, what waits for you, and your word on it."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals.approval import State
from clearhouse.refusals import Malformed
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

APPROVALS = "/api/v1/approvals"
POLICIES = f"{APPROVALS}/policies"
LEVELS = ("level", "role", "people", "count", "at_least")
Seen = Annotated[int, Parameter(help="The level that you looked at; if it has passed meanwhile, nothing is done.")]
LevelsFile = Annotated[
    Path | None, Parameter(help="A file with the levels as JSON, where there is more to say: people, counts, amounts.")
]
app = App(name="approvals", help="Who releases what, and what waits for you.")


@app.command
def inbox(*, limit: Most = 100, how: Reading = READING) -> None:
    """List what you are asked to approve, oldest first."""
    _list(server().items(f"{APPROVALS}/inbox", most=limit, book=how.book), how)


@app.command(name="list")
def list_approvals(
    *, kind: str | None = None, subject: str | None = None, state: State | None = None, limit: Most = 100,
    how: Reading = READING,
) -> None:  # fmt: skip
    """List approvals, newest first: of everything, or of one subject by its kind and id."""
    only = {"kind": kind, "subject": subject, "state": None if state is None else state.value}
    _list(server().items(APPROVALS, most=limit, book=how.book, **only), how)


def _list(found: list[dict[str, Any]], how: Reading) -> None:
    flat = [each | {"kind": each["subject"]["kind"], "subject": each["subject"]["id"]} for each in found]
    shown = found if how.json else flat
    show_all(
        shown, ("id", "kind", "subject", "title", "amounts", "state", "level", "requested_at", "expires_at"), json=how.json
    )


@app.command(name="show")
def show_approval(approval: str, *, how: Reading = READING) -> None:
    """Show an approval, with what was done on it."""
    show(server().get(f"{APPROVALS}/{segment(approval)}", book=how.book), json=how.json)


@app.command
def approve(approval: str, *, level: Seen, remark: str | None = None, how: Asked = ASKED) -> None:
    """Approve at the level that you see."""
    _say("approve", approval, how, level=level, remark=remark)


@app.command
def reject(approval: str, remark: str, *, how: Asked = ASKED) -> None:
    """Reject, and say why."""
    _say("reject", approval, how, remark=remark)


@app.command
def withdraw(approval: str, *, remark: str | None = None, how: Asked = ASKED) -> None:
    """Take back a request for what you created, edited or submitted."""
    _say("withdraw", approval, how, remark=remark)


def _say(word: str, approval: str, how: Asked, **body: object) -> None:
    show(server().post(f"{APPROVALS}/{segment(approval)}/{word}", body, key=how.key, book=how.book), json=how.json)


@app.command
def policies(*, limit: Most = 100, how: Reading = READING) -> None:
    """List who approves what."""
    found = server().items(POLICIES, most=limit, book=how.book)
    show_all(found, ("kind", "version", "levels", "hours", "set_at", "set_by"), json=how.json)


@app.command
def policy(kind: str, *, how: Reading = READING) -> None:
    """Show who approves a kind of subject, level by level."""
    found = server().get(f"{POLICIES}/{segment(kind)}", book=how.book)
    if how.json:
        show(found, json=True)
    else:
        show_all([each | {"level": place} for place, each in enumerate(found["levels"], start=1)], LEVELS, json=False)


@app.command
def set_policy(kind: str, *roles: Role, levels: LevelsFile = None, hours: int | None = None, how: Asked = ASKED) -> None:
    """Set who approves a KIND of subject: one person of each of ROLES in turn, or what a file of levels says."""
    asked = [{"role": role} for role in roles] if levels is None else _levels(levels)
    body = {"kind": kind, "levels": asked, "hours": hours}
    show(server().post(POLICIES, body, key=how.key, book=how.book), json=how.json)


def _levels(file: Path) -> object:
    try:
        return msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise Malformed(field=str(file), problem=error.strerror or "it cannot be read") from error
    except msgspec.DecodeError as error:
        raise Malformed(field=str(file), problem=str(error)) from error

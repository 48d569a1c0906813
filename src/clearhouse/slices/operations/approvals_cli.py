"""`clearhouse approvals …`: the rules, what waits for you, and your word on it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from clearhouse import ids
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals.approval import State
from clearhouse.refusals import Malformed
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import say, show, show_all

APPROVALS = "/api/v1/approvals"
POLICIES = f"{APPROVALS}/policies"
LEVELS = ("level", "role", "people", "count", "at_least")
AT_ONCE = 1_000
Seen = Annotated[int, Parameter(help="The level that you looked at; if it has passed meanwhile, nothing is done.")]
SeenFile = Annotated[
    Path | None,
    Parameter(
        allow_leading_hyphen=True,
        help="A file, or - for what comes in: `inbox --json` as it was printed, or lines of ID LEVEL.",
    ),
]
LevelsFile = Annotated[
    Path | None, Parameter(help="A file with the levels as JSON, where there is more to say: people, counts, amounts.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Narrowed:
    """What a list is narrowed down to."""

    kind: Annotated[str | None, Parameter(help="Only this kind of subject.")] = None
    currency: Annotated[str | None, Parameter(help="Only what moves this, such as USD.")] = None
    at_least: Annotated[str | None, Parameter(help="Only from this amount on.")] = None
    below: Annotated[str | None, Parameter(help="Only below this amount.")] = None


class _Listed(msgspec.Struct):
    """An approval as a list prints it, as far as a word on it needs it."""

    id: str
    level: int


ALL = Narrowed()
app = App(name="approvals", help="Who releases what, and what waits for you.")


@app.command
def inbox(*, only: Narrowed = ALL, limit: Most = 100, how: Reading = READING) -> None:
    """List what you are asked to approve, oldest first: all of it, or of one kind, and by what it moves."""
    _list(server().items(f"{APPROVALS}/inbox", most=limit, book=how.book, **asdict(only)), how)


@app.command(name="list")
def list_approvals(
    *, only: Narrowed = ALL, subject: str | None = None, state: State | None = None, limit: Most = 100,
    how: Reading = READING,
) -> None:  # fmt: skip
    """List approvals, newest first: of everything, of one kind, or of one subject by its kind and id."""
    narrowed = {**asdict(only), "subject": subject, "state": None if state is None else state.value}
    _list(server().items(APPROVALS, most=limit, book=how.book, **narrowed), how)


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
def approve(
    *approvals: str, level: Seen | None = None, remark: str | None = None, file: SeenFile = None, how: Asked = ASKED
) -> None:
    """Approve at the level that you see: one, several, or all that FILE names."""
    _say("approve", _seen(approvals, file, level), remark, how)


@app.command
def reject(
    *approvals: str, remark: Annotated[str, Parameter(help="Why.")], file: SeenFile = None, how: Asked = ASKED
) -> None:
    """Reject, and say why: one, several, or all that FILE names."""
    _say("reject", _named(approvals, file), remark, how)


@app.command
def withdraw(*approvals: str, remark: str | None = None, file: SeenFile = None, how: Asked = ASKED) -> None:
    """Take back requests for what you created, edited or submitted: one, several, or all that FILE names."""
    _say("withdraw", _named(approvals, file), remark, how)


def _say(word: str, wanted: list[dict[str, Any]], remark: str | None, how: Asked) -> None:
    client, more = server(), {} if remark is None else {"remark": remark}
    if len(wanted) == 1:
        body = {name: value for name, value in wanted[0].items() if name != "approval"} | more
        path = f"{APPROVALS}/{segment(wanted[0]['approval'])}/{word}"
        show(client.post(path, body, key=how.key, book=how.book), json=how.json)
        return
    refused, mark = 0, how.key or ids.text("key", ids.fresh())
    for place in range(0, len(wanted), AT_ONCE):
        some = wanted[place : place + AT_ONCE]
        lines = b"\n".join(msgspec.json.encode(each | more) for each in some)
        results = client.lines(f"{APPROVALS}/batch/{word}", lines, key=f"{mark}-{place}", book=how.book)
        for each, result in zip(some, results, strict=True):
            if "refused" in result:
                refused += 1
                say(f"{each['approval']}: {result['refused']['detail']} [{result['refused']['code']}]")
    show({"done": len(wanted) - refused, "refused": refused}, json=how.json)


def _seen(approvals: Sequence[str], file: Path | None, level: int | None) -> list[dict[str, Any]]:
    """Return approvals with the level that was seen of each: said for all, or standing beside each in a file."""
    found = [each if level is None else each | {"level": level} for each in _read(approvals, file)]
    for each in found:
        if "level" not in each:
            raise Malformed(field="--level", problem=f"say at which level you approve {each['approval']}")
    return found


def _named(approvals: Sequence[str], file: Path | None) -> list[dict[str, Any]]:
    return [{"approval": each["approval"]} for each in _read(approvals, file)]


def _read(approvals: Sequence[str], file: Path | None) -> list[dict[str, Any]]:
    """Read ids, and levels where they are told: typed, or from what `inbox --json` printed, or from lines of `ID LEVEL`."""
    found: list[dict[str, Any]] = [{"approval": each} for each in approvals]
    text = "" if file is None else _text(file)
    try:
        if text.lstrip().startswith("["):
            listed = msgspec.json.decode(text, type=list[_Listed])
            found += [{"approval": each.id, "level": each.level} for each in listed]
        else:
            words = [line.split() for line in text.splitlines() if line.strip()]
            found += [{"approval": line[0]} | ({"level": int(line[1])} if line[1:] else {}) for line in words]
    except ValueError as error:  # that msgspec raises is one too
        raise Malformed(field=str(file), problem=str(error)) from error
    if not found:
        raise Malformed(field="approvals", problem="name one, or a file of them")
    return found


def _text(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text()
    except OSError as error:
        raise Malformed(field=str(file), problem=error.strerror or "it cannot be read") from error


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
def policy_versions(kind: str, *, limit: Most = 100, how: Reading = READING) -> None:
    """List every version that the rules for a KIND had, newest first, by whom, and with whose approval."""
    found = server().items(f"{POLICIES}/{segment(kind)}/versions", most=limit, book=how.book)
    show_all(found, ("version", "levels", "hours", "set_at", "set_by", "retired", "approval"), json=how.json)


@app.command
def retire_policy(kind: str, *, how: Asked = ASKED) -> None:
    """Let nobody approve a KIND of subject any more; where others have to agree, this asks them."""
    show(server().post(f"{POLICIES}/{segment(kind)}/retire", key=how.key, book=how.book), json=how.json)


@app.command
def set_policy(kind: str, *roles: Role, levels: LevelsFile = None, hours: int | None = None, how: Asked = ASKED) -> None:
    """Set who approves a KIND of subject: one person of each of ROLES in turn, or what a file of levels says.

    Once there are rules for the kind approvals.policy, this asks others to agree; it holds when they have.
    """
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

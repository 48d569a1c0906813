"""`clearhouse reconciliation …`: rule sets, two files reconciled, what matched, and the breaks that are left."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from clearhouse.refusals import Malformed
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import Client, segment, server
from clearhouse.transport.cli.showing import show, show_all

HERE = "/api/v1/reconciliation"
SETS = f"{HERE}/rule-sets"
BREAKS = f"{HERE}/breaks"
MEDIA = {".csv": "text/csv", ".ndjson": "application/x-ndjson", ".json": "application/json"}
SUMS = ("side", "currency", "new_items", "new", "carried_items", "carried", "matched_items", "matched", "open_items", "open")
RUNS = ("id", "version", "at", "matches", "digest")
COLUMNS = ("id", "rule_set", "side", "item", "amount", "currency", "date", "reason", "owner", "match", "approval")
Side = Literal["ours", "theirs"]
ItemsFile = Annotated[Path | None, Parameter(help="CSV with the columns id, amount, currency, date, …; NDJSON; or JSON.")]
Others = Annotated[list[str] | None, Parameter(name="--with", help="Breaks that it is matched with.")]
app = App(name="reconciliation", help="Two sides reconciled by rules, and a life for what is left over.")


@app.command
def rule_sets(*, limit: Most = 100, how: Reading = READING) -> None:
    """List rule sets."""
    found = server().items(SETS, most=limit, book=how.book)
    show_all(found, ("name", "version", "title", "account", "write_off", "suspense", "rules"), json=how.json)


@app.command
def rule_set(name: str, *, how: Reading = READING) -> None:
    """Show a rule set."""
    show(server().get(f"{SETS}/{segment(name)}", book=how.book), json=how.json)


@app.command
def define(file: Path, *, how: Asked = ASKED) -> None:
    """Define a rule set from a FILE of JSON, or replace its rules."""
    try:
        wanted = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise Malformed(field=str(file), problem=error.strerror or "it cannot be read") from error
    except msgspec.DecodeError as error:
        raise Malformed(field=str(file), problem=str(error)) from error
    show(server().post(SETS, wanted, key=how.key, book=how.book), json=how.json)


@app.command
def load(name: str, side: Side, file: Path, *, how: Reading = READING) -> None:
    """Load the items of a FILE for one side; loading it again brings nothing new."""
    show(_loaded(server(), name, side, file, how), json=how.json)


@app.command
def load_entries(
    name: str, *, currency: str | None = None, since: str | None = None, until: str | None = None, how: Asked = ASKED
) -> None:
    """Load what was booked on the account of a rule set since the last load, as items of our side."""
    said = {"currency": currency, "since": since, "until": until}
    show(server().post(f"{SETS}/{segment(name)}/entries", said, key=how.key, book=how.book), json=how.json)


@app.command
def run(name: str, *, ours: ItemsFile = None, theirs: ItemsFile = None, how: Asked = ASKED) -> None:
    """Reconcile what was loaded, after the files given here, and what earlier runs left open."""
    client = server()
    for side, file in (("ours", ours), ("theirs", theirs)):
        if file is not None:
            _loaded(client, name, side, file, how)
    _show_run(client.post(f"{SETS}/{segment(name)}/runs", key=how.key, book=how.book), how)


def _loaded(client: Client, name: str, side: str, file: Path, how: Reading) -> dict[str, Any]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Malformed(field=str(file), problem=error.strerror or "it cannot be read") from error
    media = MEDIA.get(file.suffix.lower())
    if media is None:
        raise Malformed(field=str(file), problem=f"its name ends in none of {', '.join(MEDIA)}")
    mark = hashlib.sha256(b"\n".join([name.encode(), side.encode(), content])).hexdigest()[:32]
    return client.content(f"{SETS}/{segment(name)}/items", content, media=media, key=mark, book=how.book, side=side)


@app.command
def runs(name: str, *, limit: Most = 100, how: Reading = READING) -> None:
    """List the runs of a rule set, newest first."""
    show_all(server().items(f"{SETS}/{segment(name)}/runs", most=limit, book=how.book), RUNS, json=how.json)


@app.command(name="show")
def show_run(run: str, *, how: Reading = READING) -> None:
    """Show a run with its counts and sums."""
    _show_run(server().get(f"{HERE}/runs/{segment(run)}", book=how.book), how)


@app.command
def verify(run: str, *, how: Reading = READING) -> None:
    """Make a run again over what it was given, and say whether the same comes of it."""
    show(server().post(f"{HERE}/runs/{segment(run)}/verify", book=how.book), json=how.json)


@app.command
def matches(run: str, *, limit: Most = 100, how: Reading = READING) -> None:
    """List what a run matched."""
    found = server().items(f"{HERE}/runs/{segment(run)}/matches", most=limit, book=how.book)
    if not how.json:
        found = [each | {side: [item["id"] for item in each[side]] for side in ("ours", "theirs")} for each in found]
    show_all(found, ("id", "rule", "ours", "theirs", "difference", "currency", "undone_at"), json=how.json)


@app.command
def match(*breaks: str, how: Asked = ASKED) -> None:
    """Match BREAKS of both sides that add up to the same."""
    show(server().post(f"{HERE}/matches", {"breaks": list(breaks)}, key=how.key, book=how.book), json=how.json)


@app.command
def undo(match: str, *, remark: str | None = None, how: Asked = ASKED) -> None:
    """Propose to undo a match: once somebody else approves, its items are open again and what was posted is reversed."""
    _amend(match, "undo", how, remark=remark)


@app.command
def claim(match: str, account: str, *, remark: str | None = None, how: Asked = ASKED) -> None:
    """Propose that money in suspense belongs to ACCOUNT: it goes there once somebody else approves."""
    _amend(match, "claim", how, account=account, remark=remark)


@app.command
def suspense(*, limit: Most = 100, how: Reading = READING) -> None:
    """List what waits in suspense, the longest first."""
    found = server().items(f"{HERE}/suspense", most=limit, book=how.book)
    show_all(found, ("id", "rule_set", "at", "difference", "currency", "suspense", "approval"), json=how.json)


def _amend(match: str, word: str, how: Asked, **body: object) -> None:
    show(server().post(f"{HERE}/matches/{segment(match)}/{word}", body, key=how.key, book=how.book), json=how.json)


@app.command
def breaks(
    *, state: Literal["open", "closed"] | None = None, owner: str | None = None, reason: str | None = None,
    rule_set: str | None = None, age: int | None = None, limit: Most = 100, how: Reading = READING,
) -> None:  # fmt: skip
    """List breaks, the oldest first; --age for those of at least so many days."""
    which = {"state": state, "owner": owner, "reason": reason, "rule_set": rule_set, "age": age}
    found = server().items(BREAKS, most=limit, book=how.book, **which)
    if not how.json:
        found = [each["item"] | each | {"item": each["item"]["id"]} for each in found]
    show_all(found, COLUMNS, json=how.json)


@app.command(name="break")
def show_break(broken: str, *, how: Reading = READING) -> None:
    """Show a break, with what was said about it."""
    show(server().get(f"{BREAKS}/{segment(broken)}", book=how.book), json=how.json)


@app.command
def assign(broken: str, *, owner: str | None = None, how: Asked = ASKED) -> None:
    """Give a break to somebody, or without --owner to nobody."""
    _say(broken, "assign", how, owner=owner)


@app.command
def remark(broken: str, remark: str, *, reason: str | None = None, how: Asked = ASKED) -> None:
    """Say something about a break, and with --reason why it is there."""
    _say(broken, "remark", how, remark=remark, reason=reason)


@app.command
def propose(
    broken: str, action: Literal["write_off", "suspend", "accept", "match"], *, others: Others = None,
    remark: str | None = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Propose how a break is resolved: it is once somebody else approves."""
    _say(broken, "propose", how, action=action, breaks=others, remark=remark)


def _say(broken: str, word: str, how: Asked, **body: object) -> None:
    show(server().post(f"{BREAKS}/{segment(broken)}/{word}", body, key=how.key, book=how.book), json=how.json)


def _show_run(found: dict[str, Any], how: Reading) -> None:
    show({name: value for name, value in found.items() if how.json or name != "sums"}, json=how.json)
    if not how.json:
        show_all(found["sums"], SUMS, json=False)

"""`clearhouse netting …`: cycles of obligations between banks, opened, closed, settled, and explained."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from clearhouse.refusals import Malformed
from clearhouse.transport.cli.asked import ASKED, READING, Asked, Reading
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

NETTING = "/api/v1/netting"
CYCLES = ("number", "id", "currency", "method", "state", "obligations", "gross", "net", "reason")
OBLIGATIONS = ("obligation_id", "from_bank", "to_bank", "amount", "currency", "state", "recorded_at", "withdrawn_because")
POSITIONS = ("id", "bank", "counterparty", "sent", "received", "net", "obligations", "state", "waits_because")
app = App(name="netting", help="What banks owe each other, set off and settled.")
Most = Annotated[int, Parameter(name="--limit", help="How many at most.")]
Method = Literal["gross", "bilateral", "multilateral"]
Bank = Annotated[str | None, Parameter(help="Of this bank, on either side.")]


@app.command(name="list")
def list_cycles(*, limit: Most = 100, currency: str | None = None, state: str | None = None, how: Reading = READING) -> None:
    """List cycles, newest first."""
    found = server().items(f"{NETTING}/cycles", most=limit, currency=currency, state=state, book=how.book)
    show_all(found, CYCLES, json=how.json)


@app.command(name="show")
def show_cycle(cycle: str, *, how: Reading = READING) -> None:
    """Show a cycle as it stands."""
    show(server().get(_path(cycle), book=how.book), json=how.json)


@app.command(name="open")
def open_cycle(currency: str, *, method: Method = "multilateral", how: Asked = ASKED) -> None:
    """Open a cycle: from now on obligations in CURRENCY are gathered."""
    body = {"currency": currency, "method": method}
    show(server().post(f"{NETTING}/cycles", body, key=how.key, book=how.book), json=how.json)


@app.command
def record(
    obligation: str, payer: str, payee: str, amount: str, currency: str, *, reference: str | None = None, how: Asked = ASKED
) -> None:  # fmt: skip
    """Record that PAYER owes PAYEE an AMOUNT."""
    body = {
        "obligation_id": obligation, "from_bank": payer, "to_bank": payee, "amount": amount, "currency": currency,
        "reference": reference,
    }  # fmt: skip
    show(server().post(f"{NETTING}/obligations", body, key=how.key, book=how.book), json=how.json)


@app.command
def upload(file: Path, *, how: Reading = READING) -> None:
    """Record the obligations of a FILE, one of JSON on each line, and show those that were refused."""
    try:
        lines = [line for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise Malformed(field=str(file), problem=error.strerror or "it cannot be read") from error
    refused: list[dict[str, Any]] = []
    for start in range(0, len(lines), 10_000):
        body = [b"\n".join(lines[start : start + 10_000])]
        answer = server().stream_up(f"{NETTING}/obligations/batch", body, "application/x-ndjson", book=how.book)
        refused += [
            {"line": start + place, "code": each["refused"]["code"], "detail": each["refused"]["detail"]}
            for place, each in enumerate(answer["results"], start=1)
            if "refused" in each
        ]
    show_all(refused, ("line", "code", "detail"), json=how.json)


@app.command
def withdraw(obligation: str, reason: str, *, how: Asked = ASKED) -> None:
    """Withdraw an OBLIGATION that you recorded, before its cycle closes or once that is aborted, for a REASON."""
    body = {"obligation_id": obligation, "reason": reason}
    show(server().post(f"{NETTING}/obligations/withdraw", body, key=how.key, book=how.book), json=how.json)


@app.command
def close(cycle: str, *, settle: bool = False, last: bool = False, method: Method | None = None, how: Asked = ASKED) -> None:
    """Close a cycle and open the next; with --last open none, with --settle settle it as soon as it is netted."""
    _say(cycle, "close", {"settle": settle, "last": last, "method": method}, how)


@app.command
def settle(cycle: str, *, how: Asked = ASKED) -> None:
    """Settle a closed cycle."""
    _say(cycle, "settle", None, how)


@app.command
def abort(cycle: str, reason: str, *, how: Asked = ASKED) -> None:
    """Take a cycle back of which nothing was paid yet, for a REASON."""
    _say(cycle, "abort", {"reason": reason}, how)


@app.command
def carry(cycle: str, *without: str, how: Asked = ASKED) -> None:
    """Let the obligations of an aborted cycle count for the open one, but for those of the banks WITHOUT."""
    _say(cycle, "carry", {"without": list(without)}, how)


@app.command
def obligations(cycle: str, *, limit: Most = 100, bank: Bank = None, how: Reading = READING) -> None:
    """List the obligations of a cycle."""
    found = server().items(_path(cycle, "obligations"), most=limit, bank=bank, book=how.book)
    show_all(found, OBLIGATIONS, json=how.json)


@app.command
def positions(cycle: str, *, limit: Most = 100, bank: Bank = None, how: Reading = READING) -> None:
    """List who is to pay and to get how much."""
    found = server().items(_path(cycle, "positions"), most=limit, bank=bank, book=how.book)
    show_all(found, POSITIONS, json=how.json)


@app.command
def explain(position: str, *, limit: Most = 100, how: Reading = READING) -> None:
    """Show what a position comes of, bank by bank, and the obligations below."""
    path = f"{NETTING}/positions/{segment(position)}"
    found = server().get(path, book=how.book)
    leaves = server().items(f"{path}/obligations", most=limit, book=how.book)
    if how.json:
        show({**found, "leaves": leaves}, json=True)
        return
    show(found["position"], json=False)
    show_all(found["branches"], ("way", "from_bank", "to_bank", "obligations", "amount"), json=False)
    show_all(leaves, OBLIGATIONS, json=False)


def _say(cycle: str, word: str, body: dict[str, object] | None, how: Asked) -> None:
    show(server().post(_path(cycle, word), body, key=how.key, book=how.book), json=how.json)


def _path(cycle: str, *more: str) -> str:
    return "/".join([NETTING, "cycles", segment(cycle), *more])

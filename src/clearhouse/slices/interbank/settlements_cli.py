"""Verbs for settlements: executed, shown, explained, followed as they move, cancelled, released."""

import sys
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from clearhouse.slices.interbank.accounts_cli import Method, Most
from clearhouse.transport.cli.asked import ASKED, READING, Asked, Reading
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all, show_tree

SETTLEMENTS = "/api/v1/settlements"
EVENTS = f"{SETTLEMENTS}/events"
RECORDED = "/api/v1/netting/obligations"
COLUMNS = (
    "id", "obligation_id", "from_bank", "to_bank", "amount", "currency", "method", "priority", "state", "waiting_for",
    "captured", "reason", "accepted_at",
)  # fmt: skip
FOUND = ("found", "obligation_id", "from_bank", "to_bank", "amount", "currency", "state", "id", "cycle", "reason")
State = Literal[
    "PENDING", "VALIDATING", "FUNDS_LOCKED", "EXECUTING", "CONFIRMING", "COMPLETED", "FAILED", "ROLLED_BACK", "IN_DOUBT"
]
Several = Annotated[tuple[str, ...], Parameter(negative="")]
app = App()


@app.command
def execute(
    obligation: str, from_bank: str, to_bank: str, amount: str, currency: str, *, method: Method = "MOCK",
    priority: Literal["URGENT", "HIGH", "NORMAL"] = "NORMAL", debtor: str | None = None, debtor_iban: str | None = None,
    creditor: str | None = None, creditor_iban: str | None = None, remittance: str | None = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Settle an OBLIGATION: an AMOUNT from one bank to another. An obligation is settled once."""
    wanted = {
        "obligation_id": obligation, "from_bank": from_bank, "to_bank": to_bank, "amount": amount, "currency": currency,
        "method": method, "priority": priority, "debtor": _party(debtor, debtor_iban),
        "creditor": _party(creditor, creditor_iban), "remittance": remittance,
    }  # fmt: skip
    show(server().post(SETTLEMENTS, wanted, key=how.key, book=how.book), json=how.json)


def _party(name: str | None, iban: str | None) -> dict[str, str] | None:
    return {"name": name or "", "iban": iban or ""} if name or iban else None


@app.command
def settlements(
    *, state: State | None = None, bank: str | None = None, currency: str | None = None, obligation: str | None = None,
    limit: Most = 100, how: Reading = READING,
) -> None:  # fmt: skip
    """List settlements, newest first."""
    which = {"state": state, "bank": bank, "currency": currency, "obligation_id": obligation}
    show_all(server().items(SETTLEMENTS, most=limit, book=how.book, **which), COLUMNS, json=how.json)


@app.command
def find(obligation: str, *, limit: Most = 100, how: Reading = READING) -> None:
    """Find an OBLIGATION by its id: its settlements, newest first, and what is recorded of it for netting."""
    settled = server().items(SETTLEMENTS, most=limit, book=how.book, obligation_id=obligation)
    netted = server().items(RECORDED, most=1, book=how.book, obligation_id=obligation)
    found = [{"found": "settlement", **each} for each in settled] + [{"found": "netting", **each} for each in netted]
    show_all(found, FOUND, json=how.json)


@app.command
def settlement(settlement: str, *, how: Reading = READING) -> None:
    """Show a settlement, every step it took, and what had to be put right of it."""
    found = server().get(_path(settlement), book=how.book)
    if how.json:
        show(found, json=True)
        return
    show(found["settlement"], json=False)
    show_all(found["checkpoints"], ("attempt", "step", "at"), json=False)
    if found["compensations"]:
        show_all(found["compensations"], ("cause", "amount", "reason", "at", "settlement"), json=False)


@app.command
def explain(settlement: str, *, how: Reading = READING) -> None:
    """Explain the amount of a settlement down to transfers, holds and lines of statements."""
    show_tree(server().get(_path(settlement, "explain"), book=how.book), json=how.json)


@app.command
def cancel(settlement: str, *, reason: str | None = None, how: Asked = ASKED) -> None:
    """Take a settlement back that was not sent yet."""
    show(server().post(_path(settlement, "cancel"), {"reason": reason}, key=how.key, book=how.book), json=how.json)


@app.command
def release(settlement: str, reason: str, *, how: Asked = ASKED) -> None:
    """Give up what is in doubt: ask for it, and when somebody else has approved, ask again with the same REASON."""
    show(server().post(_path(settlement, "release"), {"reason": reason}, key=how.key, book=how.book), json=how.json)


@app.command
def events(
    *, settlement: Several = (), bank: Several = (), after: str | None = None, limit: Most = 100, how: Reading = READING
) -> None:
    """List what happened to settlements, oldest first; --settlement and --bank may be given several times."""
    found = server().items(EVENTS, most=limit, book=how.book, **_wanted(settlement, bank, after))
    if not how.json:
        found = [each["change"] | each for each in found]
    columns = ("id", "at", "type", "settlement", "state", "from_bank", "to_bank", "amount", "currency", "reason")
    show_all(found, columns, json=how.json)


@app.command
def follow(*, settlement: Several = (), bank: Several = (), after: str | None = None, how: Reading = READING) -> None:
    """Print what happens to settlements as it happens, a line of JSON each, until Ctrl-C."""
    query = _wanted(settlement, bank, after)
    for line in server().events(EVENTS, book=how.book, **query):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _wanted(settlements: tuple[str, ...], banks: tuple[str, ...], after: str | None) -> dict[str, Any]:
    return {"settlement": ",".join(settlements) or None, "bank": ",".join(banks) or None, "after": after}


def _path(settlement: str, *more: str) -> str:
    return "/".join([SETTLEMENTS, segment(settlement), *more])

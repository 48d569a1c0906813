"""Verbs for reconciling nostros: compared now, with a bar that moves from nostro to nostro, and what was left over."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from clearhouse.slices.interbank.accounts_cli import ACCOUNTS, Most
from clearhouse.transport.cli.asked import READING, Reading
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import progress, show, show_all, show_tree

REPORTS = "/api/v1/reconciliation/reports"
BREAKS = "/api/v1/reconciliation/breaks"
COLUMNS = (
    "id", "bank", "currency", "status", "our_balance", "their_balance", "difference", "matched", "missing", "unexpected",
    "at",
)  # fmt: skip
LEFT = ("id", "rule_set", "side", "item", "amount", "currency", "date", "reason", "owner")
NOSTROS_MAX = 10_000
app = App()


@app.command
def reconcile(
    *, bank: Annotated[str | None, Parameter(help="Only our nostros at this bank.")] = None,
    currency: Annotated[str | None, Parameter(help="Only our nostros in this currency.")] = None, how: Reading = READING,
) -> None:  # fmt: skip
    """Compare nostros with what their banks say now, one after another, and show what it comes to."""
    client = server()
    nostros = client.items(f"{ACCOUNTS}/nostro", most=NOSTROS_MAX, book=how.book)
    wanted = [each for each in nostros if bank in {None, each["bank"]} and currency in {None, each["currency"]}]
    reports: list[dict[str, Any]] = []
    with progress("reconciling {task.description}") as bar:
        task = bar.add_task("", total=len(wanted))
        for each in wanted:
            bar.update(task, description=f"{each['bank']} {each['currency']}", refresh=True)
            body = {"bank": each["bank"], "currency": each["currency"]}
            reports += client.post(REPORTS, body, book=how.book)
            bar.advance(task)
    show_all(reports, COLUMNS, json=how.json)


@app.command
def reports(*, bank: str | None = None, limit: Most = 100, how: Reading = READING) -> None:
    """List what comparisons came to, newest first."""
    show_all(server().items(REPORTS, most=limit, book=how.book, bank=bank), COLUMNS, json=how.json)


@app.command
def report(report: str, *, how: Reading = READING) -> None:
    """Show what a comparison came to."""
    show(server().get(f"{REPORTS}/{segment(report)}", book=how.book), json=how.json)


@app.command
def explain_report(report: str, *, how: Reading = READING) -> None:
    """Explain the difference of a comparison down to the lines that one side has and the other has not."""
    show_tree(server().get(f"{REPORTS}/{segment(report)}/explain", book=how.book), json=how.json)


@app.command
def breaks(
    bank: str, currency: str, *, state: Literal["open", "closed"] = "open", limit: Most = 100, how: Reading = READING
) -> None:
    """List the breaks of a nostro, the oldest first; `clearhouse reconciliation` resolves them."""
    query = {"rule_set": f"nostro-{bank}-{currency}".lower(), "state": state}
    found = server().items(BREAKS, most=limit, book=how.book, **query)
    if not how.json:
        found = [each["item"] | each | {"item": each["item"]["id"]} for each in found]
    show_all(found, LEFT, json=how.json)

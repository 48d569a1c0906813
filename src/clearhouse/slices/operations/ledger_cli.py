"""`clearhouse ledger …`: accounts, transactions, holds, balances, statements, days."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from clearhouse.refusals import Malformed
from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import progress, say, show, show_all

ACCOUNTS = "/api/v1/ledger/accounts"
TRANSACTIONS = "/api/v1/ledger/transactions"
HOLDS = "/api/v1/ledger/holds"
AT_ONCE = 1_000
ACCOUNT_COLUMNS = ("code", "asset", "balance", "available", "normal", "state", "floor", "ceiling", "id")
HOLD_COLUMNS = ("id", "state", "amount", "remaining", "captured", "currency", "expires_at", "debit", "credit")

app = App(name="ledger", help="Accounts, transactions, holds, balances, statements, days.")
Most = Annotated[int, Parameter(name="--limit", help="How many at most.")]
OpeningFile = Annotated[
    Path, Parameter(help="CSV with the columns code, asset, balance, normal, floor, ceiling; or JSON, an array of such.")
]
Against = Annotated[str, Parameter(help="The account that every opening balance comes from.")]
AssetCode = Annotated[str | None, Parameter(help="Such as USD; not needed with an account's id.")]


# Accounts ------------------------------------------------------------------------------------------------------------


@app.command
def accounts(*, prefix: str = "", asset: AssetCode = None, limit: Most = 100, how: Reading = READING) -> None:
    """List accounts in the order of their codes, those whose code begins with PREFIX."""
    found = server().items(ACCOUNTS, most=limit, prefix=prefix or None, asset=asset, book=how.book)
    show_all(found, ACCOUNT_COLUMNS, json=how.json)


@app.command
def account(account: str, *, asset: AssetCode = None, how: Reading = READING) -> None:
    """Show an account by its code and asset, or by its id."""
    show(server().get(f"{ACCOUNTS}/{segment(account)}", asset=asset, book=how.book), json=how.json)


@app.command(name="open")
def open_account(
    code: str, asset: str, *, normal: Literal["debit", "credit"] = "credit", floor: str | None = None,
    ceiling: str | None = None, how: Reading = READING,
) -> None:  # fmt: skip
    """Open an account for ASSET under CODE; --floor 0 keeps it from going below zero."""
    body = {"code": code, "asset": asset, "normal": normal, "floor": floor, "ceiling": ceiling}
    show(server().post(ACCOUNTS, body, book=how.book), json=how.json)


@app.command
def change(
    account: str, *, asset: AssetCode = None, state: Literal["open", "frozen", "closed"] | None = None,
    floor: str | None = None, ceiling: str | None = None, how: Reading = READING,
) -> None:  # fmt: skip
    """Freeze, unfreeze, close or re-limit an account; `--floor none` takes the limit away."""
    body: dict[str, Any] = {} if state is None else {"state": state}
    body |= {name: None if text == "none" else text for name, text in (("floor", floor), ("ceiling", ceiling)) if text}
    show(server().change(f"{ACCOUNTS}/{segment(account)}", body, asset=asset, book=how.book), json=how.json)


@app.command
def balance(
    account: str, *, asset: AssetCode = None, at: str | None = None, on: str | None = None, how: Reading = READING
) -> None:
    """Show what an account holds: now, right after an instant (--at), or at the end of a day (--on)."""
    show(server().get(f"{ACCOUNTS}/{segment(account)}/balance", asset=asset, at=at, on=on, book=how.book), json=how.json)


@app.command
def statement(
    account: str, *, asset: AssetCode = None, since: str | None = None, until: str | None = None, newest: bool = False,
    limit: Most = 100, how: Reading = READING,
) -> None:  # fmt: skip
    """Show the transfers of an account with the balance after each, oldest first unless --newest."""
    found = server().items(
        f"{ACCOUNTS}/{segment(account)}/statement", most=limit, asset=asset, since=since, until=until,
        order="newest" if newest else None, book=how.book,
    )  # fmt: skip
    if how.json:
        show_all(found, (), json=True)
        return
    lines = [line | line["transfer"] for line in found]
    columns = ("booked", "effective", "kind", "side", "amount", "balance", "available", "reference", "transaction")
    show_all(lines, columns, json=False)


# Transactions --------------------------------------------------------------------------------------------------------


@app.command
def post(
    debit: str, credit: str, amount: str, currency: str, *, reference: str | None = None, effective: str | None = None,
    pending: bool = False, expires_at: str | None = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Move AMOUNT from DEBIT to CREDIT; --pending makes a hold of it. With --key, repeating it is harmless."""
    leg: dict[str, Any] = {"debit": debit, "credit": credit, "amount": amount, "currency": currency}
    leg |= {"pending": True} if pending else {}
    leg |= {} if expires_at is None else {"expires_at": expires_at}
    body = {"transfers": [leg], "reference": reference, "effective": effective}
    show(server().post(TRANSACTIONS, body, key=how.key, book=how.book), json=how.json)


@app.command
def post_file(file: Path, *, how: Reading = READING) -> None:
    """Post the transactions of an NDJSON file, 1,000 at a time; posting the same file again posts nothing twice."""
    client, refused = server(), 0
    content = file.read_bytes()
    lines = [line for line in content.splitlines() if line.strip()]
    mark = hashlib.sha256(content).hexdigest()[:32]
    with progress("posting") as bar:
        task = bar.add_task("", total=len(lines))
        for place in range(0, len(lines), AT_ONCE):
            some = lines[place : place + AT_ONCE]
            results = client.lines(f"{TRANSACTIONS}/batch", b"\n".join(some), key=f"{mark}-{place}", book=how.book)
            for number, result in enumerate(results, start=place + 1):
                if "refused" in result:
                    refused += 1
                    say(f"line {number}: {result['refused']['detail']} [{result['refused']['code']}]")
            bar.advance(task, len(some))
    show({"posted": len(lines) - refused, "refused": refused}, json=how.json)


@app.command
def transaction(transaction: str, *, how: Reading = READING) -> None:
    """Show a transaction and its transfers."""
    found = server().get(f"{TRANSACTIONS}/{segment(transaction)}", book=how.book)
    if how.json:
        show(found, json=True)
        return
    show({name: value for name, value in found.items() if name != "transfers"}, json=False)
    show_all(found["transfers"], ("kind", "debit", "credit", "amount", "currency", "id"), json=False)


@app.command
def find(
    *, reference: str | None = None, external_reference: str | None = None, limit: Most = 100, how: Reading = READING
) -> None:
    """List the transactions that carry a reference."""
    found = server().items(
        TRANSACTIONS, most=limit, reference=reference, external_reference=external_reference, book=how.book
    )
    told = found if how.json else [each | {"transfers": len(each["transfers"])} for each in found]
    show_all(told, ("id", "booked", "effective", "reference", "external_reference", "transfers"), json=how.json)


@app.command
def reverse(transaction: str, *, reference: str | None = None, how: Asked = ASKED) -> None:
    """Post what undoes a transaction, as far as it is not reversed already."""
    path = f"{TRANSACTIONS}/{segment(transaction)}/reverse"
    show(server().post(path, {"reference": reference}, key=how.key, book=how.book), json=how.json)


# Holds ---------------------------------------------------------------------------------------------------------------


@app.command
def holds(*, limit: Most = 100, how: Reading = READING) -> None:
    """List the holds that are open."""
    show_all(server().items(HOLDS, most=limit, book=how.book), HOLD_COLUMNS, json=how.json)


@app.command
def hold(hold: str, *, how: Reading = READING) -> None:
    """Show a hold and what is left of it."""
    show(server().get(f"{HOLDS}/{segment(hold)}", book=how.book), json=how.json)


@app.command
def capture(hold: str, *, amount: str | None = None, final: bool = False, how: Asked = ASKED) -> None:
    """Capture a hold, all of it or AMOUNT; --final frees the rest."""
    body = {"amount": amount, "final": final or None}
    show(server().post(f"{HOLDS}/{segment(hold)}/capture", body, key=how.key, book=how.book), json=how.json)


@app.command
def release(hold: str, *, how: Asked = ASKED) -> None:
    """Free what is left of a hold."""
    show(server().post(f"{HOLDS}/{segment(hold)}/release", key=how.key, book=how.book), json=how.json)


# The book ------------------------------------------------------------------------------------------------------------


@app.command
def trial_balance(*, how: Reading = READING) -> None:
    """Show the sums of all accounts per asset; the difference is zero, always."""
    found = server().get("/api/v1/ledger/trial-balance", book=how.book)
    columns = ("asset", "accounts", "debits_posted", "credits_posted", "debits_pending", "credits_pending", "difference")
    show_all(found, columns, json=how.json)


@app.command
def assets(*, how: Reading = READING) -> None:
    """List the book's own assets, beside the currencies of ISO 4217."""
    show_all(server().get("/api/v1/ledger/assets", book=how.book), ("code", "exponent"), json=how.json)


@app.command
def add_asset(code: str, exponent: int, *, how: Reading = READING) -> None:
    """Let the book keep accounts in something that is no currency of ISO 4217, with EXPONENT decimals."""
    show(server().post("/api/v1/ledger/assets", {"code": code, "exponent": exponent}, book=how.book), json=how.json)


@app.command
def days(*, limit: Most = 100, how: Reading = READING) -> None:
    """List closed days, newest first."""
    found = server().items("/api/v1/ledger/days", most=limit, book=how.book)
    show_all(found, ("day", "since", "sealed_at", "sealed_by"), json=how.json)


@app.command
def day(day: str, *, how: Reading = READING) -> None:
    """Show a closed day with its totals per asset."""
    show(server().get(f"/api/v1/ledger/days/{segment(day)}", book=how.book), json=how.json)


@app.command
def close_day(day: str, *, how: Reading = READING) -> None:
    """Close a day (YYYY-MM-DD) and every open one before it, for good."""
    show(server().post("/api/v1/ledger/days", {"day": day}, book=how.book), json=how.json)


@app.command(name="import")
def import_file(
    file: OpeningFile, *, against: Against = "equity:opening", effective: str | None = None, reference: str | None = None,
    dry_run: bool = False, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Bring accounts with opening balances from FILE, all or none; --dry-run only says what would be."""
    lines = _opening_lines(file)
    body = {"lines": lines, "against": against, "effective": effective, "reference": reference, "dry_run": dry_run or None}
    show(server().post("/api/v1/ledger/import", body, key=how.key, book=how.book), json=how.json)


@app.command
def verify(*, how: Reading = READING) -> None:
    """Recompute every counter from the transfers and name the first account that differs."""
    show(server().post("/api/v1/ledger/verify", book=how.book), json=how.json)


def _opening_lines(file: Path) -> list[dict[str, str]]:
    if file.suffix.lower() == ".csv":
        with file.open(newline="", encoding="utf-8-sig") as rows:
            return list(_filled(csv.DictReader(rows)))
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
    except msgspec.DecodeError as error:
        raise Malformed(field=file.name, problem=str(error)) from error


def _filled(rows: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    """Give rows without their empty cells."""
    for row in rows:
        yield {name: value.strip() for name, value in row.items() if name and value and value.strip()}

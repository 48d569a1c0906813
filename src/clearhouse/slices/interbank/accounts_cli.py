"""Verbs for banks, for nostros and vostros with what is on them, and for the rules that settlements go by."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from clearhouse.refusals import Malformed
from clearhouse.transport.cli.asked import ASKED, READING, Asked, Reading
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import show, show_all

BANKS, ACCOUNTS, WINDOWS = "/api/v1/banks", "/api/v1/accounts", "/api/v1/windows"
LIMITS, NAMES = "/api/v1/compliance/limits", "/api/v1/compliance/names"
STANDING = ("bank", "currency", "number", "state", "balance", "held", "available", "credit_line", "ceiling")
LINES = ("booked", "effective", "kind", "side", "amount", "balance", "available", "reference", "transaction")
Side = Annotated[Literal["nostro", "vostro"], Parameter(help="nostro: ours at a bank; vostro: a bank's with us.")]
Most = Annotated[int, Parameter(name="--limit", help="How many at most.")]
Method = Literal["SWIFT", "SEPA", "LOCAL_ACH", "MOCK"]
app = App()


@app.command
def banks(*, limit: Most = 100, how: Reading = READING) -> None:
    """List banks."""
    show_all(server().items(BANKS, most=limit, book=how.book), ("bic", "name", "state", "opened_at"), json=how.json)


@app.command
def bank(bic: str, *, how: Reading = READING) -> None:
    """Show a bank."""
    show(server().get(f"{BANKS}/{segment(bic)}", book=how.book), json=how.json)


@app.command
def keep_bank(bic: str, name: str, *, state: Literal["open", "suspended"] = "open", how: Asked = ASKED) -> None:
    """Let a bank be known by its BIC, or change its NAME; a suspended one settles nothing."""
    show(server().post(BANKS, {"bic": bic, "name": name, "state": state}, key=how.key, book=how.book), json=how.json)


@app.command
def nostros(*, limit: Most = 100, how: Reading = READING) -> None:
    """List our accounts at other banks, with what is on them."""
    show_all(server().items(f"{ACCOUNTS}/nostro", most=limit, book=how.book), STANDING, json=how.json)


@app.command
def vostros(*, limit: Most = 100, how: Reading = READING) -> None:
    """List other banks' accounts with us, with what is on them."""
    show_all(server().items(f"{ACCOUNTS}/vostro", most=limit, book=how.book), STANDING, json=how.json)


@app.command(name="open")
def open_account(
    side: Side, bank: str, currency: str, *, credit_line: str | None = None, ceiling: str | None = None,
    number: Annotated[str | None, Parameter(help="What the bank calls a nostro.")] = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Open a nostro or a vostro; opening the same again shows the one that is there."""
    wanted = {"bank": bank, "currency": currency, "credit_line": credit_line, "ceiling": ceiling, "number": number}
    show(server().post(f"{ACCOUNTS}/{side}", wanted, key=how.key, book=how.book), json=how.json)


@app.command(name="balance")
def show_account(side: Side, bank: str, currency: str, *, how: Reading = READING) -> None:
    """Show what is on a nostro or a vostro, what of that is held, and what may leave."""
    show(server().get(_path(side, bank, currency), book=how.book), json=how.json)


@app.command
def statement(
    side: Side, bank: str, currency: str, *, since: str | None = None, until: str | None = None, limit: Most = 100,
    how: Reading = READING,
) -> None:  # fmt: skip
    """Show what was booked on a nostro or a vostro, with the balance after each line."""
    path = f"{_path(side, bank, currency)}/statement"
    found = server().items(path, most=limit, book=how.book, since=since, until=until)
    show_all(found if how.json else [each | each["transfer"] for each in found], LINES, json=how.json)


@app.command
def fund(side: Side, bank: str, currency: str, amount: str, *, reference: str | None = None, how: Asked = ASKED) -> None:
    """Book an AMOUNT that came to an account from outside."""
    _book(_path(side, bank, currency), {"amount": amount, "reference": reference}, how)


@app.command
def withdraw(side: Side, bank: str, currency: str, amount: str, *, reference: str | None = None, how: Asked = ASKED) -> None:
    """Book an AMOUNT that left an account to the outside."""
    _book(_path(side, bank, currency), {"amount": amount, "withdraw": True, "reference": reference}, how)


@app.command
def freeze(side: Side, bank: str, currency: str, *, how: Reading = READING) -> None:
    """Freeze an account: nothing moves on it until it is unfrozen."""
    _change(_path(side, bank, currency), {"state": "frozen"}, how)


@app.command
def unfreeze(side: Side, bank: str, currency: str, *, how: Reading = READING) -> None:
    """Unfreeze an account."""
    _change(_path(side, bank, currency), {"state": "open"}, how)


@app.command
def agree(
    side: Side, bank: str, currency: str, *, credit_line: str | None = None,
    ceiling: Annotated[str | None, Parameter(help="How much may be on it at most; `none` takes the ceiling away.")] = None,
    how: Reading = READING,
) -> None:  # fmt: skip
    """Agree on another credit line or ceiling of an account."""
    wanted: dict[str, Any] = {} if credit_line is None else {"credit_line": credit_line}
    wanted |= {} if ceiling is None else {"ceiling": None if ceiling == "none" else ceiling}
    _change(_path(side, bank, currency), wanted, how)


@app.command
def limits(*, how: Reading = READING) -> None:
    """List what may leave a bank's vostro without a person looking at it."""
    show_all(server().get(LIMITS, book=how.book), ("currency", "bank", "single", "daily", "hourly"), json=how.json)


@app.command
def limit(
    currency: str, *, bank: Annotated[str | None, Parameter(help="Of this bank; else of every one without its own.")] = None,
    single: str | None = None, daily: str | None = None, hourly: int | None = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Set what may leave unseen: in one settlement, in a business day, how many in an hour. What is not given is free."""
    wanted = {"currency": currency, "bank": bank, "single": single, "daily": daily, "hourly": hourly}
    show(server().post(LIMITS, wanted, key=how.key, book=how.book), json=how.json)


@app.command
def names(source: str, file: Path, *, how: Asked = ASKED) -> None:
    """Put the names of a FILE on the list, a line each, in place of those that SOURCE brought before."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Malformed(field=str(file), problem=problem or "it cannot be read") from error
    wanted = {"source": source, "names": [each.strip() for each in lines if each.strip()]}
    show(server().post(NAMES, wanted, key=how.key, book=how.book), json=how.json)


@app.command
def windows(*, how: Reading = READING) -> None:
    """List when currencies are settled; one that is not listed is settled at any time."""
    show_all(server().get(WINDOWS, book=how.book), ("currency", "method", "calendar", "set_at"), json=how.json)


@app.command
def window(
    currency: str,
    calendar: Annotated[str, Parameter(help="A calendar like TARGET2 or one of the book's own; `always`: at any time.")],
    *, method: Method | None = None, how: Asked = ASKED,
) -> None:  # fmt: skip
    """Settle a CURRENCY within the hours of a CALENDAR, by one method or by all that have no hours of their own."""
    wanted = {"currency": currency, "calendar": None if calendar == "always" else calendar}
    body = msgspec.json.encode(wanted | ({} if method is None else {"method": method}))  # null and all
    show(server().content(WINDOWS, body, media="application/json", key=how.key, book=how.book), json=how.json)


def _path(side: str, bank: str, currency: str) -> str:
    return "/".join([ACCOUNTS, side, segment(bank), segment(currency)])


def _book(path: str, body: dict[str, Any], how: Asked) -> None:
    show(server().post(f"{path}/fund", body, key=how.key, book=how.book), json=how.json)


def _change(path: str, body: dict[str, Any], how: Reading) -> None:
    show(server().change(path, body, book=how.book), json=how.json)

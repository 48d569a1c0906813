"""The command line of interbank against a real server: what a house types from its first bank to its first break."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import Program, libraries, operator_key, program, until
from terminal import Said, Terminal, Typed
from town import PAYEE, PAYER

ENDED = {"COMPLETED", "FAILED", "ROLLED_BACK"}


@pytest.fixture(scope="module")
def server(laid_out: Callable[[str], Path]) -> Iterator[Program]:
    with program(laid_out("interbank-cli")) as started:
        yield started.ready()


@pytest.fixture(scope="module")
def key(server: Program) -> str:
    return operator_key(server.url, server.after("admin.key): "))


@pytest.fixture
def interbank(server: Program, key: str, terminal: Terminal) -> Typed:
    """Give `clearhouse interbank` with an operator's key, in a house with two banks that can settle dollars."""

    def run(*words: str) -> Said:
        return terminal.typed("interbank", *words, url=server.url, key=key)

    for side, bic in (("vostro", PAYER), ("nostro", PAYEE)):
        assert run("keep-bank", bic, f"the bank {bic}").status == 0
        assert run("open", side, bic, "USD").status == 0
        assert run("fund", side, bic, "USD", "1000.00", "--key", f"first funds {bic}".replace(" ", "-")).status == 0
    return run


def execute(interbank: Typed, obligation: str, amount: str = "20.00", *more: str) -> str:
    words = ("execute", obligation, PAYER, PAYEE, amount, "USD", *more, "--json")
    return str(interbank(*words).json["id"])


def completed(interbank: Typed, settlement: str) -> Any:
    def found() -> Any:
        shown = interbank("settlement", settlement, "--json").json["settlement"]
        return shown if shown["state"] in ENDED else None

    return until(found)


def test_banks_are_kept_listed_and_shown(interbank: Typed) -> None:
    assert interbank("keep-bank", "BARCGB22", "Barclays", "--state", "suspended", "--json").json["state"] == "suspended"
    assert {"BARCGB22", PAYER} <= {each["bic"] for each in interbank("banks", "--json").json}
    assert "Barclays" in interbank("bank", "BARCGB22").out
    said = interbank("bank", "NOSUCHXX")
    assert (said.status, said.out, said.err.endswith("[bank_not_found]\n")) == (2, "", True)


def test_accounts_are_opened_funded_frozen_and_agreed_on(interbank: Typed) -> None:
    place = ("vostro", PAYEE, "EUR")
    assert interbank("open", *place, "--credit-line", "500.00", "--json").json["available"] == "500.00"
    interbank("fund", *place, "100.00", "--reference", "by wire")
    interbank("withdraw", *place, "30.00")
    assert interbank("balance", *place, "--json").json["balance"] == "70.00"
    lines = interbank("statement", *place, "--json").json
    assert [(each["transfer"]["amount"], each["balance"]) for each in lines] == [("100.00", "100.00"), ("30.00", "70.00")]
    assert "by wire" in interbank("statement", *place).out
    assert interbank("freeze", *place, "--json").json["state"] == "frozen"
    assert interbank("unfreeze", *place, "--json").json["state"] == "open"
    assert interbank("agree", *place, "--credit-line", "1.00", "--ceiling", "90.00", "--json").json["ceiling"] == "90.00"
    assert "ceiling" not in interbank("agree", *place, "--ceiling", "none", "--json").json
    assert PAYEE in interbank("vostros").out
    assert (PAYEE, "USD") in {(each["bank"], each["currency"]) for each in interbank("nostros", "--json").json}


def test_a_settlement_is_executed_followed_shown_and_listed(interbank: Typed) -> None:
    more = (
        "--priority",
        "HIGH",
        "--debtor",
        "Mira Novak",
        "--creditor-iban",
        "DE89370400440532013000",
        "--key",
        "typed-twice",
    )
    own = execute(interbank, "OBL-typed", "20.00", *more)
    assert own == execute(interbank, "OBL-typed", "20.00", *more)
    assert completed(interbank, own)["captured"] == "20.00"
    assert "FINALIZE" in interbank("settlement", own).out
    found = interbank("settlements", "--state", "COMPLETED", "--bank", PAYER, "--obligation", "OBL-typed", "--json").json
    assert [each["id"] for each in found] == [own]
    assert interbank("settlements", "--currency", "EUR", "--json").json == []
    assert own in interbank("settlements").out


def test_what_happened_is_listed_followed_and_explained(interbank: Typed, server: Program, key: str) -> None:
    own = execute(interbank, "OBL-followed", "21.00")
    completed(interbank, own)
    interbank("reconcile", "--json")
    shown = interbank("explain", own)
    assert (shown.status, "21.00  USD  statement line" in shown.out) == (0, True)
    assert interbank("explain", own, "--json").json["tree"]["amount"] == "21.00"
    listed = until(lambda: [each["type"] for each in interbank("events", "--settlement", own, "--json").json][2:])
    assert listed[-1] == "interbank.completed"
    assert own in interbank("events", "--bank", PAYER, "--bank", PAYEE, "--limit", "1000").out
    report = interbank("reports", "--json").json[0]["id"]
    assert "difference" in interbank("explain-report", report).out
    following = subprocess.Popen(
        [sys.executable, "-P", "-m", "clearhouse.app.cli", "interbank", "follow", "--settlement", own],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"CLEARHOUSE_URL": server.url, "CLEARHOUSE_KEY": key, "PYTHONPATH": libraries()},
    )  # fmt: skip
    try:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["settlement"] == own
    finally:
        following.kill()
        following.communicate()


def test_a_settlement_that_waits_for_its_window_is_cancelled(interbank: Typed) -> None:
    assert interbank("window", "USD", "never-open", "--method", "LOCAL_ACH").status == 2
    interbank("limit", "USD", "--bank", PAYER, "--single", "500.00", "--daily", "900.00", "--hourly", "1000")
    assert interbank("limits", "--json").json == [
        {"currency": "USD", "bank": PAYER, "single": "500.00", "daily": "900.00", "hourly": 1000}
    ]
    waiting = execute(interbank, "OBL-large", "600.00")
    assert interbank("cancel", waiting, "--reason", "Paid in cash.", "--json").json["state"] == "ROLLED_BACK"
    refused = interbank("release", waiting, "nobody knows")
    assert (refused.status, "[not_in_doubt]" in refused.err) == (2, True)


def test_windows_and_the_list_of_names_are_set(interbank: Typed, tmp_path: Path) -> None:
    assert interbank("window", "JPY", "TARGET2", "--json").json["calendar"] == "TARGET2"
    assert [each["currency"] for each in interbank("windows", "--json").json] == ["JPY"]
    assert "calendar" in interbank("window", "JPY", "always").out
    assert interbank("windows", "--json").json == []
    names = tmp_path / "names"
    names.write_text("Ivan Grozny\n\nVlad Tepes\n")
    assert interbank("names", "eu", str(names), "--json").json == {"source": "eu", "names": 2}
    assert "[malformed]" in interbank("names", "eu", str(tmp_path / "none")).err


def test_nostros_are_reconciled_and_what_is_left_over_is_listed(interbank: Typed) -> None:
    found = interbank("reconcile", "--bank", PAYEE, "--json").json
    assert [(each["bank"], each["currency"]) for each in found] == [(PAYEE, "USD")]
    listed = interbank("reports", "--bank", PAYEE, "--json").json
    assert found[0] in listed
    assert found[0]["status"] in interbank("report", found[0]["id"]).out
    assert interbank("breaks", PAYEE, "USD", "--json").json == []
    assert interbank("reconcile", "--currency", "CHF", "--json").json == []


def test_a_person_sees_how_far_a_reconciliation_is_and_a_machine_only_its_answer(
    interbank: Typed, server: Program, key: str
) -> None:
    del interbank
    above, below = pty.openpty()
    told = subprocess.run(
        [sys.executable, "-P", "-m", "clearhouse.app.cli", "interbank", "reconcile", "--json"],
        stdout=subprocess.PIPE, stderr=below, check=True, timeout=60,
        env=os.environ | {"CLEARHOUSE_URL": server.url, "CLEARHOUSE_KEY": key, "PYTHONPATH": libraries(), "TERM": "xterm"},
    )  # fmt: skip
    os.close(below)
    seen = os.read(above, 65_536).decode()
    os.close(above)
    assert [each["bank"] for each in json.loads(told.stdout)] == [PAYEE]
    assert f"{PAYEE} USD" in seen
    assert "0/1" in seen

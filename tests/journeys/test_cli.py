"""The command line as a client: what operators, auditors and administrators type on the first day, against a real server."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from clearhouse.app import cli
from serving import Program, libraries, operator_key, program, until
from terminal import Said, Terminal, Typed

VERIFIER = Path(__file__).parent.parent.parent / "docs" / "verify_audit.py"
PAYMENT = {"debit": "customer:7", "credit": "revenue", "amount": "1.00", "currency": "USD"}


@pytest.fixture(scope="module")
def server(laid_out: Callable[[str], Path]) -> Iterator[Program]:
    with program(laid_out("cli"), WEBHOOK_NETWORKS="127.0.0.0/8") as started:
        yield started.ready()


@pytest.fixture(scope="module")
def keys(server: Program) -> dict[str, str]:
    """Give the keys of an administrator and of somebody who posts and audits, with two accounts in the book."""
    admin = server.after("admin.key): ")
    return {"admin": admin, "operator": operator_key(server.url, admin)}


@pytest.fixture
def clearhouse(server: Program, keys: dict[str, str], terminal: Terminal) -> Typed:
    """Give the program with an operator's key; `by` is another's."""

    def run(*words: str, by: str = "operator") -> Said:
        return terminal.typed(*words, url=server.url, key=keys[by])

    return run


@pytest.fixture
def book(clearhouse: Typed) -> Typed:
    for code in ("customer:7", "revenue"):
        assert clearhouse("ledger", "open", code, "USD").status == 0
    return clearhouse


def test_an_operator_posts_a_payment_and_sees_it_on_the_statement(book: Typed) -> None:
    before = float(book("ledger", "balance", "revenue", "--asset", "USD", "--json").json["balance"])
    posted = book("ledger", "post", "customer:7", "revenue", "100.00", "USD", "--reference", "bill 1", "--json").json
    after = float(book("ledger", "balance", "revenue", "--asset", "USD", "--json").json["balance"])
    assert after - before == 100
    lines = book("ledger", "statement", "revenue", "--asset", "USD", "--newest", "--limit", "1", "--json").json
    assert (lines[0]["transaction"], lines[0]["reference"]) == (posted["id"], "bill 1")
    assert posted["id"] in book("ledger", "find", "--reference", "bill 1").out


def test_a_payment_with_a_key_is_posted_once_however_often_it_is_typed(book: Typed) -> None:
    words = ("ledger", "post", "customer:7", "revenue", "3.00", "USD", "--key", "typed-twice", "--json")
    assert book(*words).json["id"] == book(*words).json["id"]


def test_a_refusal_is_the_servers_sentence_with_its_code_and_status_two(book: Typed) -> None:
    said = book("ledger", "post", "customer:7", "nobody", "1.00", "USD")
    assert (said.status, said.out) == (2, "")
    assert said.err.endswith("[account_unknown]\n")
    assert "nobody" in said.err


def test_a_hold_is_made_captured_and_released(book: Typed) -> None:
    held = book("ledger", "post", "customer:7", "revenue", "9.00", "USD", "--pending", "--json").json["transfers"][0]
    assert held in book("ledger", "holds").out
    book("ledger", "capture", held, "--amount", "4.00")
    assert book("ledger", "hold", held, "--json").json["remaining"] == "5.00"
    assert book("ledger", "release", held).status == 0
    assert book("ledger", "hold", held, "--json").json["state"] == "posted"


def test_a_transaction_is_shown_and_reversed(book: Typed) -> None:
    posted = book("ledger", "post", "customer:7", "revenue", "8.00", "USD", "--json").json["id"]
    assert "customer" not in book("ledger", "transaction", posted).err
    assert book("ledger", "reverse", posted).status == 0
    again = book("ledger", "reverse", posted)
    assert (again.status, "[above_original]" in again.err) == (2, True)


def test_a_file_of_transactions_is_posted_once_and_names_the_lines_that_are_refused(book: Typed, tmp_path: Path) -> None:
    file = tmp_path / "payments.ndjson"
    wrong = PAYMENT | {"credit": "nobody"}
    file.write_text("\n".join(json.dumps({"transfers": [each]}) for each in (PAYMENT, wrong, PAYMENT)))
    first = book("ledger", "post-file", str(file), "--json")
    assert first.json == {"posted": 2, "refused": 1}
    assert "line 2: " in first.err
    before = book("ledger", "balance", "revenue", "--asset", "USD", "--json").json
    book("ledger", "post-file", str(file))
    assert book("ledger", "balance", "revenue", "--asset", "USD", "--json").json == before


def test_opening_balances_are_tried_and_then_brought_from_a_table(clearhouse: Typed, tmp_path: Path) -> None:
    file = tmp_path / "opening.csv"
    file.write_text("code,asset,balance,normal,floor\nopened:1,EUR,12.50,credit,0\nopened:2,EUR,,debit,\n")
    tried = clearhouse("ledger", "import", str(file), "--dry-run", "--json").json
    assert (tried["accounts"], tried["transfers"], tried["dry_run"]) == (3, 1, True)
    assert clearhouse("ledger", "account", "opened:1", "--asset", "EUR").status == 2
    assert clearhouse("ledger", "import", str(file)).status == 0
    assert clearhouse("ledger", "account", "opened:1", "--asset", "EUR", "--json").json["balance"] == "12.50"


def test_an_account_is_frozen_and_its_limit_taken_away(clearhouse: Typed) -> None:
    clearhouse("ledger", "open", "till", "USD", "--floor", "0")
    changed = clearhouse("ledger", "change", "till", "--asset", "USD", "--state", "frozen", "--floor", "none", "--json").json
    assert (changed["state"], "floor" in changed) == ("frozen", False)
    assert "till" in clearhouse("ledger", "accounts", "--prefix", "ti").out


def test_a_day_is_closed_and_the_book_balances(book: Typed) -> None:
    assert book("ledger", "close-day", "2026-01-01").status == 0
    assert "2026-01-01" in book("ledger", "days").out
    assert book("ledger", "day", "2026-01-01", "--json").json["day"] == "2026-01-01"
    assert {line["difference"] for line in book("ledger", "trial-balance", "--json").json} == {"0.00"}
    assert book("ledger", "add-asset", "USDC", "6").status == 0
    assert "USDC" in book("ledger", "assets").out


def test_an_auditor_exports_the_trail_and_verifies_it_offline(book: Typed, tmp_path: Path) -> None:
    file = tmp_path / "trail.ndjson"
    kept = book("audit", "head", "--json").json["head"]
    assert book("audit", "export", str(file)).status == 0
    assert book("audit", "verify", "--head", kept, "--json").json["intact"]
    assert book("audit", "lines", "--limit", "1", "--json").json[0]["number"] == 1
    assert book("ledger", "verify").status == 0
    assert verified(file, kept) == 0
    lines = file.read_text().splitlines()
    altered = lines[0].replace("access.bootstrap", "access.something", 1)
    for tampered in (lines[1:], [*lines[:1], *lines[2:]], lines[:1], [altered, *lines[1:]], [lines[0], *lines]):
        file.write_text("\n".join(tampered))
        assert verified(file, kept) == 1


def verified(file: Path, head: str) -> int:
    return subprocess.run([sys.executable, "-I", VERIFIER, file, head], check=False, capture_output=True).returncode


def test_an_administrator_lets_somebody_in_and_out_again(clearhouse: Typed) -> None:
    added = clearhouse("access", "add", "Ada", "viewer", "auditor", "--json", by="admin").json["id"]
    issued = clearhouse("access", "issue", added, "--label", "laptop", "--json", by="admin").json
    assert issued["secret"] not in clearhouse("access", "keys", added, by="admin").out
    assert clearhouse("access", "roles", added, "viewer", "--json", by="admin").json["roles"] == ["viewer"]
    assert clearhouse("access", "revoke", issued["id"], by="admin").status == 0
    assert clearhouse("access", "disable", added, by="admin").status == 0
    assert "Ada" in clearhouse("access", "principals", by="admin").out
    assert clearhouse("access", "token", "--json", by="admin").json["token"]
    assert "main" in clearhouse("access", "books", by="admin").out


def test_whoever_may_not_is_told_what_is_missing(clearhouse: Typed) -> None:
    said = clearhouse("ledger", "accounts", by="admin")
    assert (said.status, "ledger:read" in said.err) == (2, True)
    assert "ledger:post" in clearhouse("access", "whoami", "--json").out


def test_jobs_say_what_waits(clearhouse: Typed) -> None:
    assert {job["name"] for job in clearhouse("jobs", "list", "--json").json} >= {
        "number", "expire", "expire approvals", "send webhooks", "total", "schedules.tick", "schedules.run",
        "interbank.send", "interbank.settle_cycle",
    }  # fmt: skip
    assert {each["name"] for each in clearhouse("jobs", "queues", "--json").json} >= {"schedules", "interbank"}
    assert clearhouse("jobs", "aside", "schedules.run", "--json").json == []
    assert clearhouse("jobs", "retry", "schedules.run", "--json").json["ids"] == []
    assert "later" in clearhouse("jobs", "queues").out


def test_an_operator_lets_a_job_happen_by_the_clock(clearhouse: Typed, tmp_path: Path) -> None:
    (tmp_path / "arguments").write_text("{}")
    words = ("schedules", "set", "nightly", "30 0 * * *", "ledger.close_day", "--zone", "Europe/Berlin", "--json")
    assert clearhouse(*words, "--arguments", str(tmp_path / "arguments")).json["state"] == "active"
    assert clearhouse("schedules", "pause", "nightly", "--json").json["state"] == "paused"
    assert clearhouse("schedules", "resume", "nightly", "--json").json["next_at"] is not None
    assert clearhouse("schedules", "run", "nightly", "--json").json["last_fired_at"] is not None
    assert clearhouse("schedules", "show", "nightly", "--json").json["cron"] == "30 0 * * *"
    assert "nightly" in clearhouse("schedules", "list").out
    said = clearhouse("schedules", "set", "never", "0 0 31 2 *", "ledger.close_day")
    assert (said.status, "there is no such day" in said.err) == (2, True)
    for file, problem in ((tmp_path / "nowhere", "No such file"), (tmp_path / "broken", "malformed")):
        (tmp_path / "broken").write_text("{")
        said = clearhouse("schedules", "set", "nightly", "* * * * *", "ledger.close_day", "--arguments", str(file))
        assert (said.status, problem in said.err) == (2, True)


def test_an_administrator_adds_a_webhook_and_an_operator_sees_what_became_of_it(clearhouse: Typed) -> None:
    added = clearhouse("webhooks", "add", "http://127.0.0.1:9/hooks", "ledger.*", "--json", by="admin").json
    webhook = added["webhook"]["id"]
    assert added["secret"] not in clearhouse("webhooks", "show", webhook, "--json").out
    assert clearhouse("webhooks", "try", webhook).status == 0
    tried = until(lambda: clearhouse("webhooks", "deliveries", webhook, "--state", "pending", "--json").json)
    assert tried[0]["type"] == "webhooks.tried"
    until(lambda: clearhouse("webhooks", "deliveries", webhook, "--json").json[0]["answer"])
    assert "delivery_pending" in clearhouse("webhooks", "replay", webhook, tried[0]["event"]).err
    assert clearhouse("webhooks", "replay", webhook, "--dead", "--json").json["deliveries"] == 0
    assert clearhouse("webhooks", "secret", webhook, "--json", by="admin").json["secret"] != added["secret"]
    words = ("webhooks", "change", webhook, "--types", "audit.*", "--json")
    assert clearhouse(*words, by="admin").json["types"] == ["audit.*"]
    for word, state in (("disable", "disabled"), ("enable", "enabled")):
        assert clearhouse("webhooks", word, webhook, "--json", by="admin").json["state"] == state
    assert webhook in clearhouse("webhooks", "list", "--json").out
    said = clearhouse("webhooks", "add", "https://10.0.0.1/", by="admin")
    assert (said.status, "[address_refused]" in said.err) == (2, True)


def test_events_are_listed_and_followed(book: Typed, server: Program, keys: dict[str, str]) -> None:
    events = until(lambda: book("events", "list", "--type", "ledger.account_opened", "--json").json)
    assert events[0]["type"] == "ledger.account_opened"
    assert "readers" not in book("events", "readers", "--json").out
    environment = {"CLEARHOUSE_URL": server.url, "CLEARHOUSE_KEY": keys["operator"], "PYTHONPATH": libraries()}
    words = [sys.executable, "-P", "-m", "clearhouse.app.cli", "events", "follow", "--type", "ledger.account_opened"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["id"] == events[0]["id"]
        following.terminate()


def test_an_administrator_says_who_approves_and_nothing_waits_yet(clearhouse: Typed, tmp_path: Path) -> None:
    for name in ("Anna", "Bert"):
        assert clearhouse("access", "add", name, "approver", by="admin").status == 0
    written = clearhouse("approvals", "set-policy", "batch.release", "approver", "approver", "--json", by="admin").json
    assert (written["version"], len(written["levels"])) == (1, 2)
    (tmp_path / "levels").write_text('[{"role": "approver", "count": 2}]')
    words = ("approvals", "set-policy", "batch.release", "--levels", str(tmp_path / "levels"), "--hours", "5", "--json")
    assert clearhouse(*words, by="admin").json["hours"] == 5
    assert "approver" in clearhouse("approvals", "policy", "batch.release").out
    assert clearhouse("approvals", "policy", "batch.release", "--json").json["version"] == 2
    assert "batch.release" in clearhouse("approvals", "policies").out
    assert clearhouse("approvals", "inbox", "--json").json == []
    assert "id" in clearhouse("approvals", "inbox").out


def test_rules_from_a_file_that_is_none_are_refused(clearhouse: Typed, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("[")
    for name in ("broken", "nowhere"):
        said = clearhouse("approvals", "set-policy", "batch.release", "--levels", str(tmp_path / name), by="admin")
        assert (said.status, "[malformed]" in said.err, name in said.err) == (2, True, True)


def test_a_word_on_an_approval_that_is_not_there_is_refused(clearhouse: Typed) -> None:
    for words in (("show", "apr_x"), ("withdraw", "apr_x")):
        said = clearhouse("approvals", *words)
        assert (said.status, "approval_not_found" in said.err) == (2, True)
    for words in (("approve", "apr_x", "--level", "1"), ("reject", "apr_x", "--remark", "too much")):
        said = clearhouse("approvals", *words)
        assert (said.status, "approvals:decide" in said.err) == (2, True)


def test_rules_are_retired_and_their_versions_stay(clearhouse: Typed) -> None:
    for name in ("Clara", "Dirk"):
        assert clearhouse("access", "add", name, "approver", by="admin").status == 0
    for roles in (("approver",), ("approver", "approver")):
        assert clearhouse("approvals", "set-policy", "batch.once", *roles, by="admin").status == 0
    assert clearhouse("approvals", "retire-policy", "batch.once", "--json", by="admin").json["retired"]
    versions = clearhouse("approvals", "policy-versions", "batch.once", "--json").json
    assert [(each["version"], len(each["levels"])) for each in versions] == [(3, 0), (2, 2), (1, 1)]
    assert "[policy_not_found]" in clearhouse("approvals", "policy", "batch.once").err


def test_words_on_many_approvals_come_from_the_line_from_a_file_or_from_what_the_inbox_printed(
    clearhouse: Typed, keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = clearhouse("access", "add", "Erna", "approver", "--json", by="admin").json
    keys["approver"] = clearhouse("access", "issue", added["id"], "--json", by="admin").json["secret"]
    approve = ("approvals", "approve", "--json")
    typed = clearhouse(*approve, "apr_x", "apr_y", "--level", "1", by="approver")
    assert typed.json == {"done": 0, "refused": 2}
    assert "apr_y: There is no approval apr_y here. [approval_not_found]" in typed.err
    lines = tmp_path / "lines"
    lines.write_text("apr_x 1\n\napr_y 2\napr_z 1\n")
    assert clearhouse(*approve, "--file", str(lines), by="approver").json["refused"] == 3
    printed = tmp_path / "printed"
    printed.write_text(json.dumps([{"id": f"apr_{number}", "level": 1, "state": "pending"} for number in range(1_001)]))
    assert clearhouse(*approve, "--file", str(printed), by="approver").json["refused"] == 1_001
    monkeypatch.setattr("sys.stdin", io.StringIO(lines.read_text()))
    rejected = clearhouse("approvals", "reject", "--file", "-", "--remark", "no", "--json", by="approver")
    assert rejected.json == {"done": 0, "refused": 3}
    assert clearhouse("approvals", "withdraw", "apr_x", "apr_y", "--json").json["refused"] == 2
    narrowed = ("--kind", "batch.release", "--currency", "USD", "--at-least", "100", "--json")
    for verb in ("inbox", "list"):
        assert clearhouse("approvals", verb, *narrowed, by="approver").json == []


def test_words_on_nothing_without_a_level_or_from_what_cannot_be_read_are_malformed(
    clearhouse: Typed, tmp_path: Path
) -> None:
    (tmp_path / "broken").write_text("[")
    for words in ((), ("apr_x", "apr_y"), ("--file", str(tmp_path / "broken")), ("--file", str(tmp_path / "nowhere"))):
        said = clearhouse("approvals", "approve", *words)
        assert (said.status, "[malformed]" in said.err) == (2, True), words


def test_messages_that_had_no_effect_are_listed_and_decided_on(clearhouse: Typed) -> None:
    assert clearhouse("inbox", "dead", "--state", "waiting", "--json").json == []
    for words in (("show", "ltr_x"), ("replay", "ltr_x"), ("dismiss", "ltr_x", "--remark", "a test")):
        said = clearhouse("inbox", *words)
        assert (said.status, "dead_letter_not_found" in said.err) == (2, True)


def test_two_files_are_reconciled_and_what_is_left_is_somebodys(clearhouse: Typed, tmp_path: Path) -> None:
    clearhouse("access", "add", "Frieda", "approver", by="admin")
    rules, ours, theirs = (tmp_path / name for name in ("rules.json", "ours.csv", "theirs.ndjson"))
    rules.write_text('{"name": "files", "rules": [{"by": "reference"}, {"by": "amount", "days": 1}]}')
    ours.write_text("id,amount,currency,date,reference\n1,5.00,EUR,2026-11-20,a\n2,7.00,EUR,2026-11-20,\n")
    line = {"id": "1", "amount": "5.00", "currency": "EUR", "date": "2026-11-21", "reference": "a"}
    theirs.write_text(json.dumps(line) + "\n" + json.dumps(line | {"id": "2", "amount": "6.00", "reference": "b"}))
    here = "reconciliation"
    assert clearhouse(here, "define", str(rules), "--json").json["version"] == 1
    run = clearhouse(here, "run", "files", "--ours", str(ours), "--theirs", str(theirs), "--json").json
    assert (run["matches"], [each["open"] for each in run["sums"]]) == (1, ["7.00", "6.00"])
    assert clearhouse(here, "load", "files", "ours", str(ours), "--json").json["items"] == 2
    assert clearhouse(here, "verify", run["id"], "--json").json["same"]
    for words in (("rule-sets",), ("rule-set", "files"), ("runs", "files"), ("show", run["id"]), ("matches", run["id"])):
        assert clearhouse(here, *words).status == 0
    broken, other = (each["id"] for each in clearhouse(here, "breaks", "--rule-set", "files", "--json").json)
    assert broken in clearhouse(here, "breaks", "--state", "open").out
    told = clearhouse(here, "remark", broken, "their fee", "--reason", "fee", "--json").json
    assert (told["reason"], clearhouse(here, "assign", broken, "--json").json.get("owner")) == ("fee", None)
    assert "their fee" in clearhouse(here, "break", broken).out
    assert "[does_not_add_up]" in clearhouse(here, "match", broken, other).err
    assert "[one_side_only]" in clearhouse(here, "propose", broken, "match", "--with", broken).err
    assert clearhouse(here, "propose", broken, "accept").status == 0
    match = clearhouse(here, "matches", run["id"], "--json").json[0]["id"]
    assert clearhouse(here, "undo", match, "--remark", "another invoice").status == 0
    assert "[nothing_to_claim]" in clearhouse(here, "claim", match, "customers").err
    assert "[no_account]" in clearhouse(here, "load-entries", "files", "--currency", "EUR").err
    assert clearhouse(here, "suspense", "--json").json == []


def test_a_file_that_is_no_list_of_items_is_refused(clearhouse: Typed, tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("1")
    for name in ("items.txt", "nowhere.csv"):
        said = clearhouse("reconciliation", "load", "files", "ours", str(tmp_path / name))
        assert (said.status, "[malformed]" in said.err, name in said.err) == (2, True, True)
    assert clearhouse("reconciliation", "define", str(tmp_path / "items.txt")).status == 2
    assert clearhouse("reconciliation", "define", str(tmp_path / "nowhere")).status == 2


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLEARHOUSE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CLEARHOUSE_KEY", "any")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["ledger", "accounts"])
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_without_a_key_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("CLEARHOUSE_KEY", raising=False)
    monkeypatch.setenv("CLEARHOUSE_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["access", "whoami"])
    assert "CLEARHOUSE_KEY" in capsys.readouterr().err


def test_somebody_asks_what_day_it_is_for_a_payment_system(clearhouse: Typed) -> None:
    moment = "2026-12-24T17:00:00Z"
    assert clearhouse("calendars", "business-date", "TARGET2", "--at", moment, "--json").json == {"day": "2026-12-28"}
    assert clearhouse("calendars", "add", "TARGET2", "2026-12-23", "2", "--json").json == {"day": "2026-12-28"}
    assert clearhouse("calendars", "add", "TARGET2", "2026-12-28", "-2", "--json").json == {"day": "2026-12-23"}
    assert (
        clearhouse("calendars", "roll", "NYSE", "2026-07-03", "--convention", "preceding", "--json").json["day"]
        == "2026-07-02"
    )
    assert clearhouse("calendars", "day", "FEDWIRE", "2026-07-03", "--json").json["open"]
    assert clearhouse("calendars", "next-open", "CHAPS", "--at", moment, "--json").json["day"] == "2026-12-24"
    assert "Fedwire" in clearhouse("calendars", "list", "--sort", "system").out
    both = "TARGET2,FEDWIRE"
    assert clearhouse("calendars", "add", both, "2026-11-25", "1", "--json").json == {"day": "2026-11-27"}
    assert not clearhouse("calendars", "day", both, "2026-11-26", "--json").json["open"]
    assert clearhouse("calendars", "next-open", both, "--at", "2026-11-25T17:00:00Z", "--json").json["day"] == "2026-11-27"


def test_an_own_calendar_is_opened_shown_and_changed(clearhouse: Typed) -> None:
    hours = ("--zone", "Europe/Berlin", "--opens", "08:00", "--closes", "17:00", "--cut-off", "16:00")
    days = ("--days", "monday", "--days", "friday", "--follows", "TARGET2", "--close", "2027-05-14")
    opened = clearhouse("calendars", "open", "bills", *days, *hours, "--close-early", "2027-05-17=12:00", "--json").json
    assert opened == clearhouse("calendars", "show", "bills", "--json").json
    assert (opened["days"], opened["closed"], opened["hours"]["cut_off"]) == (["monday", "friday"], ["2027-05-14"], "16:00")
    changed = clearhouse("calendars", "change", "bills", "--reopen", "2027-05-14", "--title", "Bills", "--json").json
    assert (changed["closed"], changed["title"], changed["hours"]) == ([], "Bills", opened["hours"])
    assert "bills" in clearhouse("calendars", "list", "--sort", "own").out


def test_a_calendar_that_is_never_open_is_refused_in_a_sentence(clearhouse: Typed) -> None:
    said = clearhouse("calendars", "open", "never", "--days", "saturday", "--follows", "FEDWIRE")
    assert (said.status, said.out) == (2, "")
    assert "no open day within a year" in said.err
    wrong = clearhouse("calendars", "change", "bills", "--close-early", "2027-05-17")
    assert (wrong.status, "[malformed]" in wrong.err) == (2, True)


def test_a_netting_cycle_is_filled_closed_settled_and_explained(
    clearhouse: Typed, server: Program, keys: dict[str, str], tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {keys['operator']}"}
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=60) as operator:
        for bic in ("CHASUS33", "DEUTDEFF"):
            operator.post("/banks", json={"bic": bic, "name": bic}).raise_for_status()
            operator.post("/accounts/vostro", json={"bank": bic, "currency": "USD"}).raise_for_status()
            operator.post(f"/accounts/vostro/{bic}/USD/fund", json={"amount": "9.00"}).raise_for_status()
    first = clearhouse("netting", "open", "USD", "--json").json["id"]
    clearhouse("netting", "record", "O-1", "CHASUS33", "DEUTDEFF", "5.00", "USD")
    obligation = {"from_bank": "DEUTDEFF", "to_bank": "CHASUS33", "amount": "2.00", "currency": "USD"}
    lines = [json.dumps({"obligation_id": f"O-{place}", **obligation}) for place in (2, 3)]
    (tmp_path / "owed.ndjson").write_text("\n".join([*lines, json.dumps({"obligation_id": "O-4"})]))
    told = clearhouse("netting", "upload", str(tmp_path / "owed.ndjson"), "--json").json
    assert [(each["line"], each["code"]) for each in told] == [(3, "malformed")]
    assert len(clearhouse("netting", "obligations", first, "--bank", "DEUTDEFF", "--json").json) == 3
    clearhouse("netting", "close", first, "--settle")
    until(lambda: clearhouse("netting", "show", first, "--json").json["state"] == "SETTLED")
    found = clearhouse("netting", "positions", first, "--json").json
    assert [(each["bank"], each["net"]) for each in found] == [("CHASUS33", "-1.00"), ("DEUTDEFF", "1.00")]
    explained = clearhouse("netting", "explain", found[0]["id"], "--json").json
    assert [each["amount"] for each in explained["leaves"]] == ["5.00", "2.00", "2.00"]
    assert "received" in clearhouse("netting", "explain", found[0]["id"]).out
    second = clearhouse("netting", "list", "--state", "OPEN", "--json").json[0]["id"]
    clearhouse("netting", "record", "O-5", "CHASUS33", "DEUTDEFF", "50.00", "USD")
    clearhouse("netting", "close", second)
    clearhouse("netting", "settle", second)
    until(lambda: clearhouse("netting", "show", second, "--json").json["state"] == "ABORTED")
    assert clearhouse("netting", "carry", second, "CHASUS33", "--json").json["state"] == "OPEN"
    again = clearhouse("netting", "abort", second, "too late")
    assert (again.status, "[cycle_state]" in again.err) == (2, True)

"""Records from the command line: uploads, and what the parties of a round and a referee type, against a real server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving import Program, program
from terminal import Said, Terminal, Typed


@pytest.fixture(scope="module")
def server(laid_out: Callable[[str], Path]) -> Iterator[Program]:
    with program(laid_out("records-cli")) as started:
        yield started.ready()


@pytest.fixture(scope="module")
def keys(server: Program) -> dict[str, str]:
    """Give the keys of two parties and of who resolves."""
    admin = server.after("admin.key): ")
    return {name: party_key(server.url, admin, name) for name in ("north", "south", "referee")}


@pytest.fixture
def clearhouse(server: Program, keys: dict[str, str], terminal: Terminal) -> Typed:
    """Give the program with the key of a party."""

    def run(*words: str, by: str = "north") -> Said:
        return terminal.typed(*words, url=server.url, key=keys[by])

    return run


def test_records_are_uploaded_from_a_folder_once_traced_and_settled(clearhouse: Typed, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "calls.ndjson").write_text('{"app": "a", "op": "CREATE"}\n{"app": "b"}\n')
    (tmp_path / "deep" / "calls.csv").write_text("app,op\na,DELETE\n")
    (tmp_path / "deep" / "calls.json").write_text('[{"app": "c", "op": 1}]')
    (tmp_path / "readme.txt").write_text("not a record")
    made = clearhouse("records", "create", "calls", "app", "op", "--json").json
    assert (made["settleid"], made["aggregationMetrics"]) == ("calls", ["op"])
    shown: Any = {}
    for _ in range(2):
        told = clearhouse("records", "upload", "calls", str(tmp_path), "--json").json
        assert [Path(each["file"]).name for each in told] == ["calls.ndjson", "calls.csv", "calls.json"]
        shown = clearhouse("records", "show", "calls", "--json").json
        assert shown["aggregates"] == {"a": {"op": "2"}, "c": {"op": "1"}}
    assert [each["place"] for each in clearhouse("records", "trace", "calls", "a", "--json").json] == [1, 1]
    assert clearhouse("records", "settle", "calls", "--json").json == shown["aggregates"]
    assert clearhouse("records", "settled", "calls", "--json").json[0]["aggregates"] == shown["aggregates"]
    assert clearhouse("records", "clear", "calls", "--json").json["lastUpdate"]["operation"] == "Clear"
    assert len(clearhouse("records", "history", "calls", "--json").json) == 6
    assert "calls" in clearhouse("records", "list").out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.ndjson", '{"app": "a", "op": 1}\n{"op": 1}\n'),
        ("bad.csv", "app,op\na,1\n,1\n"),
        ("bad.json", '[{"app": "a", "op": 1}, {"op": 1}]'),
        ("long.ndjson", '{"app": "a", "op": 1}\n{"op": 1}\n' + '{"app": "a", "op": 1}\n' * 500_000),
    ],
    ids=["ndjson", "csv", "json", "refused long before its end"],
)
def test_a_file_with_a_record_that_cannot_be_read_is_refused_with_its_name_and_the_place(
    clearhouse: Typed, tmp_path: Path, name: str, content: str
) -> None:
    clearhouse("records", "create", name, "app", "op")
    (tmp_path / "a good one.ndjson").write_text('{"app": "a", "op": 1}\n')
    (tmp_path / name).write_text(content)
    said = clearhouse("records", "upload", name, str(tmp_path))
    assert (said.status, "a good one" in said.out, f"{name}: record 2, app" in said.err.replace("\n", " ")) == (
        2,
        True,
        True,
    )
    assert "[SETTLE-01]" in said.err
    assert clearhouse("records", "show", name, "--json").json["aggregates"] == {"a": {"op": "1"}}
    nothing = clearhouse("records", "upload", name, str(tmp_path / "none.ndjson"))
    assert (nothing.status, "[malformed]" in nothing.err) == (2, True)


def test_a_line_is_disputed_resolved_and_traced_from_the_command_line(
    clearhouse: Typed, server: Program, keys: dict[str, str]
) -> None:
    made = (
        "records",
        "create",
        "roaming",
        "app",
        "dur",
        "--aggregation",
        "1CDR",
        "--settlement",
        "1CDR",
        "--tolerance",
        "1",
    )
    clearhouse(*made, "--dispute-hours", "24", by="north")
    for party, value in (("north", 90), ("south", 95)):
        answer = httpx.post(
            f"{server.url}/settlement/roaming/update", headers={"Authorization": f"Bearer {keys[party]}"}, timeout=60,
            json={"record": [{"app": "A", "dur": value}, {"app": "B", "dur": value // 10}]},
        )  # fmt: skip
        assert answer.is_success, answer.text
    assert clearhouse("records", "settle", "roaming", "--json", by="north").status == 0
    lines = clearhouse("records", "lines", "roaming", "--json", by="south").json
    values = {"values": {"north": "90", "south": "95"}, "difference": "5", "status": "MISMATCH"}
    assert [(each["key"], each["state"], each["tolerance"]) for each in lines] == [("A", "open", "1"), ("B", "open", "1")]
    assert (lines[0]["settled"]["dur"], lines[1]["settled"]["dur"]["status"]) == (values, "MATCHED")
    on_a = ("roaming", "A", "--round", "1", "--json")
    assert clearhouse("records", "accept", *on_a, by="north").json["state"] == "open"
    assert clearhouse("records", "dispute", *on_a, "--remark", "we count 95", by="south").json["state"] == "disputed"
    found = clearhouse(
        "records", "resolve", "roaming", "A", "dur=92", "--round", "1", "--remark", "the switch", by="referee"
    )
    assert (found.status, "resolved" in found.out, "92" in found.out) == (0, True, True)
    again = clearhouse("records", "resolve", "roaming", "A", "dur=92", "--round", "1", "--remark", "again", by="referee")
    assert (again.status, "[SETTLE-02]" in again.err) == (2, True)
    traced = clearhouse("records", "trace", "roaming", "A", "--round", "1", "--json", by="south").json
    assert [(each["organisation"], each["record"]["dur"]) for each in traced] == [("north", 90), ("south", 95)]
    wrong = clearhouse("records", "resolve", "roaming", "B", "92", "--round", "1", "--remark", "no", by="referee")
    assert (wrong.status, "METRIC=VALUE" in wrong.err) == (2, True)


def party_key(url: str, admin: str, name: str) -> str:
    """Add somebody of an organisation, or who resolves, and return a key."""
    body = {
        "name": name,
        "organisation": name,
        "roles": ["approver" if name == "referee" else "operator"],
        "kind": "service",
    }
    headers = {"Authorization": f"Bearer {admin}"}
    added = httpx.post(f"{url}/api/v1/access/principals", json=body, headers=headers, timeout=60).raise_for_status().json()
    path = f"{url}/api/v1/access/principals/{added['id']}/keys"
    return str(httpx.post(path, json={}, headers=headers, timeout=60).raise_for_status().json()["secret"])

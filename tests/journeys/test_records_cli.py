"""Disputes from the command line: what the parties of a round and a referee type, against a real server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from clearhouse.app import cli
from serving import Program, program


class Said(NamedTuple):
    """What a verb answered."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def server(laid_out: Callable[[str], Path]) -> Iterator[Program]:
    with program(laid_out("records-cli")) as started:
        yield started.ready()


def test_a_line_is_disputed_resolved_and_traced_from_the_command_line(
    server: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = server.after("admin.key): ")
    keys = {name: party_key(server.url, admin, name) for name in ("north", "south", "referee")}

    def clearhouse(*words: str, by: str) -> Said:
        monkeypatch.setenv("CLEARHOUSE_URL", server.url)
        monkeypatch.setenv("CLEARHOUSE_KEY", keys[by])
        status = 0
        try:
            cli.main(words)
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return Said(status, str(said.out), str(said.err))

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
            f"{server.url}/settlement/roaming/update", headers={"Authorization": f"Bearer {keys[party]}"},
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
    added = httpx.post(f"{url}/api/v1/access/principals", json=body, headers=headers).raise_for_status().json()
    path = f"{url}/api/v1/access/principals/{added['id']}/keys"
    return str(httpx.post(path, json={}, headers=headers).raise_for_status().json()["secret"])

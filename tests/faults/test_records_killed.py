"""Uploads while the program is killed: what was on its way counts nothing, and is counted once when it comes again.

A soak kills the program with its own database below it; otherwise the database is one that survives, and is ready at once.
"""

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from house import ok
from serving import Program, program
from trying import SOAK

BASE = "/settlement/calls"
KEYS = 100_000 if SOAK else 3_000  # more than are merged in one transaction
PARTS = 30 if SOAK else 3
LINES = 10_000
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def folder(open_folder: Path) -> Path:
    place = Path(tempfile.mkdtemp(prefix="killed-", dir=open_folder))
    place.chmod(0o711)
    return place


def piece(number: int) -> bytes:
    start = number * LINES
    lines = (b'{"app":"%d","dur":"0.%02d"}\n' % (place % KEYS, number) for place in range(start, start + LINES))
    return b"".join(lines)


def caller(program_: Program, key: str) -> httpx.Client:
    return httpx.Client(base_url=program_.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)


def broken(started: Program, asking: httpx.Client) -> Iterator[bytes]:
    """Send parts, and kill the program once one of them is kept."""
    yield piece(0)
    yield piece(1)
    with caller(started, asking.headers["Authorization"].removeprefix("Bearer ")) as looking:
        while not ok(looking.get(f"{BASE}/uploads"))["output"]:
            yield b"\n"
    started.end(signal.SIGKILL)
    yield piece(2)


def whole() -> Iterator[bytes]:
    for number in range(PARTS):
        yield piece(number)


def total(asking: httpx.Client) -> tuple[int, set[str]]:
    sums = ok(asking.get(BASE))["output"].get("aggregates", {})
    return len(sums), {its["dur"] for its in sums.values()}


def test_an_upload_counts_once_however_the_program_was_killed_under_it(folder: Path, owner_dsn: str) -> None:
    settings: dict[str, Any] = {} if SOAK else {"DATABASE_URL": owner_dsn}
    with program(folder / "data", **settings) as first:
        key = first.ready().after("admin.key): ")
        with caller(first, key) as asking:
            operator = ok(
                asking.post("/api/v1/access/principals", json={"name": "sender", "roles": ["operator"], "kind": "service"})
            )["id"]
            key = ok(asking.post(f"/api/v1/access/principals/{operator}/keys", json={}))["secret"]
        with caller(first, key) as asking:
            body = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": "sum", "primaryKey": "app"}
            ok(asking.post("/settlement/create", json=body))
            with pytest.raises(httpx.TransportError):
                asking.post(f"{BASE}/upload?uploadId=march", content=broken(first, asking), headers=NDJSON)
    with program(folder / "data", **settings) as second:
        with caller(second.ready(), key) as asking:
            assert total(asking) == (0, set())
            assert ok(asking.get(f"{BASE}/uploads"))["output"][0]["state"] == "arriving"
            told = ok(asking.post(f"{BASE}/upload?uploadId=march", content=whole(), headers=NDJSON))["output"]["received"]
            assert told["records"] == PARTS * LINES
            before = total(asking)
            assert before[0] == KEYS
        second.end(signal.SIGKILL)  # while its sums are merged
    with program(folder / "data", **settings) as third, caller(third.ready(), key) as asking:
        assert total(asking) == before
        again = ok(asking.post(f"{BASE}/upload?uploadId=march", content=whole(), headers=NDJSON))["output"]["received"]
        assert (again["change"], again["repeated"]) == (told["change"], PARTS * LINES)
        assert json.dumps(sorted(total(asking)[1])) == json.dumps(sorted(before[1]))

"""An aggregation and a settlement of one's own: a file each, as the page of records has them, and nothing else."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearhouse.slices.records import aggregations, settlements
from house import House, ok

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "records.md"
BASE = "/settlement"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the files of the page into their folders: here into ones that are read beside them."""
    for place, text in re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_text(text)
    before = set(sys.modules)
    for package in (aggregations, settlements):
        folder = str(tmp_path / package.__name__.rpartition(".")[2])
        monkeypatch.setattr(package, "__path__", [*package.__path__, folder])
        monkeypatch.setattr(package, "FOUND", package.found())
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.usefixtures("files")
async def test_an_aggregation_and_a_settlement_are_added_by_a_file_each(house: House) -> None:
    sender = await house.caller("operator", name="sender")
    body = {
        "settleid": "calls", "aggregates": ["dur"], "aggregationType": "spread", "settlementType": "largest",
        "primaryKey": "app",
    }  # fmt: skip
    ok(await sender.post(f"{BASE}/create", json=body))
    records = [{"app": app, "dur": dur} for app, dur in (("a", 3), ("a", "9.50"), ("b", 100), ("a", -1))]
    shown = ok(await sender.post(f"{BASE}/calls/update", json={"record": records}))["output"]
    assert shown["aggregates"] == {"a": {"dur": "10.50"}, "b": {"dur": "0"}}
    assert ok(await sender.post(f"{BASE}/calls/settle"))["output"] == {"dur": {"key": "b", "sum": "100"}}
    past = ok(await sender.get(f"{BASE}/calls/history"))["output"]
    assert past[1]["aggregates"] == shown["aggregates"]


async def test_without_the_file_there_is_no_such_aggregation(house: House) -> None:
    sender = await house.caller("operator", name="sender")
    body = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": "spread", "primaryKey": "app"}
    answer = await sender.post(f"{BASE}/create", json=body)
    assert (answer.status_code, answer.json()["values"]["place"]) == (400, "aggregationType")

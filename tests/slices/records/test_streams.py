"""Streams cut into records: no row is lost or cut short without a word, and no form of a body holds much memory or time."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clearhouse.slices.records import aggregations, streams
from clearhouse.slices.records.parsing import Reader
from clearhouse.slices.records.refusals import Unparsable
from house import House, ok

BASE = "/settlement"


async def parts(text: str, *, table: bool = True) -> list[tuple[int, list[bytes]]]:
    async def body() -> AsyncIterator[bytes]:
        yield text.encode()

    return [each async for each in streams.parts(body(), table=table)]


@pytest.mark.parametrize("text", ['app,dur\nA,5" x\nB,6" y\n', 'app,dur\nA,"1"2\nB,3\n', "app,dur\nA,1\r2\n"])
async def test_a_table_whose_quotes_do_not_close_is_refused_and_no_row_of_it_is_lost(text: str) -> None:
    with pytest.raises(Unparsable) as refused:
        await parts(text)
    assert refused.value.values["place"] == "record 1"


@pytest.mark.parametrize("between", ["\u2028", "\u0085", "\x0c", "\x1c"])
async def test_a_cell_is_not_cut_short_by_what_some_take_for_the_end_of_a_line(between: str) -> None:
    found = await parts(f"app,name\nA,x{between}y\nB,z\n")
    assert len(found[0][1]) == 2
    assert Reader("app", ["name"], aggregations.FOUND["latest"]).read(found[0][1]).sums["A", 0].latest == f"x{between}y"


async def test_a_quote_that_never_closes_is_refused_in_time() -> None:
    start = time.process_time()
    with pytest.raises(Unparsable):
        await parts('app,dur\n"' + "\n" * streams.LINE_BYTES_MAX)
    assert time.process_time() - start < 10  # it was three minutes


async def test_long_lines_make_smaller_parts_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PART_BYTES_MAX", 100)
    lines = [b'{"app":"%s"}' % (b"x" * (10 + 7 * (number % 5))) for number in range(40)]
    found = await parts(b"\n".join(lines).decode(), table=False)
    assert [line for _, its in found for line in its] == lines
    assert all(sum(map(len, its[:-1])) < 100 for _, its in found)
    assert [first for first, _ in found] == [1 + sum(len(its) for _, its in found[:place]) for place in range(len(found))]


@pytest.mark.parametrize("more", ['"dur":1e99999999999999999999', '"dur":1,"recordId":"r","x":-1e99999999999999999999'])
async def test_a_number_beyond_every_bound_is_refused_with_its_place(house: House, more: str) -> None:
    sender = await house.caller("operator", name="sender")
    body: dict[str, Any] = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": "sum", "primaryKey": "app"}
    ok(await sender.post(f"{BASE}/create", json=body))
    records = f'{{"record": [{{"app":"A","dur":1}}, {{"app":"A",{more}}}]}}'
    answer: httpx.Response = await sender.post(
        f"{BASE}/calls/update", content=records, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "SETTLE-01")
    assert "record 2" in answer.json()["message"]

"""What the benches measure: each contestant, with next to nothing to do, and what is counted wrongly stops it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from clearhouse.app import server
from clearhouse.app.bench import interbank, kernel, ledger, memory, netting, reconciliation, records, statements
from clearhouse.app.bench.houses import Ground, Prepared, WrongCount, caller_of
from clearhouse.app.bench.reconciliation import WrongMatches
from clearhouse.app.bench.rounds import Contestant
from clearhouse.slices.interbank.channel import Statement
from serving import libraries

Bench = TypeVar("Bench")
SHORT = 0.05
LEDGER = ledger.Sizes(accounts=20, commands=400, batches=(100, 20), callers=(4, 8), scale=1)
KERNEL = kernel.Sizes(items=200, rows=50, wakes=3, events=20, deliveries=8)
RECORDS = records.Sizes(batch=50, few=10, many=100, read=30, writers=4, small=5, large=300)
INTERBANK = interbank.Sizes(banks=2, batch=20, lines=30, obligations=60)
BENCHES: dict[str, Prepared] = {
    "ledger": ledger.prepared(sizes=LEDGER), "kernel": kernel.prepared(KERNEL), "records": records.prepared(RECORDS),
    "interbank": interbank.prepared(INTERBANK),
}  # fmt: skip


@pytest.fixture
async def ground(owner_dsn: str) -> AsyncGenerator[Ground]:
    """Give a database as a bench has it: opened by the program, which sets a password of its own."""
    async with server.opened(owner_dsn, lambda _: None) as database:
        yield Ground(owner_dsn, database, lambda _: None)


PAGE = Path(__file__).parents[3] / "docs" / "benchmarks.md"


@pytest.mark.parametrize("name", BENCHES)
async def test_everything_that_is_measured_comes_to_a_figure(ground: Ground, name: str) -> None:
    async with BENCHES[name](ground) as contestants:
        figures = {each.name: [await each.turn(SHORT), await each.turn(SHORT)] for each in contestants}
        assert {name: found for name, found in figures.items() if min(found) <= 0} == {}
        assert len(figures) == len(contestants)
        assert_comparable(contestants)
        assert {only for only in named(name) if not any(only in each.name for each in contestants)} == set()


def named(name: str) -> set[str]:
    """Return what the page of benchmarks lets a reader choose of a bench."""
    said = re.findall(rf"^\|.*`{name} (--only [^|]+)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert said
    return {word.strip('"') for each in said for word in re.findall(r'--only ("[^"]+"|[\w-]+)', each)}


def assert_comparable(contestants: Sequence[Contestant]) -> None:
    """Every promise has a reference beside it, except memory, which has none but the machine."""
    names = {each.name for each in contestants}
    for each in contestants:
        assert each.reference is None or each.reference in names, each.name
        assert each.asked is None or each.reference is not None or each.unit == "MiB", each.name


async def test_records_that_are_lost_stop_the_bench(ground: Ground) -> None:
    bench, _ = await records._bench(ground, RECORDS)

    async def lying(_: float) -> int:
        return await bench.kernel(0, keys="few") + 1

    with pytest.raises(WrongCount, match="records, few keys"):
        await bench.counted("few", lying, SHORT)
    await bench.door.close()


async def test_items_that_find_another_stop_the_bench(ground: Ground) -> None:
    caller, book, _ = await caller_of(ground.database)
    postmaster = await memory.postmaster_of(ground.database)
    bench = reconciliation.Bench(ground.database, book, caller.id, 100, postmaster)
    await bench.bare(0)
    bench.size = 101  # one more is expected than was delivered
    with pytest.raises(WrongMatches, match="99 matches were found where 100"):
        await bench.run(0)


class Forgetting(statements.Telling):
    """A bank that leaves out the last line of a statement."""

    async def statement(self, account: str, **where: Any) -> Statement:
        told = await super().statement(account, **where)
        return msgspec.structs.replace(told, lines=told.lines[:-1])


async def test_a_statement_that_lacks_a_line_stops_the_bench(ground: Ground) -> None:
    async with interbank.prepared(INTERBANK)(ground) as contestants:
        bench = bench_of(contestants, "statement lines", statements.Bench)
        bench.bank = Forgetting(ground.database, book=bench.book)
        with pytest.raises(WrongCount, match="statement lines"):
            await bench.compare(0)


async def test_settlements_that_the_bank_has_otherwise_stop_the_bench(ground: Ground) -> None:
    async with interbank.prepared(INTERBANK)(ground) as contestants:
        bench = bench_of(contestants, "end to end", interbank.Bench)
        await bench.end_to_end(SHORT)
        await bench.bank.control.fund(f"{bench.payees[0]}:USD", "0.01")
        with pytest.raises(WrongCount, match=f"{bench.payees[0]}:USD"):
            await bench.end_to_end(SHORT)


class Misremembering(netting.Bench):
    """Somebody who says that they asked for a cent more than they did."""

    async def _fill(self) -> dict[str, Decimal]:
        owed = await super()._fill()
        owed[self.banks[0]] += Decimal("0.01")
        return owed


async def test_a_cycle_that_moves_otherwise_than_was_asked_for_stops_the_bench(ground: Ground) -> None:
    async with interbank.prepared(INTERBANK)(ground) as contestants:
        bench = bench_of(contestants, "gross settlement", netting.Bench)
        wrong = Misremembering(bench.door, bench.caller, bench.book, bench.count, bench.banks)
        with pytest.raises(WrongCount, match=bench.banks[0]):
            await wrong.gross(0)


def bench_of(contestants: Sequence[Contestant], word: str, kind: type[Bench]) -> Bench:
    """Return whose method it is that is measured under a name."""
    found = next(getattr(each.turn, "__self__", None) for each in contestants if word in each.name)
    assert isinstance(found, kind)
    return found


def test_a_bench_runs_on_a_server_of_its_own_and_prints_one_object() -> None:
    words = [
        sys.executable,
        "-P",
        "-m",
        "clearhouse.app.cli",
        "bench",
        "kernel",
        "--seconds",
        "1",
        "--json",
        "--items",
        "100",
    ]
    environment = {**os.environ, "PYTHONPATH": libraries(), "DATABASE_URL": "postgresql://nobody@192.0.2.1/somebodys"}
    said = subprocess.run(
        [*words, "--only", "stage"], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    found = json.loads(said.stdout)
    assert (found["bench"], [each["name"] for each in found["results"]]) == (
        "kernel", ["one UPDATE", "a stage that moves rows"],
    )  # fmt: skip
    assert all(each["value"] > 0 and each["rounds"] >= 1 for each in found["results"])

"""The law of records against a slow model of them: whatever is uploaded, however, together with whatever ends rounds.

The model reads from the log of changes which upload came when, and works out every state since the first with lists; the
house must show the same now, in its history, at every instant, in every settled round and in the trace of every line.
"""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

import httpx
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from clearhouse import clock
from clearhouse.kernel.access import bootstrap
from clearhouse.kernel.db.database import Database
from clearhouse.slices.records import merging, snapshots, streams, structures, uploads
from house import House, ok
from trying import tried

BASE = "/settlement"
EXACT = Context(prec=200)
LINES, MAIN, TRIES = 3, 1, 30
ORGANISATIONS = ("east", "north", "south")
KEYS = ("a", "b", "c\u00fc \U0001f600", "north", "south")
METRICS = ("dur", "fee")
TOLERANCE = Decimal("1.5")
KINDS = (
    ("mcCounter", "none"), ("sum", "none"), ("min", "none"), ("max", "none"), ("latest", "none"), ("1CDR", "none"),
    ("1CDR", "1CDR"), ("1CDR", "net"),
)  # fmt: skip
FORMS = (("json", "upload"), ("ndjson", "upload"), ("ndjson", "chunk"), ("csv", "upload"), ("csv", "chunk"))
Record = dict[str, Any]
Result = TypeVar("Result")


# What is done ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sending:
    """An upload under a name, which may come several times."""

    name: int
    organisation: str
    form: str
    mode: str
    records: tuple[tuple[str, str, str, str], ...]

    def sent(self) -> list[Record]:
        """Return its records; a member that is empty is not there."""
        named = (dict(zip(("app", *METRICS, "recordId"), each, strict=True)) for each in self.records)
        return [{name: value for name, value in each.items() if value} for each in named]

    def parts(self) -> list[list[Record]]:
        """Return its records as they are counted together."""
        size = LINES if self.mode == "chunk" else len(self.records)
        return [self.sent()[start : start + size] for start in range(0, len(self.records), size)]

    def request(self) -> tuple[str, bytes, dict[str, str], str]:
        """Return path, body, query and media type."""
        name = f"upload {self.name}"
        if self.form == "json":
            return "update", json.dumps({"record": self.sent(), "uploadId": name}).encode(), {}, "application/json"
        query = {"uploadId": name, "mode": self.mode}
        if self.form == "ndjson":
            return "upload", b"\n".join(json.dumps(each).encode() for each in self.sent()), query, "application/x-ndjson"
        rows = [",".join(("app", *METRICS, "recordId")), *(",".join(each) for each in self.records)]
        return "upload", "\n".join(rows).encode(), query, "text/csv"


numbers = st.sampled_from(["", "0", "1", "2.50", "-3", "0.001", "9" * 38, "-" + "9" * 37 + ".5"])
own = st.sampled_from(["", "", "", "r1", "r2"])


@st.composite
def record(draw: st.DrawFn) -> tuple[str, str, str, str]:
    key, dur, fee, name = draw(st.sampled_from(KEYS)), draw(numbers), draw(numbers), draw(own)
    if name and draw(st.integers(0, 3)):  # mostly the same record comes under an id, and now and then another one
        return (KEYS[len(name) % 2], "7", "", name)
    return key, dur, fee, name


@st.composite
def sendings(draw: st.DrawFn) -> list[Sending]:
    count = draw(st.integers(1, 6))
    return [
        Sending(
            name, draw(st.sampled_from(ORGANISATIONS)), *draw(st.sampled_from(FORMS)),
            tuple(draw(st.lists(record(), min_size=1, max_size=8))),
        )
        for name in range(count)
    ]  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> tuple[tuple[str, str], list[Sending], list[list[str]]]:
    """Give a kind of structure, uploads, and steps of what happens at once: an upload by its place, or another thing."""
    what = draw(sendings())
    places = [str(place) for place in range(len(what))]
    one = st.sampled_from([*places, *places, *places, "settle", "clear", "merge", "snap"])
    steps = draw(st.lists(st.lists(one, min_size=1, max_size=4), min_size=1, max_size=8))
    return draw(st.sampled_from(KINDS)), what, steps


# The model -------------------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """A record that was counted: by which change, in which round, from whom, when."""

    change: int
    round: int
    organisation: str
    at: datetime
    record: Record


@dataclass
class Model:
    """Every record in the order of the changes, and nothing summed beforehand."""

    aggregation: str
    settlement: str
    lines: list[Line] = field(default_factory=list[Line])
    met: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def count(self, change: int, round_: int, at: datetime, organisation: str, records: Sequence[Record]) -> None:
        for each in records:
            mark = (organisation if self.aggregation == "1CDR" else "", each.get("recordId", ""))
            if mark[1] and mark in self.met:
                continue
            self.met.add(mark)
            self.lines.append(Line(change, round_, organisation, at, each))

    def cells(self, round_: int, change: int) -> dict[str, dict[str, dict[str, list[tuple[str, datetime]]]]]:
        """Return what was said, by key, metric and organisation, in order."""
        found: dict[str, Any] = {}
        for line in self.lines:
            if line.round != round_ or line.change > change:
                continue
            for metric in METRICS:
                if metric in line.record:
                    whose = found.setdefault(line.record["app"], {}).setdefault(metric, {})
                    whose.setdefault(line.organisation, []).append((line.record[metric], line.at))
        return found

    def shown(self, round_: int, change: int) -> dict[str, dict[str, Any]]:
        cells = self.cells(round_, change)
        return {key: {metric: self._shown(its) for metric, its in metrics.items()} for key, metrics in cells.items()}

    def _shown(self, said: dict[str, list[tuple[str, datetime]]]) -> Any:
        if self.aggregation == "1CDR":
            return {
                whose: {
                    "sum": added(value for value, _ in its), "count": str(len(its)),
                    "first": int(its[0][1].timestamp()), "last": int(its[-1][1].timestamp()),
                }
                for whose, its in said.items()
            }  # fmt: skip
        values = [value for its in said.values() for value, _ in its]
        if self.aggregation == "mcCounter":
            return str(len(values))
        if self.aggregation == "latest":
            return values[-1]
        numbers_ = [Decimal(each) for each in values]
        return {"sum": added(values), "min": min(numbers_), "max": max(numbers_)}[self.aggregation]

    def last(self, round_: int, change: int) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for line in self.lines:
            if line.round == round_ and line.change <= change:
                metrics = {metric: line.record[metric] for metric in METRICS if metric in line.record}
                if metrics:
                    found.setdefault(line.record["app"], {}).update(metrics)
        return found

    def state(self, round_: int, change: int) -> dict[str, Any]:
        return self.last(round_, change) if self.aggregation == "latest" else self.shown(round_, change)

    def settled(self, round_: int, change: int) -> dict[str, Any]:
        if self.settlement == "none":
            return self.state(round_, change)
        cells = self.cells(round_, change)
        sums = {
            key: {
                metric: {whose: added(value for value, _ in its) for whose, its in said.items()}
                for metric, said in m.items()
            }
            for key, m in cells.items()
        }
        return self._net(sums) if self.settlement == "net" else self._compared(sums)

    @staticmethod
    def _compared(sums: dict[str, dict[str, dict[str, Decimal]]]) -> dict[str, Any]:
        parties = {whose for metrics in sums.values() for said in metrics.values() for whose in said}

        def line(said: dict[str, Decimal]) -> dict[str, Any]:
            difference = EXACT.subtract(max(said.values()), min(said.values()))
            status = "MATCHED" if difference <= TOLERANCE else "MISMATCH"
            missing = len(said) < max(2, len(parties))
            return {"values": said, "difference": difference, "status": "PARTIAL" if missing else status}

        return {key: {metric: line(said) for metric, said in metrics.items()} for key, metrics in sums.items()}

    @staticmethod
    def _net(sums: dict[str, dict[str, dict[str, Decimal]]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        pairs = {(key, whose) for key, m in sums.items() for said in m.values() for whose in said if key != whose}
        for debtor, creditor in pairs | {(creditor, debtor) for debtor, creditor in pairs}:
            for metric in METRICS:
                there = sums.get(debtor, {}).get(metric, {}).get(creditor, Decimal(0))
                back = sums.get(creditor, {}).get(metric, {}).get(debtor, Decimal(0))
                owed = EXACT.subtract(there, back)
                if owed > 0:
                    found.setdefault(debtor, {}).setdefault(metric, {})[creditor] = owed
        return found


def added(values: Any) -> Decimal:
    total = Decimal(0)
    for each in values:
        total = EXACT.add(total, Decimal(each))
    return total


def same(shown: Any, wanted: Any) -> bool:
    """Tell whether what is shown is what the model says: numbers by their value, everything else to the letter."""
    if isinstance(wanted, Decimal):
        return isinstance(shown, str) and "E" not in shown and Decimal(shown) == wanted
    if isinstance(wanted, dict):
        there = cast("dict[str, Any]", wanted)
        return there.keys() == shown.keys() and all(same(shown[name], value) for name, value in there.items())
    return bool(shown == wanted)


# The house -------------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """A house for as many histories as there are: each has a structure of its own."""

    runner: asyncio.Runner
    house: House
    callers: dict[str, httpx.AsyncClient]
    structures: int = 0

    def run(self, work: Coroutine[Any, Any, Result], at: datetime) -> Result:
        with time_machine.travel(at, tick=False):
            return self.runner.run(work)


@dataclass
class History:
    """One structure, what was asked of it, and what came back."""

    world: World
    settleid: str
    kind: tuple[str, str]
    sendings: list[Sending]
    refused: set[int] = field(default_factory=set[int])
    taken: set[int] = field(default_factory=set[int])
    ended: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    async def make(self) -> None:
        aggregation, settlement = self.kind
        body = {
            "settleid": self.settleid, "aggregates": list(METRICS), "aggregationType": aggregation, "primaryKey": "app",
            "settlementType": settlement, "tolerance": str(TOLERANCE),
        }  # fmt: skip
        ok(await self.world.callers["north"].post(f"{BASE}/create", json=body))

    async def together(self, step: Sequence[str]) -> None:
        await asyncio.gather(*(self.do(each) for each in step))

    async def do(self, what: str) -> None:
        database = self.world.house.database
        if what == "merge":
            for each in await merging.waiting(database, most=1):
                await merging.merge_part(database, each)
        elif what == "snap":
            await snapshots.take_due(database)
        elif what in {"settle", "clear"}:
            answer = await self.world.callers["south"].post(f"{BASE}/{self.settleid}/{what}")
            self.ended.append((what, ok(answer)["output"]))
        else:
            await self.send(self.sendings[int(what)])

    async def send(self, sending: Sending) -> None:
        path, body, query, media_type = sending.request()
        asked: dict[str, Any] = {"content": body, "params": query, "headers": {"Content-Type": media_type}}
        caller, place = self.world.callers[sending.organisation], f"{BASE}/{self.settleid}/{path}"
        answer = await caller.post(place, **asked)
        for _ in range(TRIES):
            if answer.status_code == 409:
                answer = await caller.post(place, **asked)
        if answer.is_success:
            self.taken.add(sending.name)
            return
        assert (answer.status_code, answer.json()["reason"]) == (422, "record_reused"), answer.text
        self.refused.add(sending.name)

    async def log(
        self,
    ) -> tuple[list[tuple[int, str, int, UUID | None, datetime]], dict[UUID, tuple[Sending, list[Record]]]]:
        async with self.world.house.database.reading([MAIN]) as tx:
            structure = await structures.find(tx, self.settleid)
            rows = await tx.tuples(
                "SELECT change, operation, round, upload, at FROM records_change WHERE structure = %s ORDER BY change",
                [structure.number],
            )
        parts = {
            uploads.id_of(structure, f"upload {each.name}", place, organisation=each.organisation): (each, part)
            for each in self.sendings
            for place, part in enumerate(each.parts())
        }
        return cast("Any", rows), parts

    async def look(self) -> None:
        """Compare everything that can be seen with the model."""
        rows, parts = await self.log()
        model = Model(*self.kind)
        counted = [upload for *_, upload, _ in rows if upload is not None]
        assert len(counted) == len(set(counted))  # nothing was counted twice
        for change, _, round_, upload, at in rows:
            if upload is not None:
                model.count(change, round_, at, parts[upload][0].organisation, parts[upload][1])
        for own_id, (sending, _) in parts.items():
            if sending.name in self.taken:
                assert own_id in counted
            elif sending.mode == "upload":
                assert own_id not in counted
        states = [model.state(round_, change) if operation == "Update" else {} for change, operation, round_, *_ in rows]
        await self.look_at_states([row[4] for row in rows], states)
        ends = [(operation, round_, change) for change, operation, round_, *_ in rows if operation in {"Settle", "Clear"}]
        await self.look_at_rounds(model, ends)
        await self.look_at_lines(model, rows[-1][2] + (rows[-1][1] in {"Settle", "Clear"}))

    async def look_at_states(self, instants: Sequence[datetime], wanted: Sequence[dict[str, Any]]) -> None:
        reader = self.world.callers["east"]
        there = await self.pages(f"{BASE}/{self.settleid}/history?limit=3")
        assert len(there) == len(wanted)
        for shown, state in zip(there, reversed(wanted), strict=True):
            assert same(shown.get("aggregates", {}), state), (shown, state)
        now = ok(await reader.get(f"{BASE}/{self.settleid}"))["output"]
        assert same(now.get("aggregates", {}), wanted[-1]), (now, wanted[-1])
        for place, (at, shown) in enumerate(zip(instants, reversed(there), strict=True)):
            if place + 1 == len(instants) or instants[place + 1] > at:
                past = ok(await reader.get(f"{BASE}/{self.settleid}", params={"at": at.isoformat()}))["output"]
                assert past == shown

    async def look_at_rounds(self, model: Model, ends: Sequence[tuple[str, int, int]]) -> None:
        settled = [model.settled(round_, change) for operation, round_, change in ends if operation == "Settle"]
        found: Any = ok(await self.world.callers["east"].get(f"{BASE}/{self.settleid}/settled"))["output"]
        shown = cast("list[Any]", found if isinstance(found, list) else [found])
        assert [same(each["aggregates"], it) for each, it in zip(shown, reversed(settled), strict=True)] == [True] * len(
            settled
        )
        said = [it for what, it in self.ended if what == "settle"]
        assert len(said) == len(settled)
        assert all(any(same(each, it) for each in said) for it in settled)
        assert len(self.ended) == len(ends)
        assert sorted(round_ for _, round_, _ in ends) == list(range(1, len(ends) + 1))

    async def look_at_lines(self, model: Model, rounds: int) -> None:
        for round_ in range(1, rounds + 1):
            for key in KEYS:
                traced = await self.pages(f"{BASE}/{self.settleid}/records", key=key, round=str(round_), limit="2")
                wanted = [line for line in model.lines if line.round == round_ and line.record["app"] == key]
                touched = {line.change for line in wanted if any(metric in line.record for metric in METRICS)}
                wanted = [line for line in wanted if line.change in touched]
                assert [(each["organisation"], each["record"]) for each in traced] == [
                    (line.organisation, line.record) for line in wanted
                ]

    async def pages(self, path: str, **query: str) -> list[Any]:
        found: list[Any] = []
        following: str | None = str(httpx.URL(path, params=query)) if query else path
        while following is not None:
            answer = await self.world.callers["east"].get(following)
            found += ok(answer)["output"]
            link = answer.headers.get("Link")
            following = None if link is None else link.partition("<")[2].partition(">")[0]
        return found


async def opened(app_dsn: str) -> tuple[Any, House, dict[str, httpx.AsyncClient]]:
    database = await Database.open(app_dsn)
    key = await bootstrap.ensure_admin(database)
    assert key is not None
    entering = House.opened(database, key)
    house = await entering.__aenter__()
    callers = {each: await house.caller("operator", name=f"of {each}", organisation=each) for each in ORGANISATIONS}
    return entering, house, callers


@pytest.mark.timeout(3_600)
def test_records_are_shown_settled_remembered_and_traced_as_their_model_does(
    app_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, value in (
        (streams, "LINES", LINES), (merging, "ROWS_AT_ONCE", 2), (snapshots, "CHANGES_BETWEEN", 2),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)  # small, so that a few records are many
    with asyncio.Runner() as runner:
        entering, house, callers = runner.run(opened(app_dsn))
        world = World(runner, house, callers)

        @tried(15, many=400)
        @given(histories())
        def holds(given_: tuple[tuple[str, str], list[Sending], list[list[str]]]) -> None:
            kind, what, steps = given_
            world.structures += 1
            history = History(world, f"s{world.structures}", kind, what)
            at = clock.now()
            world.run(history.make(), at)
            for step in steps:
                at += timedelta(seconds=1)
                world.run(history.together(step), at)
            world.run(history.look(), at)

        holds()
        runner.run(entering.__aexit__(None, None, None))
        runner.run(house.database.close())

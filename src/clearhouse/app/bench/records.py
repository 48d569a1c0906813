"""The records' bench: into mcCounter through the kernel and as NDJSON over HTTP, beside plain COPY of the same records."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import httpx

from clearhouse import ids
from clearhouse.app import server, worker
from clearhouse.app.bench.houses import WrongCount, api, caller_of, folder
from clearhouse.app.bench.rounds import Contestant, Report, race, report
from clearhouse.app.config import Config
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.binaries import client
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.records import commands, merging, states, structures, uploads
from clearhouse.slices.records.rounds import End
from clearhouse.slices.records.structures import Create, Structure

BATCH = 10_000
BATCHES = 16
IN_FLIGHT = 4
CONNECTIONS = 2
KEYS = {"few": 1_000, "many": 100_000}
READ_KEYS = 10_000
OWN = "the id of this upload"
COPIED = "COPY copied_records (book, upload, place, key, body) FROM STDIN"
LIKE = "CREATE TABLE clearhouse.copied_records (LIKE clearhouse.records_record INCLUDING ALL)"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


@dataclass(frozen=True, slots=True)
class Bench:
    """Structures to count into, and the records that are sent, as lines of JSON."""

    database: Database
    door: Door
    caller: Caller
    book: int
    structures: dict[str, Structure]
    lines: dict[str, list[bytes]]
    rows: list[str]

    async def counted(self, keys: str, send: Callable[[float], Awaitable[int]], seconds: float) -> float:
        """Return how many records a second were counted, as read back from the sums."""
        before, start = await self._sum(keys), perf_counter()
        acknowledged = await send(seconds)
        await merging.merge_due(self.database)
        elapsed = perf_counter() - start
        found = await self._sum(keys) - before
        if found != acknowledged:
            raise WrongCount(name=f"records, {keys} keys", acknowledged=str(acknowledged), found=str(found))
        return found / elapsed

    async def _sum(self, keys: str) -> int:
        statement = (
            "SELECT coalesce(sum(count), 0)::bigint AS count FROM records_aggregate"
            " WHERE book = %(book)s AND structure = %(structure)s"
        )
        async with self.database.reading([self.book]) as tx:
            found = await tx.row(statement, _Count, book=self.book, structure=self.structures[keys].number)
        return 0 if found is None else found.count

    async def kernel(self, seconds: float, *, keys: str) -> int:
        """Read batches of lines and submit them, a few at a time."""
        until = perf_counter() + seconds

        async def again() -> int:
            count = 0
            while perf_counter() < until:
                count += await self._submitted(keys)
            return count

        return sum(await asyncio.gather(*(again() for _ in range(IN_FLIGHT))))

    async def _submitted(self, keys: str) -> int:
        structure = self.structures[keys]
        parsed = uploads.read(structure, random.choice(self.lines[keys]))
        command = uploads.uploaded(structure, parsed, by="the bench:", organisation="")
        answer = (await self.door.submit(commands.UPLOAD, [command], caller=self.caller, book=self.book))[0]
        return 0 if isinstance(answer, Refusal) else answer.records

    async def http(self, seconds: float, *, keys: str, url: str, key: str, mode: str) -> int:
        """Stream NDJSON over a few connections."""
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600) as asking:
            sent = await asyncio.gather(*(self._streamed(asking, keys, seconds, mode) for _ in range(CONNECTIONS)))
        return sum(sent)

    async def _streamed(self, asking: httpx.AsyncClient, keys: str, seconds: float, mode: str) -> int:
        until = perf_counter() + seconds

        async def body() -> AsyncIterator[bytes]:
            while perf_counter() < until:
                yield random.choice(self.lines[keys]) + b"\n"

        path = f"/settlement/{self.structures[keys].settleid}/upload"
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await asking.post(path, params={"mode": mode}, content=body(), headers=headers)
        return int(answer.raise_for_status().json()["output"]["received"]["records"])

    async def copy(self, seconds: float) -> float:
        """Return the records a second that COPY appends to a table like that of the records, and nothing else."""
        count, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            rows = random.choice(self.rows).replace(OWN, str(ids.fresh()))
            async with self.database.writing() as tx:
                await tx.copy(COPIED, rows)
            count += BATCH
        return count / (perf_counter() - start)

    async def read(self, _seconds: float) -> float:
        """Return how many milliseconds it takes to show a structure of ten thousand keys."""
        start = perf_counter()
        async with self.database.reading([self.book]) as tx:
            found = await states.current(tx, await structures.find(tx, self.structures["read"].settleid))
        if len(found["aggregates"]) != READ_KEYS:
            raise WrongCount(name="keys", acknowledged=str(READ_KEYS), found=str(len(found["aggregates"])))
        return (perf_counter() - start) * 1e3

    async def single(self, _seconds: float) -> float:
        """Return how many milliseconds it takes to add one record to a structure of a hundred thousand keys."""
        structure = self.structures["many"]
        start = perf_counter()
        for _ in range(20):
            parsed = uploads.read(structure, b'{"app": "key 7", "op": 1}')
            command = uploads.uploaded(structure, parsed, by="the bench:", organisation="")
            await self.door.submit(commands.UPLOAD, [command], caller=self.caller, book=self.book)
        return (perf_counter() - start) / 20 * 1e3

    async def settle(self, seconds: float) -> float:
        """Return the milliseconds that ending a round takes while others write, in the middle."""
        writing = asyncio.create_task(self.kernel(seconds, keys="settle"))
        took: list[float] = []
        structure = self.structures["settle"]
        while not writing.done():
            await asyncio.sleep(seconds / 10)
            start = perf_counter()
            end = End(structure.settleid, structure.number, 1, "the bench:")
            await self.door.submit(commands.SETTLE, [end], caller=self.caller, book=self.book)
            took.append((perf_counter() - start) * 1e3)
        await writing
        return sorted(took)[len(took) // 2]


def _lines(keys: int, batch: int = BATCH) -> bytes:
    return b"\n".join(
        b'{"app":"key %d","op":"CREATE","corr":"AUS-%032x","amount":%d}'
        % (random.randrange(keys), random.getrandbits(128), number)
        for number in range(batch)
    )


def _rows(structure: Structure, lines: bytes) -> str:
    """Return lines as COPY takes them, made beforehand: what is measured is COPY."""
    parsed = uploads.read(structure, lines)
    pairs = zip(parsed.keys.split("\n"), parsed.bodies.split("\n"), strict=True)
    return "".join([f"1\t{OWN}\t{place}\t{key}\t{line}\n" for place, (key, line) in enumerate(pairs)])


async def run(seconds: float, *, tell: Tell) -> Report:
    """Measure everything within so many seconds, and return the report."""
    begun = perf_counter()
    async with AsyncExitStack() as stack:
        config = Config(data=stack.enter_context(folder()), rate_limit=10_000_000)
        dsn = await stack.enter_async_context(server.owner_address(config, tell))
        database = await stack.enter_async_context(server.opened(dsn, tell))
        caller, book, key = await caller_of(database)
        door = Door(database)
        working = asyncio.create_task(worker.work(database, door.committed))
        stack.callback(working.cancel)
        grant = "GRANT INSERT ON clearhouse.copied_records TO PUBLIC"
        await client(dsn, "psql", "--quiet", f"--command={LIKE}", f"--command={grant}").run()
        url = await stack.enter_async_context(api(dsn))
        made = {name: await _made(door, caller, book, name) for name in ("few", "many", "read", "settle")}
        lines = {name: [_lines(count) for _ in range(BATCHES)] for name, count in KEYS.items()}
        bench = Bench(
            database,
            door,
            caller,
            book,
            made,
            lines | {"settle": [_lines(1_000, 1_000)]},
            [_rows(made["few"], each) for each in lines["few"]],
        )
        await _filled(bench)
        server.steady()  # as the server itself does
        contestants = _contestants(bench, url, key)
        # A stream that is told to end has still to be counted, which takes about as long again.
        await race(contestants, seconds=max(5.0, (seconds - (perf_counter() - begun)) / 2), tell=tell)
        await door.close()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return report("records", contestants)


async def _made(door: Door, caller: Caller, book: int, name: str) -> Structure:
    create = Create(name, ["op"], "mcCounter", "app", "none", "the bench:")
    made = (await door.submit(commands.CREATE, [create], caller=caller, book=book))[0]
    if isinstance(made, Refusal):
        raise made
    return made


async def _filled(bench: Bench) -> None:
    """Put ten thousand keys into one structure to be read, and a hundred thousand into one to be added to."""
    for name, count in (("read", READ_KEYS), ("many", KEYS["many"])):
        for start in range(0, count, BATCH):
            body = b"\n".join(b'{"app":"key %d","op":1}' % number for number in range(start, start + BATCH))
            structure = bench.structures[name]
            command = uploads.uploaded(structure, uploads.read(structure, body), by="the bench:", organisation="")
            await bench.door.submit(commands.UPLOAD, [command], caller=bench.caller, book=bench.book)


def _contestants(bench: Bench, url: str, key: str) -> Sequence[Contestant]:
    def turn(keys: str, send: Callable[[float], Awaitable[int]]) -> Callable[[float], Awaitable[float]]:
        return partial(bench.counted, keys, send)

    rows, alone, through = "records/s", "COPY, nothing else", "kernel, 1,000 keys"
    over = partial(bench.http, keys="few", url=url, key=key)
    return [
        Contestant(alone, rows, bench.copy),
        Contestant(through, rows, turn("few", partial(bench.kernel, keys="few")), alone, 0.8, 0.5),
        Contestant("kernel, 100,000 keys", rows, turn("many", partial(bench.kernel, keys="many")), alone),
        Contestant("HTTP, by chunks", rows, turn("few", partial(over, mode="chunk")), through, 0.8, 0.5),
        Contestant("HTTP, whole", rows, turn("few", partial(over, mode="upload")), through, 0.8, 0.5),
        Contestant("one record into 100,000 keys", "milliseconds", bench.single),
        Contestant("show 10,000 keys", "milliseconds", bench.read),
        Contestant("settle under writers", "milliseconds", bench.settle),
    ]

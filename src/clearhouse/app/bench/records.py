"""The records' bench: into mcCounter through the kernel and as NDJSON over HTTP, beside plain COPY of the same records."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import httpx

from clearhouse import ids
from clearhouse.app.bench import references
from clearhouse.app.bench.houses import Ground, Prepared, WrongCount, api, caller_of, working
from clearhouse.app.bench.rounds import Contestant, Turn
from clearhouse.app.bench.writers import Writers, total
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.binaries import client
from clearhouse.kernel.db.database import Database
from clearhouse.refusals import Refusal
from clearhouse.slices.records import commands, merging, uploads
from clearhouse.slices.records.structures import Create, Structure

BATCHES = 8
FILLED_AT_ONCE = 10_000
IN_FLIGHT = 4
CONNECTIONS = 2
READS = 5
SINGLES = 20
OWN = "the id of this upload"
COPIED = "COPY copied_records (book, upload, place, key, body) FROM STDIN"
LIKE = "CREATE TABLE clearhouse.copied_records (LIKE clearhouse.records_record INCLUDING ALL)"
SELECT = "SELECT key, metric, count FROM records_aggregate WHERE book = %(book)s AND structure = %(structure)s"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of each thing."""

    batch: int = 10_000
    few: int = 1_000
    many: int = 100_000
    read: int = 10_000
    writers: int = 32
    small: int = 100
    large: int = 200_000

    @property
    def keys(self) -> dict[str, int]:
        """Return how many keys each structure has that is counted into."""
        return {"few": self.few, "many": self.many}


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
    sizes: Sizes

    async def counted(self, keys: str, send: Callable[[float], Awaitable[int]], seconds: float) -> float:
        """Return how many records a second were counted, as read back from the sums."""
        structure = self.structures[keys]
        before, start = await total(self.database, self.book, structure), perf_counter()
        acknowledged = await send(seconds)
        await merging.merge_due(self.database)
        elapsed = perf_counter() - start
        found = await total(self.database, self.book, structure) - before
        if found != acknowledged:
            raise WrongCount(name=f"records, {keys} keys", acknowledged=str(acknowledged), found=str(found))
        return found / elapsed

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
            yield random.choice(self.lines[keys]) + b"\n"
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
                await references.append(tx, COPIED, rows)
            count += self.sizes.batch
        return count / (perf_counter() - start)

    async def read(self, _seconds: float, *, url: str, key: str) -> float:
        """Return how many milliseconds a GET of a structure with many keys takes, the first byte to the last."""
        path = f"/settlement/{self.structures['read'].settleid}"
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600) as asking:
            await asking.get("/health")  # connected
            start = perf_counter()
            answers = [await asking.get(path) for _ in range(READS)]
            elapsed = perf_counter() - start
        self._check(len(answers[0].raise_for_status().json()["output"]["aggregates"]))
        return elapsed / READS * 1e3

    async def select(self, _seconds: float) -> float:
        """Return how many milliseconds it takes to read the rows of the same structure, and nothing else."""
        values: dict[str, object] = {"book": self.book, "structure": self.structures["read"].number}
        async with self.database.reading([self.book]) as tx:
            start = perf_counter()
            found = [await tx.tuples(SELECT, values) for _ in range(READS)]
            elapsed = perf_counter() - start
        self._check(len(found[0]))
        return elapsed / READS * 1e3

    def _check(self, keys: int) -> None:
        if keys != self.sizes.read:
            raise WrongCount(name="keys", acknowledged=str(self.sizes.read), found=str(keys))

    async def single(self, _seconds: float, *, keys: str) -> float:
        """Return how many milliseconds it takes to add one record to a structure."""
        structure = self.structures[keys]
        start = perf_counter()
        for _ in range(SINGLES):
            parsed = uploads.read(structure, b'{"app": "key 7", "op": 1}')
            command = uploads.uploaded(structure, parsed, by="the bench:", organisation="")
            await self.door.submit(commands.UPLOAD, [command], caller=self.caller, book=self.book)
        return (perf_counter() - start) / SINGLES * 1e3


def _lines(keys: int, batch: int) -> bytes:
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


def prepared(sizes: Sizes | None = None) -> Prepared:
    """Return what is measured, of these sizes."""

    @asynccontextmanager
    async def opened(here: Ground) -> AsyncGenerator[Sequence[Contestant]]:
        bench, key = await _bench(here, sizes or Sizes())
        into, lines = bench.structures["settled"], _lines(bench.sizes.few, bench.sizes.small)
        dsn, caller = here.database.dsn, bench.caller
        async with working(bench.door), api(here.dsn) as url, AsyncExitStack() as stack:
            opening = Writers.opened(
                dsn,
                bench.sizes.writers,
                caller=caller,
                book=bench.book,
                structure=into,
                lines=lines,
                large=bench.sizes.large,
            )
            writers = await stack.enter_async_context(opening)
            await _filled(bench)
            yield [*_contestants(bench, url, key), *_waits(writers)]

    return opened


async def _bench(here: Ground, sizes: Sizes) -> tuple[Bench, str]:
    grant = "GRANT INSERT ON clearhouse.copied_records TO PUBLIC"
    await client(here.dsn, "psql", "--quiet", f"--command={LIKE}", f"--command={grant}").run()
    caller, book, key = await caller_of(here.database)
    door = Door(here.database)
    made = {name: await _made(door, caller, book, name) for name in ("few", "many", "read", "settled")}
    lines = {name: [_lines(count, sizes.batch) for _ in range(BATCHES)] for name, count in sizes.keys.items()}
    rows = [_rows(made["few"], each) for each in lines["few"]]
    return Bench(here.database, door, caller, book, made, lines, rows, sizes), key


async def _made(door: Door, caller: Caller, book: int, name: str) -> Structure:
    create = Create(name, ["op"], "mcCounter", "app", "none", "the bench:")
    made = (await door.submit(commands.CREATE, [create], caller=caller, book=book))[0]
    if isinstance(made, Refusal):
        raise made
    return made


async def _filled(bench: Bench) -> None:
    """Put keys into the structures that are read and added to."""
    for name, count in {"read": bench.sizes.read, **bench.sizes.keys}.items():
        for start in range(0, count, FILLED_AT_ONCE):
            numbers = range(start, min(start + FILLED_AT_ONCE, count))
            body = b"\n".join(b'{"app":"key %d","op":1}' % number for number in numbers)
            structure = bench.structures[name]
            command = uploads.uploaded(structure, uploads.read(structure, body), by="the bench:", organisation="")
            await bench.door.submit(commands.UPLOAD, [command], caller=bench.caller, book=bench.book)
    await merging.merge_due(bench.database)


def _contestants(bench: Bench, url: str, key: str) -> Sequence[Contestant]:
    def turn(keys: str, send: Callable[[float], Awaitable[int]]) -> Turn:
        return partial(bench.counted, keys, send)

    few, many, read = (f"{count:,} keys" for count in (bench.sizes.few, bench.sizes.many, bench.sizes.read))
    rows, alone, through, select = "records/s", "COPY, nothing else", f"kernel, {few}", f"SELECT of {read}, nothing else"
    over = partial(bench.http, keys="few", url=url, key=key)
    one, of_many = partial(bench.single, keys="few"), partial(bench.single, keys="many")
    return [
        Contestant(alone, rows, bench.copy),
        Contestant(through, rows, turn("few", partial(bench.kernel, keys="few")), alone, 0.8, 0.5, 100_000),
        Contestant(f"kernel, {many}", rows, turn("many", partial(bench.kernel, keys="many")), alone),
        Contestant("HTTP, by chunks", rows, turn("few", partial(over, mode="chunk")), through, 0.8, 0.5, 50_000),
        Contestant("HTTP, whole", rows, turn("few", partial(over, mode="upload")), through, 0.8, 0.5, 50_000),
        Contestant(f"one record into {few}", "milliseconds", one),
        Contestant(f"one record into {many}", "milliseconds", of_many, f"one record into {few}", 1.0, 1.5),
        Contestant(select, "milliseconds", bench.select),
        Contestant(f"GET of {read}", "milliseconds", partial(bench.read, url=url, key=key), select, asked=50),
    ]


def _waits(writers: Writers) -> Sequence[Contestant]:
    name = f"longest wait of {len(writers.doors)} writers"
    alone = f"{name}, nobody settles"
    return [
        Contestant(alone, "milliseconds", writers.undisturbed),
        Contestant(f"{name}, rounds are settled", "milliseconds", writers.settled, alone, asked=100),
        Contestant(
            f"{name}, rounds are settled while an upload is merged", "milliseconds", writers.merged, alone, asked=100
        ),
    ]

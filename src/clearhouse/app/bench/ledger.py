"""The ledger's bench: the posting engine alone and through the door, single callers, HTTP, and reads."""

import asyncio
import random
import statistics
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import perf_counter

from clearhouse import clock, ids
from clearhouse.app.bench import references
from clearhouse.app.bench.houses import Ground, Prepared, WrongCount, api, caller_of, working
from clearhouse.app.bench.http_load import load
from clearhouse.app.bench.rounds import ROUNDS, Contestant, Tell
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.ledger import accounts, balances, posting
from clearhouse.kernel.ledger.accounts import OpenAccount
from clearhouse.kernel.ledger.transfers import Leg, Posted, PostTransaction
from clearhouse.refusals import Refusal
from clearhouse.slices.operations.commands import POST

OPENED_AT_ONCE = 5_000
IN_FLIGHT = 2
READS = 200


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of each thing."""

    accounts: int = 10_000
    commands: int = 64_000
    batches: tuple[int, int] = (8_000, 1_000)
    callers: tuple[int, int] = (64, 256)
    scale: int = 10


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


@dataclass(frozen=True, slots=True)
class _Number:
    id: int


@dataclass(frozen=True, slots=True)
class Bench:
    """A ledger to post into, and who posts."""

    database: Database
    door: Door
    caller: Caller
    book: int
    uniform: Sequence[PostTransaction]
    hot: Sequence[PostTransaction]
    sizes: Sizes

    async def counted(self, name: str, post: Callable[[float], Awaitable[int]], seconds: float) -> float:
        """Return how many a second `post` posted, as read back."""
        before, start = await self._transfers(), perf_counter()
        acknowledged = await post(seconds)
        elapsed = perf_counter() - start
        found = await self._transfers() - before
        if found != acknowledged:
            raise WrongCount(name=name, acknowledged=str(acknowledged), found=str(found))
        return found / elapsed

    async def _transfers(self) -> int:
        async with self.database.reading([self.book]) as tx:
            found = await tx.row("SELECT count(*) AS count FROM ledger_transfer WHERE book = %(book)s", _Count, book=tx.book)
            return 0 if found is None else found.count

    async def engine(self, seconds: float, *, batch: int, hot: bool) -> int:
        """Post batches straight into the ledger, two at a time."""
        return await self._in_flight(seconds, partial(self._post, batch=batch, hot=hot))

    async def submitted(self, seconds: float, *, batch: int, hot: bool) -> int:
        """Post batches through the door: keys, journal and all."""
        return await self._in_flight(seconds, partial(self._submit, batch=batch, hot=hot))

    async def callers(self, seconds: float, *, count: int, hot: bool = False) -> int:
        """Let single callers post one transaction after another, each with a key."""
        until = perf_counter() + seconds
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._single(place, until, hot=hot)) for place in range(count)]
        return sum(each.result() for each in running)

    async def _single(self, place: int, until: float, *, hot: bool) -> int:
        commands, count = self.hot if hot else self.uniform, 0
        while perf_counter() < until:
            key = f"{place}-{count}-{until}"
            answers = await self.door.submit(POST, [random.choice(commands)], caller=self.caller, book=self.book, key=key)
            count += isinstance(answers[0], Posted)
        return count

    async def _in_flight(self, seconds: float, once: Callable[[], Awaitable[int]]) -> int:
        until = perf_counter() + seconds

        async def again() -> int:
            count = await once()
            while perf_counter() < until:
                count += await once()
            return count

        return sum(await asyncio.gather(*(again() for _ in range(IN_FLIGHT))))

    async def _post(self, *, batch: int, hot: bool) -> int:
        by = self.caller.id
        for careful in (False, True, True, True):
            asked = [Asked(command, ids.fresh(), by) for command in self._some(batch, hot=hot)]
            try:
                async with self.database.writing(book=self.book, careful=careful) as tx:
                    return _posted(await posting.post(tx, asked, clock.now()))
            except Stale:
                continue
        return 0

    async def _submit(self, *, batch: int, hot: bool) -> int:
        return _posted(await self.door.submit(POST, self._some(batch, hot=hot), caller=self.caller, book=self.book))

    def _some(self, batch: int, *, hot: bool) -> Sequence[PostTransaction]:
        start = random.randrange(self.sizes.commands - batch)
        return (self.hot if hot else self.uniform)[start : start + batch]

    async def read(self, _seconds: float, *, account: str) -> float:
        """Return how many microseconds a balance takes, now and as of an instant."""
        at = datetime(2026, 1, 1, tzinfo=clock.now().tzinfo)
        async with self.database.reading([self.book]) as tx:
            start = perf_counter()
            for _ in range(READS):
                found = await accounts.find(tx, account, "USD")
                balances.balance_now(found)
                await balances.balance_at(tx, found, at)
            return (perf_counter() - start) / READS * 1e6


def _posted(answers: Sequence[Posted | Refusal]) -> int:
    return sum(isinstance(each, Posted) for each in answers)


def _payment(debit: int, credit: int) -> PostTransaction:
    return PostTransaction([Leg(debit=f"a:{debit}", credit=f"a:{credit}", amount="1.00", currency="USD")])


def prepared(tigerbeetle: str | None = None, behind: int = 0, *, sizes: Sizes | None = None) -> Prepared:
    """Return what is measured, with so many transfers behind it."""

    @asynccontextmanager
    async def opened(here: Ground) -> AsyncGenerator[Sequence[Contestant]]:
        size = sizes or Sizes()
        here.tell(f"opening {size.accounts:,} accounts for callers here and as many for HTTP")
        bench, key = await _bench(here.database, size)
        await references.prepare(here.dsn, size.scale)
        async with working(bench.door), api(here.dsn) as url:
            contestants = _contestants(bench, here.dsn, url, key, tigerbeetle)
            if behind:
                contestants.append(await _filled(bench, behind, here.tell))
            yield contestants

    return opened


async def _filled(bench: Bench, behind: int, tell: Tell) -> Contestant:
    """Measure the empty ledger, then post so many transfers, so that all else is measured with them behind it."""
    young: list[float] = []
    most = bench.sizes.batches[0]
    for _ in range(ROUNDS):
        young.append(await bench.counted("empty", partial(bench.submitted, batch=most, hot=False), 1.0))
        tell(f"empty: {young[-1]:,.0f} transfers/s")
    posted = 0
    while posted < behind:
        posted += await bench.submitted(10.0, batch=most, hot=False)
        tell(f"{posted:,} of {behind:,} transfers are behind")

    async def old(seconds: float) -> float:
        now = await bench.counted("filled", partial(bench.submitted, batch=most, hot=False), seconds)
        return now / statistics.median(young)

    return Contestant(f"submit {most} with {posted:,} behind ÷ empty", "ratio", old)


async def _bench(database: Database, sizes: Sizes) -> tuple[Bench, str]:
    async with database.writing() as tx:
        tx.book = _first(await tx.rows("SELECT id FROM book WHERE name = 'main'", _Number))
        at = clock.now()
        for start in range(0, sizes.accounts, OPENED_AT_ONCE):
            numbers = range(start, min(start + OPENED_AT_ONCE, sizes.accounts))
            wanted = [OpenAccount(code=f"{set_}:{number}", asset="USD") for set_ in ("a", "h") for number in numbers]
            await accounts.open_accounts(tx, [Asked(each, ids.fresh(), ids.NOBODY) for each in wanted], at)
    caller, book, secret = await caller_of(database)
    uniform = [_payment(*random.sample(range(sizes.accounts), 2)) for _ in range(sizes.commands)]
    hot = [_payment(0, random.randrange(1, sizes.accounts)) for _ in range(sizes.commands)]
    return Bench(database, Door(database), caller, book, uniform, hot, sizes), secret


def _first(rows: Sequence[_Number]) -> int:
    return rows[0].id


def _contestants(bench: Bench, dsn: str, url: str, key: str, tigerbeetle: str | None) -> list[Contestant]:
    def posting_turn(name: str, post: Callable[[float], Awaitable[int]]) -> Callable[[float], Awaitable[float]]:
        return partial(bench.counted, name, post)

    async def over_http(seconds: float) -> int:
        return (
            await load(url, key, connections=bench.sizes.callers[0], accounts=bench.sizes.accounts, seconds=seconds)
        ).posted

    rows, tps, time = "transfers/s", "transactions/s", "microseconds"
    beetle = references.TigerBeetle(tigerbeetle, 10_000) if tigerbeetle else None
    found = [
        Contestant("pgbench", tps, partial(references.pgbench, dsn)),
        Contestant("COPY, nothing else", "rows/s", partial(references.copy, bench.database)),
    ]
    for batch in bench.sizes.batches:
        reference = f"TigerBeetle {batch}"
        if beetle is not None:
            found.append(Contestant(reference, rows, partial(beetle.turn, batch=batch, hot=False)))
        for hot in (False, True):
            shape = f"{batch} {'hot' if hot else 'uniform'}"
            against = f"engine {batch} uniform" if hot else reference if beetle else "COPY, nothing else"
            engine = posting_turn(f"engine {shape}", partial(bench.engine, batch=batch, hot=hot))
            goals = (0.9, 1.2) if hot else (0.5, 1.0) if beetle else (None, None)
            found.append(Contestant(f"engine {shape}", rows, engine, against, goals[1], goals[0]))
        door = posting_turn(f"submit {batch}", partial(bench.submitted, batch=batch, hot=False))
        goals = (0.3, 0.6) if beetle else (None, None)
        against = reference if beetle else "COPY, nothing else"
        found.append(Contestant(f"submit {batch} uniform", rows, door, against, goals[1], goals[0]))
    for count in bench.sizes.callers:
        single = posting_turn(f"{count} callers", partial(bench.callers, count=count))
        found.append(Contestant(f"{count} single callers", rows, single, "pgbench", 5.0, 2.0))
    found.append(
        Contestant(
            f"{bench.sizes.callers[0]} single callers, hot",
            rows,
            posting_turn("hot callers", partial(bench.callers, count=bench.sizes.callers[0], hot=True)),
            "pgbench",
        )
    )
    found.append(
        Contestant(f"HTTP, {bench.sizes.callers[0]} connections", rows, posting_turn("HTTP", over_http), "pgbench", 2.5, 1.2)
    )
    found.append(Contestant("balance read, few behind it", time, partial(bench.read, account="a:1")))
    found.append(
        Contestant(
            "balance read, most behind it", time, partial(bench.read, account="a:0"), "balance read, few behind it", 1.0, 1.5
        )
    )
    return found

"""The database as the kernel sees it: two pools, one for writers and one for readers, and transactions on them.

Promise: a writer sees every book but must name it in every statement; a reader sees only the books it was opened for,
by row security; a transaction either commits whole or leaves nothing, and what the driver raises is told in our words.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import kwargs_row, tuple_row
from psycopg_pool import PoolClosed, PoolTimeout

from clearhouse.kernel.db.faults import Away, Unwritable, translated
from clearhouse.kernel.db.jobs import SCHEMA as JOBS
from clearhouse.kernel.db.loops import Loops
from clearhouse.kernel.db.pools import Lines, Pool
from clearhouse.kernel.db.reaching import address

Row = TypeVar("Row")
WRITER = "clearhouse_writer"
READER = "clearhouse_reader"
# Whatever the statistics say, and a new table has none: a writer looks up what it changes, a reader goes along an index.
# What has to look at everything says so itself.
AVOIDED = {
    WRITER: ("seqscan", "hashjoin", "mergejoin", "material", "memoize"),
    READER: ("seqscan", "bitmapscan", "sort"),
}
_Values = Sequence[object] | dict[str, object]
_BEGIN: tuple[LiteralString, _Values] = ("BEGIN", ())
_BEGIN_READING: tuple[LiteralString, _Values] = ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", ())
_SEE: LiteralString = "SELECT set_config('clearhouse.books', %s, true)"
OPENING_SECONDS_MAX = 30.0
WAIT_SECONDS_MAX = 10.0
LOCK_MILLISECONDS_MAX = 2_000


@dataclass(slots=True)
class Tx:
    """One transaction of one book. `careful` says that an earlier try met somebody else: look first, then write.

    `queued` goes out together with the next statement, in one round trip: at first what opens the transaction, then
    whatever `later` was told. Every statement stands in our own files, so none of them was made of input.
    """

    database: "Database"
    connection: AsyncConnection[tuple[object, ...]]
    queued: list[tuple[LiteralString, _Values]]
    book: int = 0
    careful: bool = False
    undo: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    over: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    wakes: set[str] = field(default_factory=set[str])

    def wake(self, *stages: str) -> None:
        """Say that this transaction makes rows that these stages can take as soon as it is committed."""
        self.wakes.update(stages)

    def take_wakes(self) -> list[str]:
        """Return which stages there is work for, to whoever passes it on."""
        taken, self.wakes = sorted(self.wakes), set()
        return taken

    def when_over(self, tell: Callable[[], None]) -> None:
        """Run something when this transaction is committed or rolled back."""
        self.over.append(tell)

    def if_rolled_back(self, forget: Callable[[], None]) -> None:
        """Run something in memory if this transaction does not commit."""
        self.undo.append(forget)

    async def rows(self, statement: str, kind: Callable[..., Row], /, **values: object) -> list[Row]:
        """Return every row that a statement gives, each as a `kind`."""
        async with self.connection.cursor(row_factory=kwargs_row(kind)) as cursor:
            await self._run(cursor, statement, values)
            return await cursor.fetchall()

    async def row(self, statement: str, kind: Callable[..., Row], /, **values: object) -> Row | None:
        """Return the first row that a statement gives, if there is one."""
        async with self.connection.cursor(row_factory=kwargs_row(kind)) as cursor:
            await self._run(cursor, statement, values)
            return await cursor.fetchone()

    async def tuples(self, statement: str, values: Sequence[object] | dict[str, object] = ()) -> list[tuple[object, ...]]:
        """Return every row that a statement gives, as it comes."""
        async with self.connection.cursor(row_factory=tuple_row) as cursor:
            await self._run(cursor, statement, values)
            return await cursor.fetchall()

    async def do(self, statement: str, /, **values: object) -> int:
        """Run a statement and return how many rows it touched."""
        async with self.connection.cursor() as cursor:
            await self._run(cursor, statement, values)
            return cursor.rowcount

    def later(self, statement: str, /, **values: object) -> None:
        """Run a statement whose answer nobody needs, together with the next one or with the commit."""
        self.queued.append((_trusted(statement), values))

    @asynccontextmanager
    async def attempt(self) -> AsyncGenerator[None]:
        """Undo what the block did, and only that, if it raises: for what is rare, large and all or nothing."""
        await self.flush()
        mark = len(self.undo)
        try:
            async with self.connection.transaction():  # a savepoint, since a transaction is open
                yield
                await self.flush()
        except BaseException:
            for forget in self.undo[mark:]:
                forget()
            self.queued.clear()
            raise

    async def stream(
        self, statement: str, kind: Callable[..., Row], /, *, size: int = 1_000, **values: object
    ) -> AsyncIterator[Row]:
        """Give the rows of a statement one after another, in constant memory."""
        await self.flush()
        name = "stream"
        async with self.connection.cursor(name=name, row_factory=kwargs_row(kind)) as cursor:
            cursor.itersize = size
            await cursor.execute(_trusted(statement), values)
            async for row in cursor:
                yield row

    async def flush(self) -> None:
        """Send what is queued, and wait until it is done."""
        if self.queued:
            sent, self.queued = self.queued, []
            async with self.connection.pipeline():
                for statement, values in sent:
                    await self.connection.execute(statement, values or None)

    async def commit(self) -> None:
        """Commit, together with what is queued; a transaction in which nothing was done is none."""
        if self.queued and self.queued[0] is _BEGIN and len(self.queued) == 1:
            return
        self.later("COMMIT")
        await self.flush()

    async def _run(self, cursor: "AsyncCursor[Any]", statement: str, values: _Values) -> None:
        if not self.queued:
            await cursor.execute(_trusted(statement), values or None)
            return
        sent, self.queued = self.queued, []
        async with self.connection.pipeline():
            for early, its in sent:
                await self.connection.execute(early, its or None)
            await cursor.execute(_trusted(statement), values or None)


@dataclass(frozen=True, eq=False)
class Database:
    """An open database: `writing()` and `reading(books)` give transactions; `loops` are those of this process on it."""

    writers: Pool
    readers: Pool
    dsn: str
    lines: Lines
    loops: Loops = field(default_factory=Loops)

    @classmethod
    async def open(cls, dsn: str, *, writers_max: int = 6, readers_max: int = 6) -> "Database":
        """Open both pools on a migrated database."""
        lines = Lines()
        opened = cls(
            writers=_pool(dsn, lines, role=WRITER, size_max=writers_max),
            readers=_pool(dsn, lines, role=READER, size_max=readers_max),
            dsn=dsn,
            lines=lines,
        )
        await opened.writers.open(wait=True, timeout=OPENING_SECONDS_MAX)
        await opened.readers.open(wait=True, timeout=OPENING_SECONDS_MAX)
        return opened

    @property
    def address(self) -> str:
        """Where it is: for a connection that is no pool's."""
        return str(self.writers.conninfo)

    def jobs_pool(self, *, min_size: int, max_size: int, timeout: float, **_: object) -> Pool:
        """Return a pool for the job runner, which finds its own tables by name, and nothing else; and no check but ours."""
        needed = {"role": WRITER, "search_path": JOBS, "timezone": "UTC"}
        return Pool(
            address(self.dsn, name=JOBS, needed=needed),
            lines=self.lines,
            asks=True,
            min_size=min_size,
            max_size=max_size,
            timeout=timeout,
            configure=self.lines.join,
        )

    async def close(self) -> None:
        """Give every connection back."""
        await asyncio.gather(self.writers.close(), self.readers.close())

    @asynccontextmanager
    async def writing(self, *, book: int = 0, careful: bool = False) -> AsyncGenerator[Tx]:
        """Open a transaction under the writer role, READ COMMITTED."""
        async with _connection(self.writers) as connection, _told():
            tx = Tx(self, connection, [_BEGIN], book=book, careful=careful)
            try:
                yield tx
                await tx.commit()
            except BaseException:
                for forget in tx.undo:
                    forget()
                await _roll_back(connection)
                raise
            finally:
                for tell in tx.over:
                    tell()

    @asynccontextmanager
    async def reading(self, books: Iterable[int]) -> AsyncGenerator[Tx]:
        """Open a read-only transaction that sees one state of the given books and nothing of any other."""
        seen = sorted(books)
        async with _connection(self.readers) as connection, _told():
            opening: list[tuple[LiteralString, _Values]] = [_BEGIN_READING, (_SEE, [_array(seen)])]
            try:
                yield Tx(self, connection, opening, book=seen[0] if len(seen) == 1 else 0)
            finally:
                await _roll_back(connection)


class _WholeNumbers(Loader):
    """NUMERIC without a fraction comes as int: counters and amounts are whole numbers of minor units."""

    def load(self, data: Buffer) -> int | Decimal:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else Decimal(text.decode())


def _array(books: Iterable[int]) -> str:
    return "{" + ",".join(str(book) for book in books) + "}"


def _trusted(statement: str) -> LiteralString:
    return cast("LiteralString", statement)  # statements come from our own .sql files, never from input


def _pool(dsn: str, lines: Lines, *, role: str, size_max: int) -> Pool:
    plans = {f"enable_{each}": "off" for each in AVOIDED[role]} | {"random_page_cost": 0}
    needed = {"role": role, "search_path": "clearhouse", "timezone": "UTC"} | plans
    where = address(dsn, name=role, needed=needed, wanted={"lock_timeout": LOCK_MILLISECONDS_MAX})

    async def configure(connection: AsyncConnection[tuple[object, ...]]) -> None:
        connection.adapters.register_loader("numeric", _WholeNumbers)
        await lines.join(connection)

    return Pool(
        where,
        lines=lines,
        asks=role == READER,
        min_size=1,
        max_size=size_max,
        configure=configure,
        kwargs={"autocommit": True, "prepare_threshold": 2},
    )


@asynccontextmanager
async def _connection(pool: Pool) -> AsyncGenerator[AsyncConnection[tuple[object, ...]]]:
    try:
        connection = await pool.getconn(timeout=WAIT_SECONDS_MAX)
    except (PoolTimeout, PoolClosed) as error:
        message = "no connection to the database could be had"
        raise Away(message) from error
    try:
        yield connection
    finally:
        await pool.putconn(connection)


@asynccontextmanager
async def _told() -> AsyncGenerator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise translated(error) from error
    except UnicodeEncodeError as error:  # half a surrogate pair: the driver cannot send it
        raise Unwritable(str(error)) from error


async def _roll_back(connection: AsyncConnection[tuple[object, ...]]) -> None:
    if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
        return
    try:
        await connection.rollback()  # the driver's own: it also forgets what a pipeline that broke off did not prepare
    except psycopg.Error:
        await connection.close()

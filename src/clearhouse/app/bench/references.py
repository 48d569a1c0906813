"""The references: pgbench as it comes with the server, plain COPY into the same table, and TigerBeetle's Python client."""

import random
import re
from importlib import import_module
from time import perf_counter
from typing import Any, LiteralString

from clearhouse import clock, ids
from clearhouse.kernel.db.binaries import client
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.refusals import Kind, Refusal

CLIENTS = 16
COPIED = 8_000
ACCOUNTS = 10_000
_COPY = """
COPY copied (
    book, id, sequence, transaction, position, kind, booked, effective, debit, credit, amount,
    debit_debits_posted, debit_credits_posted, debit_debits_pending, debit_credits_pending,
    credit_debits_posted, credit_credits_posted, credit_debits_pending, credit_credits_pending
) FROM STDIN
"""


class PgbenchSilent(Refusal):
    """pgbench did not say how fast it was: {said}"""  # noqa: D400 - what it said ends it

    code = "pgbench_silent"
    kind = Kind.UNAVAILABLE


class TigerBeetleMissing(Refusal):
    """TigerBeetle's client is not installed; it is the extra `bench` of this package."""

    code = "tigerbeetle_missing"
    kind = Kind.UNAVAILABLE


async def prepare(dsn: str, scale: int) -> None:
    """Make the tables of pgbench, and one like that of the transfers, with all of its indexes, to copy into."""
    await client(dsn, "pgbench", "--initialize", f"--scale={scale}", "--quiet").run()
    made = "CREATE TABLE clearhouse.copied (LIKE clearhouse.ledger_transfer INCLUDING ALL)"
    await client(dsn, "psql", "--quiet", f"--command={made}", "--command=GRANT INSERT ON clearhouse.copied TO PUBLIC").run()


async def pgbench(dsn: str, seconds: float) -> float:
    """Return the transactions a second of pgbench's TPC-B-like script."""
    arguments = (f"--client={CLIENTS}", "--jobs=2", "--protocol=prepared", "--no-vacuum", f"--time={max(1, round(seconds))}")
    said = await client(dsn, "pgbench", *arguments).run()
    found = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
    if found is None:
        raise PgbenchSilent(said=said[-300:])
    return float(found[1])


async def append(tx: Tx, statement: LiteralString, lines: str) -> None:
    """Append rows in COPY's text format, which no table of ours takes: it has row security."""
    await tx.flush()
    async with tx.connection.cursor() as cursor, cursor.copy(statement) as copying:
        await copying.write(lines)


async def copy(database: Database, seconds: float) -> float:
    """Return the rows a second that COPY appends to a table like that of the transfers, and nothing else."""
    accounts = [str(ids.fresh()) for _ in range(ACCOUNTS)]
    count, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        lines = "".join(_line(accounts) for _ in range(COPIED))
        async with database.writing() as tx:
            await append(tx, _COPY, lines)
        count += COPIED
    return count / (perf_counter() - start)


def _line(accounts: list[str]) -> str:
    own = ids.fresh()
    debit, credit = random.sample(accounts, 2)
    now = clock.now()
    counters = "100\t100\t0\t0\t100\t100\t0\t0"
    return f"1\t{own}\t0\t{own}\t0\t0\t{now.isoformat()}\t{now.date()}\t{debit}\t{credit}\t100\t{counters}\n"


class TigerBeetle:
    """TigerBeetle's synchronous client on a server that somebody else runs."""

    def __init__(self, address: str, accounts: int) -> None:
        try:
            self._tb: Any = import_module("tigerbeetle")
        except ImportError as error:
            raise TigerBeetleMissing from error
        self._client: Any = self._tb.ClientSync(cluster_id=0, replica_addresses=address)
        self._accounts = [self._tb.id() for _ in range(accounts)]
        made = [self._tb.Account(id=each, ledger=1, code=1) for each in self._accounts]
        for start in range(0, len(made), COPIED):
            self._client.create_accounts(made[start : start + COPIED])

    async def turn(self, seconds: float, *, batch: int, hot: bool) -> float:
        """Return the transfers a second in batches of a size."""
        count, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            wrong = self._client.create_transfers([self._transfer(hot=hot) for _ in range(batch)])
            count += batch - len([each for each in wrong if "CREATED" not in str(each)])
        return count / (perf_counter() - start)

    def _transfer(self, *, hot: bool) -> Any:
        debit, credit = random.sample(self._accounts, 2)
        debit = self._accounts[0] if hot and credit != self._accounts[0] else debit
        return self._tb.Transfer(
            id=self._tb.id(), debit_account_id=debit, credit_account_id=credit, amount=100, ledger=1, code=1
        )

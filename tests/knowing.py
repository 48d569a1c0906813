"""What PostgreSQL knows of its tables, held still for a test: nothing, what was so long ago, or what is so now.

What a thing costs is told by what it looks at, and by nothing else: rows of tables and indexes, or blocks.
"""

from collections.abc import Sequence

import psycopg

from clearhouse.kernel.db.database import Tx

_TABLES = (
    "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'clearhouse'::regnamespace AND c.relkind = 'r'"
)
_FORGET = """
SELECT pg_clear_relation_stats(n.nspname::text, c.relname::text), (
    SELECT count(pg_clear_attribute_stats(n.nspname::text, c.relname::text, a.attname::text, false))
    FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'clearhouse' AND c.relkind IN ('r', 'i')
"""
_BLOCKS = """
SELECT coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = 'clearhouse'::regnamespace AND relkind IN ('r', 'i')
"""
# Of tables read whole, and of indexes, whether or not the rows behind them were read.
_ROWS = """
SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = 'clearhouse'::regnamespace AND relkind IN ('r', 'i') AND relname LIKE %s
"""


async def by_hand(owner_dsn: str) -> None:
    """Let the server learn nothing by itself."""
    async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as owner:
        for (table,) in await (await owner.execute(_TABLES)).fetchall():
            await owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())


async def learn(owner_dsn: str) -> None:
    """Do what the server does by itself within a minute: learn what there is, and forget what is gone."""
    await _do(owner_dsn, "VACUUM (ANALYZE)")


async def forget(owner_dsn: str) -> None:
    """Know as little of what there is as right after it was loaded into new tables."""
    await _do(owner_dsn, _FORGET)


async def as_it_was(_: str) -> None:
    """Know what was so when it was last asked to learn."""


STATES = {"long ago": as_it_was, "nothing": forget, "now": learn}


async def _do(owner_dsn: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(owner_dsn, autocommit=True) as owner:
        await owner.execute(statement.encode())


async def blocks(tx: Tx) -> int:
    """Return how many blocks this connection has looked at so far: what is of interest is by how many more."""
    return await _figure(tx, _BLOCKS)


async def rows(tx: Tx, tables: str) -> int:
    """Return how many rows this connection has read so far of some tables and their indexes."""
    return await _figure(tx, _ROWS, tables)


async def _figure(tx: Tx, statement: str, *values: object) -> int:
    found: Sequence[tuple[object, ...]] = await tx.tuples(statement, values)
    return int(str(found[0][0]))

"""A book that is broken: whatever is written for it into a table is refused by the database, as a bad row of it might be."""

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

BREAK = """
CREATE FUNCTION clearhouse.refuse_it() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'this book is broken'; END $$;
CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON {table}
    FOR EACH ROW WHEN (NEW.book = {book}) EXECUTE FUNCTION clearhouse.refuse_it();
"""
MEND = "DROP FUNCTION clearhouse.refuse_it CASCADE"
CUT = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'clearhouse_app'"


async def break_book(owner_dsn: str, table: str, book: int = 1) -> None:
    await _done(owner_dsn, BREAK.format(table=table, book=book))


async def mend_book(owner_dsn: str) -> None:
    await _done(owner_dsn, MEND)


async def cut_connections(owner_dsn: str) -> None:
    """End every connection of the application, as a restart of the database does."""
    await _done(owner_dsn, CUT)


async def _done(owner_dsn: str, statement: str) -> None:
    """Let the others go on meanwhile: whoever holds the table may need this event loop to let go of it."""
    async with await psycopg.AsyncConnection.connect(
        owner_dsn, autocommit=True, options="-c search_path=clearhouse"
    ) as owner:
        await owner.execute(statement.encode())


@contextmanager
def away(owner_dsn: str) -> Generator[None]:
    """Let nobody reach the database, as if its server were down."""
    name = sql.Identifier(str(conninfo_to_dict(owner_dsn)["dbname"]))
    with psycopg.connect(make_conninfo(owner_dsn, dbname="postgres"), autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            owner.execute(CUT)
            yield
        finally:
            owner.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))

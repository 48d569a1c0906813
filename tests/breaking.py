"""A book that is broken: whatever is written for it into a table is refused by the database, as a bad row of it might be."""

import psycopg

BREAK = """
CREATE FUNCTION clearhouse.refuse_it() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'this book is broken'; END $$;
CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON {table}
    FOR EACH ROW WHEN (NEW.book = {book}) EXECUTE FUNCTION clearhouse.refuse_it();
"""
MEND = "DROP FUNCTION clearhouse.refuse_it CASCADE"


def break_book(owner_dsn: str, table: str, book: int = 1) -> None:
    with psycopg.connect(owner_dsn, autocommit=True, options="-c search_path=clearhouse") as owner:
        owner.execute(BREAK.format(table=table, book=book).encode())


def mend_book(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute(MEND)


def cut_connections(owner_dsn: str) -> None:
    """End every connection of the application, as a restart of the database does."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'clearhouse_app'")

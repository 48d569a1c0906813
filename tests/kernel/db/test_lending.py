"""Databases that are lent to tests come back as the template is, whatever was done to them."""

import psycopg
import pytest
from psycopg import sql

from lending import Lending, mark

RELATIONS = (
    "SELECT n.nspname, c.relname, c.relkind FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'S') AND n.nspname IN ('clearhouse', 'clearhouse_jobs') ORDER BY 1, 2"
)
TOUCHES = [
    "CREATE TABLE somebodys (number int)",
    "ALTER TABLE clearhouse.journal DISABLE TRIGGER ALL",
    "GRANT DELETE ON clearhouse.journal TO clearhouse_writer",
    "ALTER TABLE clearhouse.book DISABLE ROW LEVEL SECURITY",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
]


def everything(dsn: str) -> dict[str, list[str]]:
    """Return every row of every table and of every sequence."""
    with psycopg.connect(dsn) as owner:
        names = owner.execute(RELATIONS).fetchall()
        return {f"{schema}.{name}": rows(owner, sql.Identifier(schema, name), kind) for schema, name, kind in names}


def rows(owner: psycopg.Connection, name: sql.Identifier, kind: str) -> list[str]:
    columns = sql.SQL("last_value, is_called" if kind == "S" else "*")  # the third of a sequence is what its log has ahead
    return sorted(map(str, owner.execute(sql.SQL("SELECT {} FROM {}").format(columns, name)).fetchall()))


def test_whatever_was_written_is_gone_and_every_sequence_begins_anew(lending: Lending) -> None:
    with lending.lent() as dsn:
        fresh = everything(dsn)
        with psycopg.connect(dsn, options="-c search_path=clearhouse") as owner:
            owner.execute("INSERT INTO book (name, title) VALUES ('second', 'The second book')")
            owner.execute("UPDATE book SET title = 'renamed' WHERE name = 'main'")
            owner.execute("INSERT INTO asset (book, code, exponent) SELECT id, 'USD', 2 FROM book")
            owner.execute("SELECT setval('journal_id_seq', 100)")
        assert everything(dsn) != fresh
    with lending.lent() as again:
        assert again == dsn
        assert everything(again) == fresh


@pytest.mark.parametrize("touch", TOUCHES)
def test_one_whose_catalogs_were_touched_is_never_lent_again(lending: Lending, touch: str) -> None:
    with lending.lent() as dsn, psycopg.connect(dsn) as owner:
        before = mark(owner)
        owner.execute(touch.encode())
        assert mark(owner) != before
    with lending.lent() as another:
        assert another != dsn


def test_whoever_is_connected_still_is_thrown_out(lending: Lending) -> None:
    with lending.lent() as dsn:
        left = psycopg.connect(dsn)
        left.execute("LOCK TABLE clearhouse.book")
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()

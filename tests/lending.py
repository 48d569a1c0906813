"""Databases that are lent to tests: copies of one template, emptied when they come back, and lent again.

Promise: a database that is lent is as the template is, in its rows, sequences and statistics; one whose catalogs somebody
has touched is dropped instead. A copy of the template is a thousand files: that is why none is made for every test.
"""

import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

WAIT_MILLISECONDS = 30_000
OURS: LiteralString = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
CATALOGS = (
    "pg_class", "pg_attribute", "pg_attrdef", "pg_proc", "pg_trigger", "pg_policy", "pg_constraint", "pg_index", "pg_type",
    "pg_rewrite", "pg_namespace", "pg_default_acl", "pg_event_trigger", "pg_extension", "pg_publication", "pg_statistic_ext",
    "pg_largeobject_metadata",
)  # fmt: skip
TABLES: LiteralString = (
    "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
    f" WHERE c.relkind = 'r' AND {OURS} AND pg_relation_size(c.oid) > 0 ORDER BY 1, 2"
)
SEQUENCES: LiteralString = (
    "SELECT n.nspname, c.relname, s.seqstart FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid"
    f" JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {OURS} ORDER BY 1, 2"
)
PASSWORD: LiteralString = "SELECT rolpassword FROM pg_authid WHERE rolname = 'clearhouse_app'"
OTHERS: LiteralString = (
    "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
OF_ITS_OWN: LiteralString = (  # who may enter this database, its settings, and what somebody has prepared in it
    "SELECT d.xmin::text, (SELECT count(*) FROM pg_db_role_setting AS s WHERE s.setdatabase = d.oid),"
    " (SELECT count(*) FROM pg_prepared_xacts AS p WHERE p.database = d.datname)"
    " FROM pg_database AS d WHERE d.datname = current_database()"
)

Name = tuple[str, str]
Row = tuple[object, ...]


def _named(name: Name) -> sql.Identifier:
    return sql.Identifier(*name)


def _rows(connection: Connection, statement: LiteralString | sql.Composed, *values: object) -> list[Row]:
    return connection.execute(statement, values or None).fetchall()


def mark(connection: Connection) -> Row:
    """Return what changes with any change of a catalog; temporary tables go with the connection that made them."""
    each = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT count(*), max(xmin::text::bigint) FROM {}").format(sql.Identifier("pg_catalog", name))
        for name in CATALOGS
    )
    return (*_rows(connection, each), *_rows(connection, OF_ITS_OWN))


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a database that nobody has used yet."""

    rows: dict[Name, list[bytes]]
    sequences: dict[Name, Row]

    @classmethod
    def of(cls, connection: Connection) -> "Contents":
        tables = [(str(schema), str(name)) for schema, name in _rows(connection, TABLES)]
        return cls({name: _copied(connection, name) for name in tables}, _sequences(connection))

    def put_back(self, connection: Connection) -> None:
        """Leave nothing in the tables and sequences but this."""
        tables = [(str(schema), str(name)) for schema, name in _rows(connection, TABLES)]
        used = [each for each in tables if each not in self.rows]
        connection.execute("SET session_replication_role = replica")  # neither triggers nor keys between tables
        with connection.transaction():
            if used:
                connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(map(_named, used))))
            for name, rows in self.rows.items():
                if _copied(connection, name) != rows:
                    _fill(connection, name, rows)
            for name, state in _sequences(connection).items():
                first = self.sequences[name]
                if state != first:
                    connection.execute("SELECT setval(%s::regclass, %s, %s)", (_named(name).as_string(connection), *first))
            connection.execute("DELETE FROM pg_statistic WHERE starelid >= 16384")


def _copied(connection: Connection, name: Name) -> list[bytes]:
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} TO STDOUT").format(_named(name))) as copy:
        return sorted(b"".join(bytes(each) for each in copy).splitlines(keepends=True))


def _fill(connection: Connection, name: Name, rows: Sequence[bytes]) -> None:
    connection.execute(sql.SQL("DELETE FROM {}").format(_named(name)))
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(_named(name))) as copy:
        copy.write(b"".join(rows))


def _sequences(connection: Connection) -> dict[Name, Row]:
    names = [(str(schema), str(name)) for schema, name, _ in _rows(connection, SEQUENCES)]
    if not names:
        return {}
    each = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT last_value, is_called FROM {}").format(_named(name)) for name in names
    )
    return dict(zip(names, _rows(connection, each), strict=True))


@dataclass(slots=True)
class Lending:
    """The databases of one server that are copies of one template."""

    server: Connection
    dsn: str
    template: str
    contents: Contents
    password: str
    idle: list[tuple[str, Row]] = field(default_factory=list[tuple[str, Row]])

    @classmethod
    @contextmanager
    def opened(cls, dsn: str, template: str) -> "Generator[Lending]":
        """Lend copies of a template, which nobody may use meanwhile, and leave none of them behind."""
        with psycopg.connect(make_conninfo(dsn, dbname=template), autocommit=True) as connection:
            contents = Contents.of(connection)
        with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as server:
            [(password,)] = _rows(server, PASSWORD)
            lending = cls(server, dsn, template, contents, str(password))
            yield lending
            for name, _ in lending.idle:
                lending._drop(name)

    @contextmanager
    def lent(self) -> Generator[str]:
        """Give the owner's address on a database that is as the template is, and take it back."""
        name, state = self.idle.pop() if self.idle else self._copied()
        dsn = make_conninfo(self.dsn, dbname=name)
        # A program of ours that a test before ran here has set a password of its own.
        self.server.execute(sql.SQL("ALTER ROLE clearhouse_app PASSWORD {}").format(sql.Literal(self.password)))
        try:
            yield dsn
        finally:
            self._take_back(name, dsn, state)

    def _take_back(self, name: str, dsn: str, state: Row) -> None:
        """Empty a database, or drop it if somebody has touched its catalogs."""
        try:
            again = self._emptied(dsn, state)
        except psycopg.Error:  # a test took it away, or left it so that nobody can say what it holds
            again = None
        if again is None:
            self._drop(name)
        else:
            self.idle.append((name, again))

    def _drop(self, name: str) -> None:
        self.server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _copied(self) -> tuple[str, Row]:
        name = f"test_{secrets.token_hex(8)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(self.template))
        self.server.execute(statement)
        with psycopg.connect(make_conninfo(self.dsn, dbname=name), autocommit=True) as connection:
            return name, mark(connection)

    def _emptied(self, dsn: str, state: Row) -> Row | None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            _rows(connection, OTHERS, WAIT_MILLISECONDS)
            if mark(connection) != state:
                return None
            self.contents.put_back(connection)
            _rows(connection, "SELECT pg_stat_reset()")
            return mark(connection)

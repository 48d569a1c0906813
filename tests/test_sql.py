"""Every statement held against PostgreSQL itself: it parses, its tables and columns are there, and its role may run it."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus

import clearhouse
from clearhouse.kernel.db.database import READER, WRITER
from clearhouse.kernel.db.statements import Statements

SOURCES = Path(__file__).parent.parent / "src"
FILES = sorted(path for path in SOURCES.rglob("*.sql") if "-- name:" in path.read_text(encoding="utf-8"))
# What readers must not see: the answers that were kept under keys, what a credential is known by, the queues' own tables.
SECRET = {"keys", "credential", "signing_secrets", "heartbeat"}
VERBS = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|COPY|CREATE|ALTER|GRANT|SET LOCAL|BEGIN|SAVEPOINT)\s\S")
CHANGES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|post_transfers|enter_cuts|move_cuts)\b")
PLANNED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
PARAMETER = re.compile(r"%\((\w+)\)s|%s")


def numbered(statement: str) -> str:
    """Return a statement with PostgreSQL's parameters in place of the driver's: equal names have equal numbers."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1] or f"place {len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    replaced = PARAMETER.sub(number, statement)
    return replaced.replace("%%", "%") if names else replaced


def complaint(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> str:
    """Prepare and plan a statement, which also asks for the right to run it, and return what PostgreSQL has against it."""
    text = numbered(statement)
    checks = [connection.pgconn.prepare(b"", text.encode())]
    if PLANNED.match(text):
        checks.append(connection.pgconn.exec_(b"EXPLAIN (GENERIC_PLAN) " + text.encode()))
    elif text.startswith("COPY"):
        checks = [connection.pgconn.exec_(text.encode())]
        if checks[0].status == ExecStatus.COPY_IN:
            connection.pgconn.put_copy_end(b"only asked whether it could")
            connection.pgconn.get_result()
            return ""
    else:
        checks = [connection.pgconn.exec_(text.encode())]
    return next((each.error_message.decode() for each in checks if each.error_message), "")


def complaints(app: str, role: str, statements: dict[str, str]) -> dict[str, str]:
    address = make_conninfo(app, options=f"-c role={role} -c search_path=clearhouse -c clearhouse.books={{1}}")
    with psycopg.connect(address, autocommit=True) as connection:
        found = {name: complaint(connection, text) for name, text in statements.items()}
    return {name: said for name, said in found.items() if said}


def statements_of(path: Path) -> dict[str, str]:
    package = ".".join(path.parent.relative_to(SOURCES).parts)
    return Statements.of(package, path.name).texts


def only_looks(statement: str) -> bool:
    return not CHANGES.search(re.sub(r"FOR (NO KEY )?UPDATE", "", statement)) and statement.startswith(("SELECT", "WITH"))


def locks(statement: str) -> bool:
    return "FOR NO KEY UPDATE" in statement or "FOR UPDATE" in statement


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_named_statement_is_one_that_the_writer_may_run(path: Path, app_dsn: str) -> None:
    assert complaints(app_dsn, WRITER, statements_of(path)) == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_statement_that_only_looks_is_one_that_the_reader_may_run_but_for_secrets(path: Path, app_dsn: str) -> None:
    looking = {name: text for name, text in statements_of(path).items() if only_looks(text) and not locks(text)}
    refused = complaints(app_dsn, READER, looking)
    assert refused.keys() == looking.keys() & SECRET, refused
    assert all("permission denied" in said for said in refused.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_statement_that_changes_or_locks_is_one_that_the_reader_may_run(path: Path, app_dsn: str) -> None:
    changing = {name: text for name, text in statements_of(path).items() if not only_looks(text) or locks(text)}
    changing.pop("post_transfers", None)  # a function of the caller's own rights: it is refused inside
    refused = complaints(app_dsn, READER, changing)
    assert refused.keys() == changing.keys()
    assert all("permission denied" in said for said in refused.values()), refused


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_two_statements_of_a_file_share_a_name(path: Path) -> None:
    names = re.findall(r"^-- name:(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name.strip() for name in names) == sorted(statements_of(path))


def test_every_named_statement_is_used() -> None:
    written = {(path, name) for path in FILES for name in statements_of(path)}
    assert written - set(used()) == set()


def test_every_statement_that_stands_beside_its_caller_is_one_that_the_writer_may_run(app_dsn: str) -> None:
    ours = {
        place: text for place, text in strings() if not place.startswith(("clearhouse/kernel/db/", "clearhouse/app/bench/"))
    }
    assert ours
    assert complaints(app_dsn, WRITER, ours) == {}


def test_a_statement_that_is_wrong_is_found(app_dsn: str) -> None:
    wrong = {
        "table": "SELECT 1 FROM nowhere",
        "column": "COPY ledger_transfer (book, wrong) FROM STDIN",
        "right": "DELETE FROM ledger_transfer WHERE book = %(book)s",
        "two": "SELECT 1; SELECT 2",
    }
    assert complaints(app_dsn, WRITER, wrong).keys() == wrong.keys()


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(clearhouse.__path__, "clearhouse."):
        yield importlib.import_module(found.name)


def constants(module: ModuleType) -> Iterator[ast.Constant]:
    """Give the strings of a module that are not documentation."""
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    spoken = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            yield node


def used() -> Iterator[tuple[Path, str]]:
    """Give the statements whose name stands in a module that has hold of their file, its own or through another's."""
    for module in modules():
        held = [vars(module), *(vars(each) for each in vars(module).values() if isinstance(each, ModuleType))]
        sources = {each.source: each for names in held for each in names.values() if isinstance(each, Statements)}
        said = {str(each.value) for each in constants(module)}
        for source, statements in sources.items():
            package, _, file = source.partition("/")
            path = SOURCES.joinpath(*package.split("."), file)
            yield from ((path, name) for name in statements.texts if name in said)


def strings() -> Iterator[tuple[str, str]]:
    """Give the statements that are written as strings, by their place."""
    for module in modules():
        for node in constants(module):
            if VERBS.match(str(node.value)):
                yield f"{Path(str(module.__file__)).relative_to(SOURCES).as_posix()}:{node.lineno}", str(node.value)

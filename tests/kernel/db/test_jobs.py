"""The job runner's tables: whatever release of the package made them, they are brought to what the installed one needs."""

import asyncio
from collections.abc import Mapping
from importlib import resources
from typing import Any

import psycopg
import pytest

from clearhouse.kernel.db.migrations import migrate

PACKAGE = resources.files("procrastinate.sql")
STEPS = sorted(each.name for each in (PACKAGE / "migrations").iterdir() if each.name.endswith(".sql"))
OLDER = [STEPS.index("02.14.01_01_add_indexes_for_fetch_job.sql") + 1, len(STEPS) - 3, len(STEPS) - 1]
QUESTIONS: Mapping[str, str] = {
    "tables": "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    " WHERE table_schema = 'clearhouse_jobs' ORDER BY 1, 2",
    "functions": "SELECT proname, pg_get_function_arguments(oid), proconfig::text FROM pg_proc"
    " WHERE pronamespace = 'clearhouse_jobs'::regnamespace ORDER BY 1, 2",
    "triggers": "SELECT tgname, tgrelid::regclass::text FROM pg_trigger"
    " WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'clearhouse_jobs'::regnamespace) AND NOT tgisinternal"
    " ORDER BY 1, 2",
    "rights": "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
    " WHERE grantee = 'clearhouse_writer' AND table_schema = 'clearhouse_jobs' ORDER BY 1, 2",
}
FETCH = "SELECT task_name FROM procrastinate_fetch_job_v2(NULL, (SELECT worker_id FROM procrastinate_register_worker_v1()))"
DEFER = "INSERT INTO procrastinate_jobs (task_name, queue_name, status, args) VALUES ('old', 'default', 'todo', '{}')"


def asked(dsn: str, question: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=clearhouse_jobs") as owner:
        found = owner.execute(question.encode())
        return found.fetchall() if found.description else []


def made_by_an_older_release(dsn: str, count: int) -> None:
    """Leave what a release of the package that had only so many steps would have left, with a job that waits."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("DROP SCHEMA clearhouse_jobs CASCADE")
        owner.execute("CREATE SCHEMA clearhouse_jobs")
        owner.execute("SET search_path = clearhouse_jobs")
        owner.execute("CREATE TABLE step (name text PRIMARY KEY)")
        for name in STEPS[:count]:
            owner.execute((PACKAGE / "migrations" / name).read_bytes())
            owner.execute("INSERT INTO step VALUES (%s)", [name])
        owner.execute(DEFER.encode())


@pytest.mark.parametrize("count", OLDER)
async def test_what_an_older_release_of_the_package_made_is_brought_up_to_date_and_keeps_its_jobs(
    fresh_dsn: str, count: int
) -> None:
    await migrate(fresh_dsn)
    wanted = {name: asked(fresh_dsn, question) for name, question in QUESTIONS.items()}
    await asyncio.to_thread(made_by_an_older_release, fresh_dsn, count)
    assert {name: asked(fresh_dsn, question) for name, question in QUESTIONS.items()} != wanted
    await migrate(fresh_dsn)
    assert [name for (name,) in asked(fresh_dsn, "SELECT name FROM step ORDER BY name")] == STEPS
    assert {name: asked(fresh_dsn, question) for name, question in QUESTIONS.items()} == wanted
    assert asked(fresh_dsn, "SELECT task_name, status::text FROM procrastinate_jobs") == [("old", "todo")]
    assert await migrate(fresh_dsn) == []
    assert asked(fresh_dsn, FETCH) == [("old",)]


async def test_without_its_schema_everything_is_made_again(fresh_dsn: str) -> None:
    await migrate(fresh_dsn)
    wanted = {name: asked(fresh_dsn, question) for name, question in QUESTIONS.items()}
    asked(fresh_dsn, "DROP SCHEMA clearhouse_jobs CASCADE")
    await migrate(fresh_dsn)
    assert {name: asked(fresh_dsn, question) for name, question in QUESTIONS.items()} == wanted

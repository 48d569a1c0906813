"""The tables of the job runner, from the installed package itself, in a schema of their own.

Promise: each of the package's own steps is applied once, in order, so that an upgrade of the package works; nothing in there
is the truth about anything: it can be dropped and made again, and every row that is due is found by the sweep.
"""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import LiteralString, cast

from psycopg import AsyncConnection

SCHEMA = "clearhouse_jobs"
_RIGHTS = """
DO $$
DECLARE found regprocedure;
BEGIN
    GRANT USAGE ON SCHEMA clearhouse_jobs TO clearhouse_writer;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA clearhouse_jobs TO clearhouse_writer;
    REVOKE ALL ON clearhouse_jobs.step FROM clearhouse_writer;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA clearhouse_jobs TO clearhouse_writer;
    FOR found IN SELECT oid FROM pg_proc WHERE pronamespace = 'clearhouse_jobs'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = clearhouse_jobs', found);
    END LOOP;
END $$
"""


async def bring_up_to_date(connection: AsyncConnection[tuple[object, ...]]) -> list[str]:
    """Apply the steps of the installed package that are missing, and return their names."""
    package = resources.files("procrastinate.sql")
    steps = {each.name: each for each in (package / "migrations").iterdir() if each.name.endswith(".sql")}
    await connection.execute("CREATE SCHEMA IF NOT EXISTS clearhouse_jobs")
    await connection.execute("CREATE TABLE IF NOT EXISTS clearhouse_jobs.step (name text PRIMARY KEY)")
    cursor = await connection.execute("SELECT name FROM clearhouse_jobs.step")
    known = {str(name) for (name,) in await cursor.fetchall()}
    missing = sorted(set(steps) - known)
    if not known:
        await _apply(connection, package / "schema.sql", missing)
    for name in missing if known else ():
        await _apply(connection, steps[name], [name])
    return missing


async def _apply(connection: AsyncConnection[tuple[object, ...]], file: Traversable, names: list[str]) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = clearhouse_jobs")
        await connection.execute(cast("LiteralString", file.read_text(encoding="utf-8")))
        await connection.execute("INSERT INTO step SELECT unnest(%s::text[])", [names])
        await connection.execute(_RIGHTS)

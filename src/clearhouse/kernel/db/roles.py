"""The roles of ours that a logical backup refers to: they belong to the server, so pg_dump leaves them out.

Promise: a note beside the dump names them with what they may do, never with a password; restoring makes those that are
missing and changes none that is there.
"""

import asyncio
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import class_row

from clearhouse.kernel.db.home import write_private

OURS = r"clearhouse\_%"
SELECT = """
SELECT rolname AS name, rolcanlogin AS login, rolinherit AS inherit, rolbypassrls AS bypassrls,
       ARRAY(SELECT above.rolname::text FROM pg_auth_members JOIN pg_roles above ON above.oid = roleid
             WHERE member = role.oid ORDER BY 1) AS member_of
  FROM pg_roles role WHERE rolname LIKE %s ORDER BY rolname
"""


class Role(msgspec.Struct, frozen=True):
    """A role without its password."""

    name: str
    login: bool
    inherit: bool
    bypassrls: bool
    member_of: list[str]


def note_of(dump: Path) -> Path:
    """Return where the note of a dump stands."""
    return dump.with_name(dump.name + ".roles.json")


async def write_note(dsn: str, dump: Path) -> None:
    """Write down our roles as they are now."""
    async with (
        await psycopg.AsyncConnection.connect(dsn) as connection,
        connection.cursor(row_factory=class_row(Role)) as cursor,
    ):
        found = await (await cursor.execute(SELECT, [OURS])).fetchall()
    await asyncio.to_thread(write_private, note_of(dump), msgspec.json.encode(found).decode())


async def make_noted(connection: "psycopg.AsyncConnection[tuple[object, ...]]", dump: Path) -> None:
    """Make the noted roles that are missing; a dump without a note needs none."""
    note = note_of(dump)
    if not await asyncio.to_thread(note.is_file):
        return
    wanted = msgspec.json.decode(await asyncio.to_thread(note.read_bytes), type=list[Role])
    found = await connection.execute("SELECT rolname FROM pg_roles")
    known = {name for (name,) in await found.fetchall()}
    missing = [role for role in wanted if role.name not in known]
    for role in missing:
        await connection.execute(_creation(role))
    for role in missing:
        for above in role.member_of:
            grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(above), sql.Identifier(role.name))
            await connection.execute(grant)


def _creation(role: Role) -> sql.Composed:
    words = [
        sql.SQL("LOGIN" if role.login else "NOLOGIN"),
        sql.SQL("INHERIT" if role.inherit else "NOINHERIT"),
        sql.SQL("BYPASSRLS" if role.bypassrls else "NOBYPASSRLS"),
    ]
    return sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role.name), sql.SQL(" ").join(words))

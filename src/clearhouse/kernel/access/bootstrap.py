"""The first administrator: made at the first start, and found again when the key is lost.

Promise: where ADMIN_KEY is set it is the administrator's key, and no earlier value of it opens anything any more or can be
set again; where it is not, a key is made at random and returned once.
"""

import re
from dataclasses import dataclass
from uuid import UUID

from clearhouse import clock, ids
from clearhouse.kernel.access import keys
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.refusals import Kind, Refusal

ADMIN_KEY_LENGTH_MIN = 16
ADMIN_KEY_LENGTH_MAX = 1_000
_USABLE = re.compile(rf"(?!{keys.PREFIX})[!-~]{{1,{ADMIN_KEY_LENGTH_MAX}}}")  # what a header carries; ours are looked up
LABEL = "ADMIN_KEY"
NAME = "admin"


class AdminKeyTooShort(Refusal):
    """ADMIN_KEY needs at least {least} characters."""

    code = "admin_key_too_short"
    kind = Kind.MALFORMED


class AdminKeyUnusable(Refusal):
    """ADMIN_KEY must be printable ASCII without spaces, at most {most} characters, and must not begin with {prefix}."""

    code = "admin_key_unusable"
    kind = Kind.MALFORMED


class AdminKeyUsed(Refusal):
    """ADMIN_KEY was in use before and another has replaced it; choose one that is new."""

    code = "admin_key_used"
    kind = Kind.REFUSED


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


@dataclass(frozen=True, slots=True)
class _Book:
    id: int


async def ensure_admin(database: Database, admin_key: str | None = None) -> str | None:
    """Make the first administrator if there is none, and let ADMIN_KEY be its key; return a key that was made up, once."""
    if admin_key is not None:
        _require_usable(admin_key)
    async with database.writing() as tx:
        await tx.tuples("SELECT pg_advisory_xact_lock(7246003)")  # several processes may start at once
        tx.book = await _main(tx)
        found = await tx.row(keys.sql["administrators"], _Id, book=tx.book)
        if found is not None and admin_key is None:
            return None
        principal = await _add_admin(tx) if found is None else found.id
        made = admin_key or keys.make(ids.fresh())
        await _add_key(tx, principal, made, label=LABEL if admin_key else "the first key")
        return None if admin_key else made


def _require_usable(admin_key: str) -> None:
    if len(admin_key) < ADMIN_KEY_LENGTH_MIN:
        raise AdminKeyTooShort(least=str(ADMIN_KEY_LENGTH_MIN))
    if _USABLE.fullmatch(admin_key) is None:
        raise AdminKeyUnusable(most=str(ADMIN_KEY_LENGTH_MAX), prefix=keys.PREFIX)


async def recover_admin(database: Database) -> str:
    """Make a new key for an administrator, or a new administrator if none is left; audited."""
    async with database.writing() as tx:
        tx.book = await _main(tx)
        found = await tx.row(keys.sql["administrators"], _Id, book=tx.book)
        principal = await _add_admin(tx) if found is None else found.id
        made = keys.make(ids.fresh())
        await _add_key(tx, principal, made, label="recovered")
        return made


async def _main(tx: Tx) -> int:
    found = await tx.row("SELECT id FROM book WHERE name = 'main'", _Book)
    return 0 if found is None else found.id


async def _add_admin(tx: Tx) -> UUID:
    at, principal = clock.now(), ids.fresh()
    taken = await tx.tuples("SELECT 1 FROM principal WHERE book = %s AND name = %s", [tx.book, NAME])
    name = f"{NAME} {at:%Y-%m-%d %H:%M:%S}" if taken else NAME
    await tx.do(keys.sql["add_principal"], book=tx.book, id=principal, name=name, organisation="", kind="service", at=at)
    await tx.do(keys.sql["grant_roles"], book=tx.book, principal=principal, roles=["admin"], at=at, by="the first start")
    return principal


async def _add_key(tx: Tx, principal: UUID, credential: str, *, label: str) -> None:
    at, key = clock.now(), keys.id_of(credential)
    added = await tx.tuples(keys.sql["add_key"], {
        "book": tx.book, "id": key, "principal": principal, "digest": keys.digest(credential), "label": label, "at": at,
        "expires_at": None,
    })  # fmt: skip
    if not added and await tx.row(keys.sql["replaced_key"], _Id, book=tx.book, id=key) is not None:
        raise AdminKeyUsed
    if label == LABEL:
        await tx.do(keys.sql["revoke_labelled"], book=tx.book, label=label, id=key, at=at)
    if added:
        told = Line(
            "access.administrator_key", ids.text("key", key), {"principal": ids.text("prn", principal), "label": label}
        )
        writing.write(tx, [told], book=tx.book, kind="access.bootstrap", by=writing.SYSTEM, at=at)

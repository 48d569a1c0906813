"""API keys: `ck_<id>_<secret>`. The database knows only a digest; the secret is shown once, to whoever issued it.

A secret has 256 random bits, so a plain digest tells nothing about it. `ADMIN_KEY` may be any text: its id is made from it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import PrincipalNotFound, PrincipalRef, readable
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal

sql = Statements.of("clearhouse.kernel.access", "access.sql")
PREFIX = "ck_"
SECRET_BYTES = 32
Label = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", examples=["the night batch"])]


class KeyShownOnce(Refusal):
    """Key {id} was issued by an earlier request and its secret was shown then; issue another one if it is lost."""

    code = "key_shown_once"
    kind = Kind.CONFLICT


class KeyNotFound(Refusal):
    """There is no key {id} here."""

    code = "key_not_found"
    kind = Kind.UNKNOWN


class ExpiryPassed(Refusal):
    """The key would expire at {expires_at}, which is not in the future."""

    code = "expiry_passed"
    kind = Kind.REFUSED


class IssueKey(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Issue a key to a principal that is at home in this book."""

    principal: PrincipalRef
    label: Label = ""
    expires_at: datetime | None = None


class RevokeKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a key worthless, at once."""

    key: Annotated[str, msgspec.Meta(max_length=30)]


class IssuedKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key with its secret: this is the only time it is seen. With `approval` it waits for that, and has no secret yet."""

    id: str
    principal: str
    secret: str
    expires_at: datetime | None = None
    approval: str | None = None


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key as it is kept."""

    id: str
    principal: str
    label: str
    issued_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    id: UUID
    principal: UUID
    label: str
    issued_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def key(self) -> Key:
        own, whose = ids.text("key", self.id), ids.text("prn", self.principal)
        return Key(own, whose, self.label, self.issued_at, self.expires_at, self.revoked_at)


def make(key: UUID) -> str:
    """Return a new key under an id."""
    _, _, text = ids.text("key", key).partition("_")
    return f"{PREFIX}{text}_{secrets.token_urlsafe(SECRET_BYTES)}"


def digest(credential: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(credential.encode()).digest()


def same(credential: str, kept: bytes) -> bool:
    """Tell whether a key is the one that a digest was kept of."""
    return hmac.compare_digest(digest(credential), kept)


def id_of(credential: str) -> UUID:
    """Return the id under which a key is kept, if it is kept at all."""
    if credential.startswith(PREFIX):
        return readable("key", "key_" + credential.removeprefix(PREFIX).partition("_")[0])
    return ids.derived("admin-key", credential)


async def issue_keys(tx: Tx, asked: Sequence[Asked[IssueKey]], at: datetime) -> list[IssuedKey | Refusal]:
    """Issue keys."""
    return [await _issue(tx, each, at) for each in asked]


async def _issue(tx: Tx, asked: Asked[IssueKey], at: datetime) -> IssuedKey | Refusal:
    command = asked.command
    try:
        expires_at = None if command.expires_at is None else clock.utc(command.expires_at)
    except Refusal as refusal:
        return refusal
    if expires_at is not None and expires_at <= at:
        return ExpiryPassed(expires_at=clock.text(expires_at))
    credential = make(asked.id)
    principal = readable("prn", command.principal)
    added = await tx.tuples(sql["add_key"], {
        "book": tx.book, "id": asked.id, "principal": principal, "digest": digest(credential), "label": command.label,
        "at": at, "expires_at": expires_at,
    })  # fmt: skip
    if added:
        return IssuedKey(ids.text("key", asked.id), command.principal, credential, expires_at)
    if await tx.row(sql["key"], _Row, book=tx.book, id=asked.id) is not None:
        return KeyShownOnce(id=ids.text("key", asked.id))
    return PrincipalNotFound(id=command.principal)


async def revoke_keys(tx: Tx, asked: Sequence[Asked[RevokeKey]], at: datetime) -> list[Key | Refusal]:
    """Revoke keys; one that is revoked stays as it is."""
    answers: list[Key | Refusal] = []
    for each in asked:
        key = readable("key", each.command.key)
        await tx.do(sql["revoke_key"], book=tx.book, id=key, at=at)
        found = await tx.row(sql["key"], _Row, book=tx.book, id=key)
        answers.append(KeyNotFound(id=each.command.key) if found is None else found.key)
    return answers


async def keys_of(tx: Tx, principal: str) -> list[Key]:
    """Return the keys of a principal that is at home in this book, newest first."""
    rows = await tx.rows(sql["keys_of"], _Row, book=tx.book, principal=readable("prn", principal))
    return [row.key for row in rows]

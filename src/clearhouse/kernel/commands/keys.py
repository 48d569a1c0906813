"""Idempotency keys: the same key and body gives the stored answer, another body is refused.

A key is written last, with its answer, in the transaction of its command. Two that meet at a key are told apart by the
unique index: the later one rolls back, looks, and finds the answer of the first.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.db.arrays import array, hexes, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal, revive

DAYS_KEPT = 30
_sql = Statements.of("clearhouse.kernel.commands", "commands.sql")
_STORED = {RefusalKind.REFUSED, RefusalKind.UNKNOWN}

Command = TypeVar("Command")
Answer = TypeVar("Answer")


class KeyReused(Refusal):
    """The key {key} was used for another request; a new request needs a new key."""

    code = "key_reused"
    kind = RefusalKind.REFUSED


class StillRunning(Refusal):
    """The first request with the key {key} is still running; ask again in a moment."""

    code = "still_running"
    kind = RefusalKind.CONFLICT
    retryable = True


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's key for one command, and what tells its body from another."""

    principal: UUID
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A key as it was kept."""

    principal: UUID
    key: str
    fingerprint: bytes
    answer: str


class _Answered(msgspec.Struct, omit_defaults=True):
    ok: msgspec.Raw = msgspec.Raw(b"")
    code: str = ""
    values: dict[str, str] = {}


_encode = msgspec.json.Encoder().encode


def fingerprint(command: object) -> bytes:
    """Return what two equal requests have in common."""
    return hashlib.sha256(msgspec.json.encode(command, order="deterministic")).digest()


async def stored(tx: Tx, kind: Kind[Any, Any], keys: Sequence[Key]) -> dict[tuple[UUID, str], Stored]:
    """Return what is kept under these keys."""
    principals, names = [each.principal for each in keys], [each.key for each in keys]
    rows = await tx.rows(_sql["keys"], Stored, book=tx.book, kind=kind.name, principals=principals, keys=names)
    return {(row.principal, row.key): row for row in rows}


def is_kept(answer: object) -> bool:
    """Tell whether an answer is kept: refusals that say nothing about the state of things are not."""
    return not isinstance(answer, Refusal) or answer.kind in _STORED


def store(tx: Tx, kind: Kind[Any, Answer], answered: Sequence[tuple[Key, Answer | Refusal]]) -> None:
    """Keep answers under their keys, with the commit."""
    kept = [(key, answer) for key, answer in answered if is_kept(answer)]
    if kept:
        tx.later(
            _sql["store_keys"], book=tx.book, kind=kind.name,
            principals=array([key.principal for key, _ in kept]), keys=texts([key.key for key, _ in kept]),
            fingerprints=hexes([key.fingerprint for key, _ in kept]), answers=texts([_text(answer) for _, answer in kept]),
        )  # fmt: skip


def _text(answer: object) -> str:
    if isinstance(answer, Refusal):
        return _encode({"code": answer.code, "values": answer.values}).decode()
    return '{"ok":' + _encode(answer).decode() + "}"


def replay(kind: Kind[Any, Answer], key: Key, kept: Stored) -> Answer | Refusal:
    """Return the answer that was kept, if it was kept for the same request."""
    if kept.fingerprint != key.fingerprint:
        return KeyReused(key=key.key)
    answered = msgspec.json.decode(kept.answer, type=_Answered)
    if answered.code:
        return revive(answered.code, answered.values)
    return msgspec.json.decode(answered.ok, type=kind.answer)


async def forget(tx: Tx, before: datetime) -> int:
    """Drop keys that are older than they are kept."""
    return await tx.do(_sql["forget_keys"], before=before)

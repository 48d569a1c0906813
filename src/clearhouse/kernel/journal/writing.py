"""Writing the journal: one row a transaction, last, with a line for every item of the batch.

Promise: a line commits with the change that it describes. Numbers and the chain come later (`sequencing`), so that writers
never wait for each other here.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from clearhouse import clock, ids
from clearhouse.kernel.db.database import Tx

SYSTEM = UUID(int=0)

_INSERT = """
INSERT INTO journal (book, at, kind, principal, lines, digest, wakes)
VALUES (%(book)s, %(at)s, %(kind)s, %(principal)s, %(lines)s, %(digest)s, %(wakes)s)
"""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened to one thing: the event's name, its subject's id, and what a reader needs to know."""

    event: str
    subject: str
    data: Any = None
    by: str = ""
    refused: str = ""


_encoder = msgspec.json.Encoder()


def write(tx: Tx, lines: Sequence[Line], *, book: int, kind: str, by: UUID, at: datetime) -> None:
    """Append one row, with the commit; a line whose `by` is empty was made by the row's principal.

    The row carries which stages the transaction made work for (`tx.wake`), beside what the chain covers.
    """
    text = _encoder.encode(lines).decode()
    principal = ids.text("prn", by)
    tx.later(
        _INSERT, book=book, at=at, kind=kind, principal=principal, lines=text,
        digest=digest(book, at, kind, principal, text), wakes=tx.take_wakes() or None,
    )  # fmt: skip


def digest(book: int, at: datetime, kind: str, principal: str, lines: str) -> bytes:
    """Return what a row is known by: change a letter of it and this changes."""
    head = f"{book}\n{clock.text(at)}\n{kind}\n{principal}\n"
    return hashlib.sha256(head.encode() + lines.encode()).digest()

"""The secrets that webhooks are signed with: made here, stored sealed, opened only to sign.

Promise: what is stored opens for its own webhook alone, and with none but the keys that this process was given.
"""

import base64
import secrets
from datetime import datetime
from uuid import UUID

import msgspec

from clearhouse.kernel.access.sealing import SEALING, KeyMissing, Resealed, SealBroken
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Refusal

sql = Statements.of("clearhouse.kernel.webhooks", "webhooks.sql")
SECRET_BYTES = 32
_TABLE = "webhook_secret"


class _Stored(msgspec.Struct, frozen=True):
    book: int
    endpoint: UUID
    id: int
    secret: str


async def add(tx: Tx, endpoint: UUID, at: datetime) -> str:
    """Make a secret, as Standard Webhooks writes them, keep it sealed, and return it."""
    made = "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    sealed = SEALING.seal(made, _TABLE, tx.book, endpoint)
    await tx.do(sql["add_secret"], book=tx.book, endpoint=endpoint, secret=sealed, at=at)
    return made


async def count(tx: Tx, endpoint: UUID, at: datetime) -> int:
    """Return how many secrets of a webhook are good, whether they can be opened here or not."""
    return len(await _sealed(tx, endpoint, at))


async def secrets_of(tx: Tx, endpoint: UUID, at: datetime) -> list[str] | Refusal:
    """Return the secrets of a webhook that are good, the newest first; or, if none can be opened, why the newest cannot."""
    opened: list[str] = []
    problems: list[Refusal] = []
    for sealed in await _sealed(tx, endpoint, at):
        try:
            opened.append(SEALING.open(sealed, _TABLE, tx.book, endpoint))
        except Refusal as problem:
            problems.append(problem)
    return opened or next(iter(problems), SealBroken())


async def _sealed(tx: Tx, endpoint: UUID, at: datetime) -> list[str]:
    rows = await tx.tuples(sql["signing_secrets"], {"book": tx.book, "endpoint": endpoint, "at": at})
    return [str(sealed) for (sealed,) in rows]


async def seal_again(tx: Tx) -> Resealed:
    """Seal the secrets of every book under the first key, those too that are plain from before secrets were sealed."""
    done, missing = 0, set[str]()
    for row in await tx.rows(sql["secrets_sealed_otherwise"], _Stored, current=SEALING.current):
        try:
            sealed = SEALING.again(row.secret, _TABLE, row.book, row.endpoint)
        except KeyMissing as refusal:
            missing.add(refusal.values["key"])
        except SealBroken:
            continue  # said where it is used
        else:
            done += await tx.do(sql["seal_secret"], book=row.book, endpoint=row.endpoint, id=row.id, secret=sealed)
    return Resealed(done, frozenset(missing))

"""Defaults: who releases a kind of subject in a book where nobody has said so.

Promise: a book's own rules come first, and rules that it has taken back stay so. A default that is used becomes the book's
first version, in the name of whoever needed it, and the journal says so: from then on it is shown and changed like another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from clearhouse import ids
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.approvals import policies
from clearhouse.kernel.approvals.policies import HOURS, Rules
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line

_sql = Statements.of("clearhouse.kernel.approvals", "defaults.sql")


@dataclass(frozen=True, slots=True)
class Default:
    """Rules of one level: so many people of a role, none of whom had a hand in the subject."""

    kind: str
    role: Role = "approver"
    count: int = 1
    hours: int = HOURS


_DECLARED: dict[str, Default] = {}


def declare(defaults: Iterable[Default]) -> None:
    """Make the rules of a product known: the composition root says which products there are, before anybody asks."""
    _DECLARED.update({each.kind: each for each in defaults})


async def current(tx: Tx, asked: Mapping[str, UUID], at: datetime) -> dict[str, Rules]:
    """Return the rules that hold now for kinds of subject; where a book has none, it adopts what a product brings."""
    found = await policies.current(tx, list(asked))
    missing = sorted(kind for kind, by in asked.items() if kind not in found and kind in _DECLARED and by != ids.NOBODY)
    adopted = [kind for kind in missing if await _adopt(tx, _DECLARED[kind], by=asked[kind], at=at)]
    if missing:
        found |= await policies.current(tx, missing)  # somebody else's, if two needed them at once
    lines = [Line("approvals.policy_set", kind, found[kind].policy, by=ids.text("prn", asked[kind])) for kind in adopted]
    if lines:
        writing.write(tx, lines, book=tx.book, kind="approvals.default", by=writing.SYSTEM, at=at)
    return found


async def _adopt(tx: Tx, default: Default, *, by: UUID, at: datetime) -> bool:
    if not await tx.do(_sql["adopt"], book=tx.book, kind=default.kind, hours=default.hours, at=at, by=by):
        return False
    await tx.do(_sql["adopt_level"], book=tx.book, kind=default.kind, role=default.role, count=default.count)
    return True

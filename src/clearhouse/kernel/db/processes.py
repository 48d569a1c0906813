"""Processes: each that works here leaves word of its loops in the database, so that any can tell which stands still.

Promise: one row a process, written anew every 15 seconds; a process that is not heard of any more is not spoken of: whether
all are gone is what the heartbeats of the queues tell.
"""

from dataclasses import dataclass

from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.db.loops import Loops
from clearhouse.kernel.db.statements import Statements

WORD_SECONDS = 15.0
HEARD_SECONDS = 3 * WORD_SECONDS
FORGET_SECONDS = 3_600.0
LOOP = "leave_word"
_sql = Statements.of("clearhouse.kernel.db", "processes.sql")


@dataclass(frozen=True, slots=True)
class _Standing:
    loop: str
    seconds: float


async def speak(database: Database) -> None:
    """Leave word, again and again, until cancelled."""
    await database.loops.forever(LOOP, lambda: leave_word(database), WORD_SECONDS)


async def leave_word(database: Database) -> None:
    """Say which loops of this process stand still, if any."""
    late = database.loops.late()
    async with database.writing() as tx:
        said = {"loops": list(late), "seconds": list(late.values())}
        await tx.do(_sql["say"], id=database.loops.process, forget=FORGET_SECONDS, **said)


async def standing(tx: Tx, own: Loops) -> dict[str, float]:
    """Return which loops stand still, here or in any other process, and for how many seconds."""
    found = {
        each.loop: each.seconds for each in await tx.rows(_sql["standing"], _Standing, heard=HEARD_SECONDS, id=own.process)
    }
    for name, seconds in own.late().items():
        found[name] = max(seconds, found.get(name, 0.0))
    return found

"""What of the kernel is behind `/health`: the sequencer, the workers of the queues, and readers that fail."""

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.transport.http.health import Check, Part, oldest

LATE_SECONDS = 30.0
_sql = Statements.of("clearhouse.slices.operations", "health.sql")


async def _workers(tx: Tx) -> Part:
    found = await oldest("", _sql["heartbeat"], late=LATE_SECONDS).look(tx)
    return Part("late") if found.waiting_seconds is None else found


CHECKS = (oldest("sequencer", _sql["unnumbered"], late=LATE_SECONDS), Check("workers", _workers))


def reader(name: str) -> Check:
    """Return the check of a reader that events go to, such as a broker: since when it has failed."""

    async def look(tx: Tx) -> Part:
        found = await tx.row(_sql["failing"], Part, name=name)
        return Part("ok") if found is None else found

    return Check(name, look)

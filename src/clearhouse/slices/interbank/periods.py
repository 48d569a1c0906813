"""Periods: what the clock does for a book that settles, as schedules with the document's periods to begin with.

Promise: they are set once, with a book's first bank; whoever changes or pauses one afterwards is obeyed.
"""

from datetime import datetime
from uuid import UUID

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.pipelines import schedules
from clearhouse.kernel.pipelines.schedules import SetSchedule
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank.rows import sql

RETRY, CLEAN_UP, RECONCILE = "interbank.retry", "interbank.clean_up", "interbank.reconcile"
PERIODS = {RETRY: "*/5 * * * *", CLEAN_UP: "*/10 * * * *", RECONCILE: "0 */6 * * *"}
CHANNEL = "bank"
LISTEN = "interbank.listen"


async def begin(tx: Tx, by: UUID, at: datetime) -> None:
    """Let a book that has its first bank listen to it, and set its schedules."""
    if not await tx.do(sql["begin_listening"], book=tx.book, channel=CHANNEL, at=at):
        return
    wanted = [Asked(SetSchedule(job, cron, job), ids.fresh(), by) for job, cron in PERIODS.items()]
    for answer in await schedules.set_schedules(tx, wanted, at):
        if isinstance(answer, Refusal):
            raise answer
    tx.wake(LISTEN)

"""Closing days by the clock: the job that a schedule may name."""

from datetime import timedelta

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import days
from clearhouse.kernel.ledger.days import CloseDay, DayAlreadyClosed
from clearhouse.kernel.pipelines.declared import Firing, Job
from clearhouse.refusals import Refusal


async def close_day(tx: Tx, firing: Firing) -> None:
    """Close the day before that of the tick, in UTC; one that is closed already stays as it is."""
    day = firing.due_at.date() - timedelta(days=1)
    closed = (await days.close_days(tx, [Asked(CloseDay(day), firing.id, firing.by)], firing.at))[0]
    if isinstance(closed, DayAlreadyClosed):
        return
    if isinstance(closed, Refusal):
        raise closed
    line = Line("ledger.day_closed", str(day), {"firing": ids.text("fir", firing.id), "schedule": firing.schedule})
    writing.write(tx, [line], book=tx.book, kind="ledger.close_day", by=firing.by, at=firing.at)


CLOSE_DAY = Job("ledger.close_day", "the day before is closed, and every open day before it", close_day)

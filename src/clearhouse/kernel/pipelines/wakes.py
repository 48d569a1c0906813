"""Waking: a job for each stage that has work, queued in a transaction that somebody has open anyway."""

from collections.abc import Iterable, Mapping, Sequence

from clearhouse.kernel.db.arrays import texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.pipelines.stages import Stage

sql = Statements.of("clearhouse.kernel.pipelines", "pipelines.sql")


class TwoStages(Exception):
    """Two stages have one name."""


class Wakes:
    """Knows the stages of the house by name; one that it does not know has nobody to do its work, and is not woken."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        """Take the stages that the products declared."""
        declared = list(stages)
        self.stages: Mapping[str, Stage] = {each.name: each for each in declared}
        if len(self.stages) != len(declared):
            raise TwoStages(sorted(each.name for each in declared))

    def __call__(self, tx: Tx, names: Sequence[str]) -> None:
        """Queue a job for each of these stages, with the next statement of the transaction."""
        known = sorted(set(names) & set(self.stages))
        if known:
            tx.later(sql["queue_jobs"], stages=texts(known), queues=texts(self.stages[name].queue for name in known))

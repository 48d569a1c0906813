"""A worker of parcels in a process of its own, whose carrier writes a file, and which kills itself where it is told."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.queues import Queues
from clearhouse.kernel.pipelines.stages import Unheard
from clearhouse.kernel.pipelines.wakes import Wakes
from parcels import Carrier, Depot


@dataclass(slots=True)
class Ledgered(Carrier):
    """A carrier that keeps its own record on the disk: each parcel that it took, as often as it took it."""

    record: Path = field(default_factory=Path)
    boundary: str = ""

    def reach(self, boundary: str) -> None:
        if boundary == self.boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    async def send(self, parcels: Sequence[UUID]) -> list[str | Unheard]:
        self.reach("before it is sent")
        with self.record.open("a") as file:
            for place, each in enumerate(parcels):
                if place == len(parcels) // 2:
                    file.flush()
                    self.reach("half of it is sent")
                file.write(f"{each}\n")
        self.reach("after it is sent")
        return ["taken"] * len(parcels)

    async def ask(self, parcels: Sequence[UUID]) -> list[str | Unheard]:
        self.reach("while it is asked about")
        taken = self.record.read_text().split() if self.record.exists() else []
        return ["taken" if str(each) in taken else "unknown" for each in parcels]


async def work(dsn: str, record: Path, boundary: str) -> None:
    database = await Database.open(dsn)
    carrier = Ledgered(record=record, boundary=boundary)
    depot = Depot(database, dsn, carrier, reach=carrier.reach)
    await Queues(database, Wakes(depot.stages), asyncio.Event()).run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))

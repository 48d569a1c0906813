"""Killed at every boundary of a stage: no effect is lost and none is repeated, as the world outside has it on record."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

import dispatch
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.pipelines.queues import Queues
from clearhouse.kernel.pipelines.wakes import Wakes
from dispatch import Ledgered
from parcels import Depot
from serving import SECONDS_TO_END_MAX, libraries
from trying import SOAK

PARCELS = 2_500 if SOAK else 40
BOUNDARIES = [
    "before it has moved",
    "after it has moved",
    "before it is said",
    "before it is sent",
    "half of it is sent",
    "after it is sent",
    "before it is heard",
    "after it is heard",
]


def killed(dsn: str, record: Path, boundary: str) -> int:
    """Run a worker until it kills itself, and return how it ended."""
    words = [sys.executable, "-P", dispatch.__file__, dsn, str(record), boundary]
    paths = os.pathsep.join([libraries(), str(Path(dispatch.__file__).parent)])
    return subprocess.run(words, env=os.environ | {"PYTHONPATH": paths}, check=False, timeout=SECONDS_TO_END_MAX).returncode


async def finished(depot: Depot) -> None:
    """Let another worker go on from what is in the rows, after every lease has ended."""
    depot.hurry()
    task = asyncio.create_task(Queues(depot.database, Wakes(depot.stages), asyncio.Event()).run())
    await depot.until(lambda: depot.states() == {"taken"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def in_doubt(depot: Depot) -> set[UUID]:
    """Return the parcels that were sent and that nobody has answered for."""
    return {each for each, (state, *_) in depot.rows().items() if state == "sent"}


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_worker_killed_anywhere_loses_and_repeats_nothing(
    database: Database, app_dsn: str, owner_dsn: str, tmp_path: Path, boundary: str
) -> None:
    Depot.build(owner_dsn)
    record = tmp_path / "record"
    depot = Depot(database, owner_dsn, Ledgered(record=record))
    made = await depot.add(PARCELS)
    assert await asyncio.to_thread(killed, app_dsn, record, boundary) == -signal.SIGKILL
    await finished(depot)
    assert Counter(record.read_text().split()) == Counter(str(each) for each in made)


async def test_a_resolver_killed_while_it_asks_leaves_the_rows_in_doubt_for_the_next(
    database: Database, app_dsn: str, owner_dsn: str, tmp_path: Path
) -> None:
    Depot.build(owner_dsn)
    record = tmp_path / "record"
    depot = Depot(database, owner_dsn, Ledgered(record=record))
    made = await depot.add(PARCELS)
    assert await asyncio.to_thread(killed, app_dsn, record, "after it is sent") == -signal.SIGKILL
    doubted = in_doubt(depot)  # one batch: the others were not sent yet, and may be while this one is asked about
    assert doubted
    depot.hurry()
    assert await asyncio.to_thread(killed, app_dsn, record, "while it is asked about") == -signal.SIGKILL
    assert doubted <= in_doubt(depot)
    await finished(depot)
    assert Counter(record.read_text().split()) == Counter(str(each) for each in made)

"""Queues: procrastinate runs the jobs, each queue with its concurrency; a job advances a stage until nothing is due.

Promise: a stage has at most one job waiting, however much work there is; what nobody woke is found within a second, and
what is due before that is found then if its stage is a prompt one; a stop ends between two batches, and what is left is
somebody else's.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Any

import procrastinate
import structlog
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.faults import DatabaseFault, Lost
from clearhouse.kernel.db.loops import went_well
from clearhouse.kernel.pipelines import rows
from clearhouse.kernel.pipelines.advancing import Advancer
from clearhouse.kernel.pipelines.wakes import Wakes, sql

CONCURRENCY = 2
SWEEP_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
STALLED_SECONDS = 30.0
CLEANING_SECONDS = 30.0
GRACE_SECONDS = 8.0
CONNECTIONS_MAX = 4
WAIT_SECONDS_MAX = 3.0  # for a connection: one that does not come soon is no reason to keep a stop waiting
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ours:
    ours: bool


@dataclass(slots=True)
class Queues:
    """The stages of the house at work in this process. `concurrency` says how many jobs of a queue run here at once."""

    database: Database
    wakes: Wakes
    committed: asyncio.Event
    concurrency: Mapping[str, int] = field(default_factory=dict[str, int])
    chance: Random = field(default_factory=SystemRandom)
    stopping: bool = False
    advanced: asyncio.Event = field(default_factory=asyncio.Event)
    seconds: float = SWEEP_SECONDS

    @property
    def names(self) -> list[str]:
        """Return the queues that the stages name."""
        return sorted({each.queue for each in self.wakes.stages.values()})

    async def run(self) -> None:
        """Work until cancelled; then finish the batches under way, and return what is left."""
        app = self._app()
        async with app.open_async(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._until_stopped())
            loops = self.database.loops
            tasks.create_task(loops.forever("sweep_stages", self.sweep, SWEEP_SECONDS))
            tasks.create_task(loops.forever("clean_queues", lambda: _clean(app), CLEANING_SECONDS))
            tasks.create_task(self._keep_time())
            for name in self.names:
                tasks.create_task(self._work(app, name))

    async def advance(self, stage: str) -> None:
        """Do what a job of a stage does."""
        advancer = Advancer(self.database, wake=self.wakes, chance=self.chance, committed=self.committed.set)
        try:
            finished = await advancer.run(self.wakes.stages[stage], stopping=lambda: self.stopping)
            if not finished:
                async with self.database.writing() as tx:
                    self.wakes(tx, [stage])
        except DatabaseFault as fault:
            _log.warning("not advanced, swept soon", stage=stage, reason=str(fault))
        finally:
            if self.wakes.stages[stage].prompt:
                self.advanced.set()

    async def sweep(self) -> list[str]:
        """Queue a job for every stage that has rows that are due, whoever forgot to say so; return which those are."""
        async with self.database.writing() as tx:
            asked = await tx.row(sql["sweeping"], _Ours)
            if asked is None or not asked.ours:
                return []
            at = clock.now()
            due = [each.name for each in self.wakes.stages.values() if await rows.due_books(tx, each, at)]
            self.wakes(tx, due)
        return due

    async def tick(self) -> float:
        """Queue a job for every prompt stage that has rows that are due; return in how many seconds others will be."""
        prompt = [each for each in self.wakes.stages.values() if each.prompt]
        if not prompt:
            return SWEEP_SECONDS
        async with self.database.writing() as tx:
            at = clock.now()
            times = {each.name: await rows.next_due(tx, each) for each in prompt}
            self.wakes(tx, [name for name, when in times.items() if when is not None and when <= at])
        waits = ((when - at).total_seconds() for when in times.values() if when is not None and when > at)
        return min([SWEEP_SECONDS, *waits])

    def _app(self) -> "procrastinate.App":
        connector = procrastinate.PsycopgConnector(
            pool_factory=self.database.jobs_pool,
            configure=self.database.lines.join,
            min_size=1,
            max_size=CONNECTIONS_MAX,
            timeout=WAIT_SECONDS_MAX,
        )
        app = procrastinate.App(connector=connector)
        app.task(name="advance")(self.advance)
        return app

    async def _work(self, app: "procrastinate.App", queue: str) -> None:
        how: dict[str, Any] = {"listen_notify": True, "install_signal_handlers": False, "delete_jobs": "always"}
        while not self.stopping:  # a worker that is cancelled while the database is away says so, not that it is cancelled
            try:
                await app.run_worker_async(
                    queues=[queue], name=queue, concurrency=self.concurrency.get(queue, CONCURRENCY),
                    shutdown_graceful_timeout=GRACE_SECONDS, fetch_job_polling_interval=SWEEP_SECONDS,
                    update_heartbeat_interval=HEARTBEAT_SECONDS, stalled_worker_timeout=STALLED_SECONDS, **how,
                )  # fmt: skip
            except ConnectorException as error:
                _log.warning("the queue stands still, tried again soon", queue=queue, reason=str(error))
            if not self.stopping:  # a worker may keep to itself that it was cancelled
                await asyncio.sleep(SWEEP_SECONDS)

    async def _until_stopped(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping = True

    async def _keep_time(self) -> None:
        """Look when something is due, when a prompt stage was advanced, and with each sweep."""
        with self.database.loops.counted("keep_time") as turning:
            while True:
                self.advanced.clear()
                self.seconds = SWEEP_SECONDS
                if await went_well(turning.name, self._look):
                    turning.came_round()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.seconds):
                        await self.advanced.wait()

    async def _look(self) -> None:
        self.seconds = await self.tick()


async def _clean(app: "procrastinate.App") -> None:
    """Drop the jobs of workers that are gone: the rows that they held are due again by themselves."""
    try:
        await app.job_manager.prune_stalled_workers(STALLED_SECONDS)
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
            await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
    except ConnectorException as error:
        raise Lost(str(error)) from error

"""The kernel's bench: stages and wake-ups, reconciliation, events to buses, and webhooks, each beside the bare work."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from clearhouse.app.bench import events, reconciliation, stages, webhooks
from clearhouse.app.bench.houses import Ground, Prepared, caller_of
from clearhouse.app.bench.receiver import receiver
from clearhouse.app.bench.rounds import Contestant


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of each thing in a turn."""

    items: int = 100_000
    rows: int = 10_000
    wakes: int = 25
    events: int = 8_000
    deliveries: int = 400


def prepared(sizes: Sizes) -> Prepared:
    """Return what is measured, of these sizes."""

    @asynccontextmanager
    async def opened(here: Ground) -> AsyncGenerator[Sequence[Contestant]]:
        caller, book, _ = await caller_of(here.database)
        async with events.brokers() as where, receiver() as url:
            yield [
                *await stages.contestants(here.database, sizes.rows, sizes.wakes),
                *await reconciliation.contestants(here.database, book, caller.id, sizes.items),
                *await events.contestants(here.database, where, sizes.events),
                *await webhooks.contestants(here.database, url, caller.id, sizes.deliveries),
            ]

    return opened

"""Sources of messages, and the loop that takes from one: a batch, its effects, and only then its acknowledgement.

Promise: nothing is acknowledged that is not committed; the next batch is asked for when this one is done, so a slow database
holds the bus back and never fills our memory.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog

from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.loops import heed
from clearhouse.kernel.inbox.dead import Dead
from clearhouse.kernel.inbox.messages import Message, Subscription
from clearhouse.kernel.inbox.taking import replay_due, take

BATCH_MESSAGES = 500
BATCH_BYTES_MAX = 16 * 1024 * 1024
HEADERS_BYTES_MAX = 16 * 1024
TEXT_LENGTH_MAX = 500
FETCH_SECONDS = 1.0
PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
_log = structlog.get_logger(__name__)


class Source(Protocol):
    """Where messages of one subscription come from, while we are connected."""

    async def fetch(self) -> Sequence[Message]:
        """Return the next messages, or none after a moment."""
        ...

    async def bury(self, dead: Sequence[Dead]) -> None:
        """Send messages that had no effect where dead letters go."""

    async def acknowledge(self) -> None:
        """Let the bus forget what was fetched."""


def letter(dead: Dead, *, room: int) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a dead letter: of a message that would not fit again, the beginning and the length.

    Headers are one line each and bounded, whatever the sender wrote.
    """
    message = dead.message
    told = {"code": dead.refusal.code, "reason": dead.reason, "source": message.source, "message-id": message.id}
    headers = {name: line(value) for name, value in told.items()}
    return headers | {"length": str(len(message.body))}, message.body[: max(room - HEADERS_BYTES_MAX, 0)]


def line(text: str) -> str:
    """Return the beginning of a text as one line that any header can carry."""
    return " ".join("".join(each if each.isprintable() else " " for each in text[:TEXT_LENGTH_MAX]).split())


Opened = Callable[[], AbstractAsyncContextManager[Source]]


async def consume(door: Door, subscription: Subscription, opened: Opened) -> None:
    """Take messages until cancelled; after any fault what was not acknowledged comes again, and has no second effect."""
    pause = PAUSE_SECONDS
    with door.database.loops.counted(f"inbox_{subscription.name}") as turning:
        while True:
            try:
                async with opened() as source:
                    while True:
                        heed()
                        await turn(door, subscription, source)
                        turning.came_round()
                        pause = PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this subscription's affair alone
                _log.warning("not taken, tried again soon", subscription=subscription.name, reason=repr(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)


async def turn(door: Door, subscription: Subscription, source: Source) -> int:
    """Take one batch, and try again what somebody asked for; return how many messages came."""
    messages = await source.fetch()
    if messages:
        await source.bury(await take(door, subscription, messages))
        await source.acknowledge()
    await replay_due(door, subscription)
    return len(messages)

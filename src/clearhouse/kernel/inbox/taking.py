"""Taking messages in: decode, submit under the message's id, put aside what has no effect.

Promise: when `take` returns, each message has had its effect, had it before, or lies among the dead letters, and all of that
is committed; only then may the bus forget it. What may still succeed is tried until it does, and holds back what follows.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from clearhouse import clock
from clearhouse.kernel.access.authentication import acting
from clearhouse.kernel.access.callers import Caller, require
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.inbox import dead
from clearhouse.kernel.inbox.dead import Dead
from clearhouse.kernel.inbox.messages import Message, Subscription, understood, waves
from clearhouse.refusals import Refusal

PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 5.0
KEY_LENGTH_MAX = 150
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Desk:
    """On whose behalf messages of a subscription are submitted, and in which book."""

    door: Door
    subscription: Subscription
    caller: Caller
    book: int

    async def effect(self, message: Message, *, again: int = 0) -> Refusal | None:
        """Let a message have its effect, or return why it has none and never will."""
        command = understood(self.subscription, message)
        if isinstance(command, Refusal):
            return command
        pause = PAUSE_SECONDS
        while True:
            answer = await self._answer(command, _key(self.subscription, message, again))
            if not isinstance(answer, Refusal):
                return None
            if not answer.retryable:
                return answer
            _log.debug("a message waits", subscription=self.subscription.name, reason=answer.code)
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    async def _answer(self, command: object, key: str) -> object:
        try:
            return (await self.door.submit(self.subscription.kind, [command], caller=self.caller, book=self.book, key=key))[
                0
            ]
        except Refusal as refusal:
            return refusal


async def take(door: Door, subscription: Subscription, messages: Sequence[Message]) -> list[Dead]:
    """Let messages have their effects, and return those that had none: they are among the dead letters now."""
    desk = await _desk(door, subscription)
    put_aside: list[Dead] = []
    for wave in waves(messages):
        refusals = await asyncio.gather(*(desk.effect(message) for message in wave))
        put_aside += [Dead(message, each) for message, each in zip(wave, refusals, strict=True) if each is not None]
    if put_aside:
        async with door.database.writing(book=desk.book) as tx:
            await dead.bury(tx, subscription, put_aside, clock.now())
        door.committed.set()
    return put_aside


async def replay_due(door: Door, subscription: Subscription) -> int:
    """Try the dead letters again for which somebody asked that; return how many there were."""
    desk = await _desk(door, subscription)
    async with door.database.reading([desk.book]) as tx:
        rows = await dead.due(tx, subscription)
    for row in rows:
        refusal = await desk.effect(Message(row.message, row.source, row.body, row.subject), again=row.replays)
        async with door.database.writing(book=desk.book) as tx:
            await dead.tried(tx, row, refusal, clock.now())
        door.committed.set()
    return len(rows)


async def _desk(door: Door, subscription: Subscription) -> _Desk:
    caller = await acting(door.database, subscription.principal, subscription.book)
    book = caller.book(subscription.book)
    require(caller, subscription.kind.scope, book)
    return _Desk(door, subscription, caller, book)


def _key(subscription: Subscription, message: Message, again: int) -> str:
    own = message.id
    if len(own) > KEY_LENGTH_MAX or "\0" in own:
        own = hashlib.sha256(own.encode()).hexdigest()
    # the number stands where no id of a message reaches: a sender could else use up the key of somebody's replay
    return f"{subscription.name}/{own}" if not again else f"{subscription.name}#{again}/{own}"

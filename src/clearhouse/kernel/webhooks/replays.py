"""Replays: one delivery again, everything that is dead again, or everything since a time.

Promise: a replay makes no second delivery of an event: the one that is there is to be made again, under the same id.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse import clock
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.webhooks.deliveries import KEPT_TRYING, DeliveryNotFound, position
from clearhouse.kernel.webhooks.endpoints import PREFIX, Row, WebhookDisabled, WebhookNotFound, WebhookRef, sql
from clearhouse.refusals import Kind, Malformed, Refusal

SKEW = timedelta(minutes=1)  # rows are numbered when they are committed, a little later than their time


class DeliveryPending(Refusal):
    """Event {event} is on its way to this webhook already."""

    code = "delivery_pending"
    kind = Kind.CONFLICT


class ReplayWebhook(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Send again what a webhook was sent or should have been: one event, all that is dead, or all since a time."""

    webhook: WebhookRef
    event: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    dead: bool = False
    since: datetime | None = None


class Replayed(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many deliveries go out again; of a time nobody knows yet, since they are made from the log."""

    webhook: str
    deliveries: int | None = None
    since: datetime | None = None


class _Place(msgspec.Struct, frozen=True):
    number: int
    at: datetime


async def replay(tx: Tx, asked: Sequence[Asked[ReplayWebhook]], at: datetime) -> list[Replayed | Refusal]:
    """Replay, one after another."""
    answers: list[Replayed | Refusal] = []
    for each in asked:
        try:
            answers.append(await _replay(tx, each.command, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _replay(tx: Tx, command: ReplayWebhook, at: datetime) -> Replayed:
    if [command.event is not None, command.dead, command.since is not None].count(True) != 1:
        raise Malformed(field="the body", problem="it says one of event, dead and since")
    endpoint = readable(PREFIX, command.webhook)
    found = await tx.row(sql["hold_webhook"], Row, book=tx.book, id=endpoint)
    if found is None:
        raise WebhookNotFound(id=command.webhook)
    if found.state == "disabled":
        raise WebhookDisabled(id=command.webhook)
    if command.since is not None:
        since = clock.utc(command.since)
        await _rewind(tx, endpoint, since)
        return Replayed(command.webhook, since=since)
    again = {"book": tx.book, "endpoint": endpoint, "at": at, "ends_at": at + KEPT_TRYING}
    if command.event is None:
        return Replayed(command.webhook, await tx.do(sql["replay_dead"], **again))
    number, place = position(command.event, tx.book)
    if await tx.do(sql["replay_one"], number=number, place=place, **again) == 0:
        there = await tx.tuples(sql["delivery"], {"book": tx.book, "endpoint": endpoint, "number": number, "place": place})
        if there:
            raise DeliveryPending(event=command.event)
        raise DeliveryNotFound(webhook=command.webhook, event=command.event)
    return Replayed(command.webhook, 1)


async def _rewind(tx: Tx, endpoint: UUID, since: datetime) -> None:
    """Take an endpoint back to before the first row that is not older than a time; if there is none, it stays."""
    last = await tx.row(sql["last_row"], _Place, book=tx.book)
    low, high = 1, 1 if last is None else last.number
    while low < high:  # the first row that may be the one: times rise with numbers, but for the skew
        middle = (low + high) // 2
        found = await tx.row(sql["row_at_or_after"], _Place, book=tx.book, number=middle)
        if found is not None and found.at < since - SKEW:
            low = middle + 1
        else:
            high = middle
    first = await tx.row(sql["first_since"], _Place, book=tx.book, number=low, since=since)
    if first is not None:
        await tx.do(sql["rewind"], book=tx.book, id=endpoint, number=first.number)

"""Endpoints: where events of a book go, which of them, and the secrets that they are signed with.

Promise: a secret is in the answer that made it and in no other, in no line of the journal and under no stored key; it is
stored sealed. One that is replaced is good for a day longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.access.sealing import SEALING, NoKeys
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.webhooks import signing
from clearhouse.kernel.webhooks.signing import sql
from clearhouse.refusals import Kind, Refusal

PREFIX = "whk"
WEBHOOKS_MAX = 100
SECRETS_MAX = 5
OVERLAP = timedelta(days=1)
Url = Annotated[
    str,
    msgspec.Meta(min_length=8, max_length=2_000, pattern=r"^https?://[!-~]+$(?!\n)", examples=["https://192.0.2.7/hooks"]),
]
Description = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", examples=["the warehouse"])]
TypeFilter = Annotated[
    str,
    msgspec.Meta(
        max_length=100, pattern=r"^[a-z][a-z0-9_]*([.][a-z0-9_]+)*([.][*])?$(?!\n)", examples=["ledger.posted", "ledger.*"]
    ),
]
TypeFilters = Annotated[list[TypeFilter], msgspec.Meta(max_length=50)]
WebhookRef = Annotated[str, msgspec.Meta(max_length=30, examples=["whk_01KAHG7R9Q7XKJ8W3M5N2P4T6V"])]
State = Literal["enabled", "disabled"]
Reason = Literal["", "asked", "gone"]


class WebhookNotFound(Refusal):
    """There is no webhook {id} here."""

    code = "webhook_not_found"
    kind = Kind.UNKNOWN


class SecretShownOnce(Refusal):
    """Webhook {id} was added by an earlier request and its secret was shown then; replace the secret if it is lost."""

    code = "secret_shown_once"
    kind = Kind.CONFLICT


class ManyWebhooks(Refusal):
    """A book has at most {most} webhooks that are enabled; disable one that nobody needs."""

    code = "many_webhooks"
    kind = Kind.REFUSED


class ManySecrets(Refusal):
    """Webhook {id} has {most} secrets that are good, the last ones for a day; replace it again when they have ended."""

    code = "many_secrets"
    kind = Kind.REFUSED


class WebhookDisabled(Refusal):
    """Webhook {id} is disabled; enable it first."""

    code = "webhook_disabled"
    kind = Kind.REFUSED


class AddWebhook(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Send events of this book to an address: those of the types that are named, or all."""

    url: Url
    description: Description = ""
    types: TypeFilters = []


class ChangeWebhook(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Change a webhook: what is left out stays as it is."""

    webhook: WebhookRef
    url: Url | None = None
    description: Description | None = None
    types: TypeFilters | None = None


class DisableWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send a webhook nothing more, until it is enabled."""

    webhook: WebhookRef


class EnableWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send a webhook what happens from now on, and what was waiting for it."""

    webhook: WebhookRef


class ReplaceSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give a webhook a new secret; those before it are good for a day longer."""

    webhook: WebhookRef


class TryWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send a webhook an event of type `webhooks.tried`, whatever types it asked for."""

    webhook: WebhookRef


class Webhook(msgspec.Struct, frozen=True):
    """Where events go. It is `disabled` because somebody asked, or because the receiver said it is gone."""

    id: str
    url: str
    description: str
    types: list[str]
    state: State
    reason: Reason
    added_at: datetime
    added_by: str
    changed_at: datetime


class AddedWebhook(msgspec.Struct, frozen=True):
    """A webhook with its secret: this is the only time it is seen."""

    webhook: Webhook
    secret: str


class NewSecret(msgspec.Struct, frozen=True):
    """A secret, the only time it is seen, and when those before it end."""

    webhook: str
    secret: str
    others_end_at: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """A webhook as it is stored."""

    id: UUID
    url: str
    description: str
    types: list[str]
    state: State
    reason: Reason
    added_at: datetime
    added_by: UUID
    changed_at: datetime

    @property
    def webhook(self) -> Webhook:
        """Return it as it is shown."""
        return Webhook(
            ids.text(PREFIX, self.id), self.url, self.description, self.types, self.state, self.reason,
            self.added_at, ids.text("prn", self.added_by), self.changed_at,
        )  # fmt: skip


async def add_webhooks(tx: Tx, asked: Sequence[Asked[AddWebhook]], at: datetime) -> list[AddedWebhook | Refusal]:
    """Add webhooks, each at the end of the log as it is now."""
    return [await _add(tx, each, at) for each in asked]


async def _add(tx: Tx, asked: Asked[AddWebhook], at: datetime) -> AddedWebhook | Refusal:
    command = asked.command
    if await _look(tx, asked.id) is not None:
        return SecretShownOnce(id=ids.text(PREFIX, asked.id))
    if not SEALING.keys:
        return NoKeys()
    added = await tx.row(
        sql["add_webhook"], Row, book=tx.book, id=asked.id, url=command.url, description=command.description,
        types=sorted(set(command.types)), at=at, by=asked.by, most=WEBHOOKS_MAX,
    )  # fmt: skip
    if added is None:
        return ManyWebhooks(most=str(WEBHOOKS_MAX))
    return AddedWebhook(added.webhook, await signing.add(tx, asked.id, at))


async def change_webhooks(tx: Tx, asked: Sequence[Asked[ChangeWebhook]], at: datetime) -> list[Webhook | Refusal]:
    """Change webhooks; new types count for the events that have no delivery yet."""
    answers: list[Webhook | Refusal] = []
    for each in asked:
        command = each.command
        types = None if command.types is None else sorted(set(command.types))
        changed = await tx.row(
            sql["change_webhook"], Row, book=tx.book, id=readable(PREFIX, command.webhook), url=command.url,
            description=command.description, types=types, at=at,
        )  # fmt: skip
        answers.append(WebhookNotFound(id=command.webhook) if changed is None else changed.webhook)
    return answers


async def disable_webhooks(tx: Tx, asked: Sequence[Asked[DisableWebhook]], at: datetime) -> list[Webhook | Refusal]:
    """Disable webhooks; one that is stays as it is."""
    answers: list[Webhook | Refusal] = []
    for each in asked:
        await tx.do(sql["disable_webhook"], book=tx.book, id=readable(PREFIX, each.command.webhook), reason="asked", at=at)
        answers.append(await _found(tx, each.command.webhook))
    return answers


async def enable_webhooks(tx: Tx, asked: Sequence[Asked[EnableWebhook]], at: datetime) -> list[Webhook | Refusal]:
    """Enable webhooks at the end of the log as it is now; what happened in between is there to be replayed."""
    answers: list[Webhook | Refusal] = []
    for each in asked:
        there = await _found(tx, each.command.webhook)
        if isinstance(there, Webhook) and there.state == "disabled":
            enabled = await tx.do(
                sql["enable_webhook"], book=tx.book, id=readable(PREFIX, there.id), at=at, most=WEBHOOKS_MAX
            )
            there = await _found(tx, there.id) if enabled else ManyWebhooks(most=str(WEBHOOKS_MAX))
        answers.append(there)
    return answers


async def replace_secrets(tx: Tx, asked: Sequence[Asked[ReplaceSecret]], at: datetime) -> list[NewSecret | Refusal]:
    """Make new secrets."""
    return [await _replace(tx, each, at) for each in asked]


async def _replace(tx: Tx, asked: Asked[ReplaceSecret], at: datetime) -> NewSecret | Refusal:
    endpoint = readable(PREFIX, asked.command.webhook)
    found = await tx.row(sql["hold_webhook"], Row, book=tx.book, id=endpoint)
    if found is None:
        return WebhookNotFound(id=asked.command.webhook)
    if await signing.count(tx, endpoint, at) >= SECRETS_MAX:
        return ManySecrets(id=asked.command.webhook, most=str(SECRETS_MAX))
    if not SEALING.keys:
        return NoKeys()
    ends_at = at + OVERLAP
    await tx.do(sql["drop_secrets"], book=tx.book, endpoint=endpoint, at=at)
    await tx.do(sql["end_secrets"], book=tx.book, endpoint=endpoint, ends_at=ends_at)
    return NewSecret(asked.command.webhook, await signing.add(tx, endpoint, at), ends_at)


async def try_webhooks(tx: Tx, asked: Sequence[Asked[TryWebhook]], _: datetime) -> list[Webhook | Refusal]:
    """Answer with the webhooks; the journal's line of each is the event that it is tried with."""
    found = [await _found(tx, each.command.webhook) for each in asked]
    return [
        WebhookDisabled(id=each.id) if isinstance(each, Webhook) and each.state == "disabled" else each for each in found
    ]


async def find(tx: Tx, text: str) -> Webhook:
    """Return a webhook."""
    found = await _found(tx, text)
    if isinstance(found, Refusal):
        raise found
    return found


async def webhooks(tx: Tx, *, after: str | None = None, most: int = 100) -> list[Webhook]:
    """Return the webhooks of a book, oldest first."""
    last = ids.NOBODY if after is None else readable(PREFIX, after)
    return [row.webhook for row in await tx.rows(sql["webhooks"], Row, book=tx.book, after=last, most=most)]


async def _found(tx: Tx, text: str) -> Webhook | Refusal:
    row = await _look(tx, readable(PREFIX, text))
    return WebhookNotFound(id=text[:64]) if row is None else row.webhook


async def _look(tx: Tx, endpoint: UUID) -> Row | None:
    return await tx.row(sql["webhook"], Row, book=tx.book, id=endpoint)

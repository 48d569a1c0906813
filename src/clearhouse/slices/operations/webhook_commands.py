"""The commands of webhooks: their names and scopes, and what the journal says of each.

Promise: an event names the host of an address and no more, since the rest may hold a token.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.access.roles import Role, Scope
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.webhooks import endpoints, replays
from clearhouse.kernel.webhooks.deliveries import TRIED
from clearhouse.kernel.webhooks.endpoints import (
    AddedWebhook,
    AddWebhook,
    ChangeWebhook,
    DisableWebhook,
    EnableWebhook,
    NewSecret,
    Reason,
    ReplaceSecret,
    TryWebhook,
    Webhook,
)  # fmt: skip
from clearhouse.kernel.webhooks.replays import Replayed, ReplayWebhook

WRITE = "webhooks:write"
AGAIN = "webhooks:replay"


class WebhookEvent(msgspec.Struct, frozen=True):
    """Where events go from now on, and which."""

    host: str
    description: str
    types: list[str]


class DisabledEvent(msgspec.Struct, frozen=True):
    """Why a webhook is sent nothing more: somebody asked, or its receiver said that it is gone."""

    reason: Reason


class SecretEvent(msgspec.Struct, frozen=True):
    """When the secrets end that were good before."""

    others_end_at: datetime


class ReplayedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a webhook is sent again."""

    event: str | None = None
    dead: bool = False
    since: datetime | None = None
    deliveries: int | None = None


def _told(webhook: Webhook) -> WebhookEvent:
    return WebhookEvent(urlsplit(webhook.url).hostname or "", webhook.description, webhook.types)


def _added(_: Asked[AddWebhook], answer: AddedWebhook) -> Line:
    return Line("webhooks.added", answer.webhook.id, _told(answer.webhook))  # never the secret


def _changed(_: Asked[ChangeWebhook], answer: Webhook) -> Line:
    return Line("webhooks.changed", answer.id, _told(answer))


def _disabled(_: Asked[DisableWebhook], answer: Webhook) -> Line:
    return Line("webhooks.disabled", answer.id, DisabledEvent(answer.reason))


def _enabled(_: Asked[EnableWebhook], answer: Webhook) -> Line:
    return Line("webhooks.enabled", answer.id, _told(answer))


def _replaced(_: Asked[ReplaceSecret], answer: NewSecret) -> Line:
    return Line("webhooks.secret_replaced", answer.webhook, SecretEvent(answer.others_end_at))


def _tried(_: Asked[TryWebhook], answer: Webhook) -> Line:
    return Line(TRIED, answer.id)


def _replayed(asked: Asked[ReplayWebhook], answer: Replayed) -> Line:
    command = asked.command
    told = ReplayedEvent(command.event, command.dead, answer.since, answer.deliveries)
    return Line("webhooks.replayed", answer.webhook, told)


ADD = Kind(
    "webhooks.add", WRITE, endpoints.add_webhooks, AddedWebhook, _added, kept=False, events={"webhooks.added": WebhookEvent}
)
CHANGE = Kind(
    "webhooks.change", WRITE, endpoints.change_webhooks, Webhook, _changed, natural=False,
    events={"webhooks.changed": WebhookEvent},
)  # fmt: skip
DISABLE = Kind(
    "webhooks.disable", WRITE, endpoints.disable_webhooks, Webhook, _disabled, natural=False,
    events={"webhooks.disabled": DisabledEvent},
)  # fmt: skip
ENABLE = Kind(
    "webhooks.enable", WRITE, endpoints.enable_webhooks, Webhook, _enabled, natural=False,
    events={"webhooks.enabled": WebhookEvent},
)  # fmt: skip
REPLACE_SECRET = Kind(
    "webhooks.replace_secret", WRITE, endpoints.replace_secrets, NewSecret, _replaced, kept=False,
    events={"webhooks.secret_replaced": SecretEvent},
)  # fmt: skip
TRY = Kind("webhooks.try", AGAIN, endpoints.try_webhooks, Webhook, _tried, natural=False, events={TRIED: None})
REPLAY = Kind(
    "webhooks.replay", AGAIN, replays.replay, Replayed, _replayed, natural=False,
    events={"webhooks.replayed": ReplayedEvent},
)  # fmt: skip
ALL: tuple[Kind[Any, Any], ...] = (ADD, CHANGE, DISABLE, ENABLE, REPLACE_SECRET, TRY, REPLAY)
SCOPES: Mapping[Role, Iterable[Scope]] = {
    "operator": ("webhooks:read", AGAIN, "events:read"),
    "auditor": ("webhooks:read", "events:read"),
    "admin": ("webhooks:read", WRITE, AGAIN, "events:read"),
}

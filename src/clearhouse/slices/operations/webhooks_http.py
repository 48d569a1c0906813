"""Webhooks over HTTP: where events go, what became of each, and again."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter, QueryParameter

from clearhouse.kernel.webhooks import deliveries, endpoints
from clearhouse.kernel.webhooks.deliveries import Delivery, State
from clearhouse.kernel.webhooks.endpoints import (
    AddedWebhook,
    AddWebhook,
    ChangeWebhook,
    Description,
    DisableWebhook,
    EnableWebhook,
    NewSecret,
    ReplaceSecret,
    TryWebhook,
    TypeFilters,
    Url,
    Webhook,
)  # fmt: skip
from clearhouse.kernel.webhooks.replays import Replayed, ReplayWebhook
from clearhouse.slices.operations import webhook_commands as commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, patch, post
from clearhouse.transport.http.visits import Book, IdempotencyKey, here
from clearhouse.transport.webhooks.addresses import NETWORK

READ = "webhooks:read"
Asking = Request[Any, Any, Any]
WebhookPath = Annotated[str, PathParameter(description="A webhook's id.", max_length=64)]


class Changes(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to change of a webhook; what is left out stays. No types at all means every type."""

    url: Url | None = None
    description: Description | None = None
    types: TypeFilters | None = None


class Again(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to be sent again: one event, all that is dead, or everything since a time."""

    event: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    dead: bool = False
    since: datetime | None = None


@get("/", summary="List webhooks")
async def list_webhooks(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Webhook]]:
    """Return where events of this book go, oldest first; never a secret."""
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else (await endpoints.find(tx, cursor)).id
        found = await endpoints.webhooks(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@post("/", summary="Add a webhook")
async def add_webhook(
    request: Asking,
    data: Annotated[AddWebhook, body({"url": "https://192.0.2.7/hooks", "types": ["ledger.*"]})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> AddedWebhook:
    """Send events of this book to an address; the secret that they are signed with is in this answer and nowhere else."""
    here(request).require(commands.WRITE, book)
    await NETWORK.check(data.url)
    return await here(request).submit(commands.ADD, data, book=book, key=key)


@get("/{webhook:str}", summary="Show a webhook")
async def show_webhook(request: Asking, webhook: WebhookPath, book: Book = None) -> Webhook:
    """Return a webhook, without its secret."""
    async with here(request).reading(READ, book) as tx:
        return await endpoints.find(tx, webhook)


@patch("/{webhook:str}", summary="Change a webhook")
async def change_webhook(
    request: Asking,
    webhook: WebhookPath,
    data: Annotated[Changes, body({"types": ["ledger.posted"]})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Webhook:
    """Change what is given; other types count for what is not on its way yet."""
    here(request).require(commands.WRITE, book)
    if data.url is not None:
        await NETWORK.check(data.url)
    command = ChangeWebhook(webhook, data.url, data.description, data.types)
    return await here(request).submit(commands.CHANGE, command, book=book, key=key)


@post("/{webhook:str}/disable", summary="Disable a webhook", status_code=200)
async def disable_webhook(request: Asking, webhook: WebhookPath, book: Book = None, key: IdempotencyKey = None) -> Webhook:
    """Send it nothing more; what waited for it waits on. A webhook is never removed: what it was sent stays to be seen."""
    return await here(request).submit(commands.DISABLE, DisableWebhook(webhook), book=book, key=key)


@post("/{webhook:str}/enable", summary="Enable a webhook", status_code=200)
async def enable_webhook(request: Asking, webhook: WebhookPath, book: Book = None, key: IdempotencyKey = None) -> Webhook:
    """Send it what happens from now on; a replay brings what happened in between."""
    return await here(request).submit(commands.ENABLE, EnableWebhook(webhook), book=book, key=key)


@post("/{webhook:str}/secret", summary="Replace a webhook's secret")
async def replace_secret(request: Asking, webhook: WebhookPath, book: Book = None, key: IdempotencyKey = None) -> NewSecret:
    """Give it a new secret, in this answer and nowhere else; for a day each message is signed with the old one too."""
    return await here(request).submit(commands.REPLACE_SECRET, ReplaceSecret(webhook), book=book, key=key)


@post("/{webhook:str}/try", summary="Try a webhook", status_code=200)
async def try_webhook(request: Asking, webhook: WebhookPath, book: Book = None, key: IdempotencyKey = None) -> Webhook:
    """Send it, and nobody else, an event of type `webhooks.tried`."""
    return await here(request).submit(commands.TRY, TryWebhook(webhook), book=book, key=key)


@post("/{webhook:str}/replay", summary="Send again", status_code=200)
async def replay_webhook(
    request: Asking,
    webhook: WebhookPath,
    data: Annotated[Again, body({"dead": True})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Replayed:
    """Send one event again, all that is dead, or everything since a time, with the types that it asks for now."""
    command = ReplayWebhook(webhook, data.event, data.dead, data.since)
    return await here(request).submit(commands.REPLAY, command, book=book, key=key)


@get("/{webhook:str}/deliveries", summary="List what a webhook was sent")
async def list_deliveries(
    request: Asking, webhook: WebhookPath, book: Book = None, cursor: Cursor = None, limit: Limit = 100,
    which: Annotated[State | None, QueryParameter(name="state", required=False)] = None,
) -> Response[Page[Delivery]]:  # fmt: skip
    """Return deliveries, newest first, those in one state or all; what was taken is forgotten after thirty days."""
    async with here(request).reading(READ, book) as tx:
        found = await deliveries.deliveries(tx, webhook, state=which, before=cursor, most=limit + 1)
    return page(request, found, limit, lambda each: each.event)


router = Router(
    "/webhooks",
    route_handlers=[
        list_webhooks, add_webhook, show_webhook, change_webhook, disable_webhook, enable_webhook, replace_secret,
        try_webhook, replay_webhook, list_deliveries,
    ],
    tags=["webhooks"],
)  # fmt: skip

"""`clearhouse webhooks …`: where events go, what became of each, and again."""

from typing import Any, Literal

from cyclopts import App

from clearhouse.slices.operations.asked import ASKED, READING, Asked, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import say, show, show_all

WEBHOOKS = "/api/v1/webhooks"
SHOWN = ("id", "url", "types", "state", "reason", "description")
app = App(name="webhooks", help="Where events go, and what became of each.")


@app.command(name="list")
def list_webhooks(*, limit: Most = 100, how: Reading = READING) -> None:
    """List where events of this book go."""
    show_all(server().items(WEBHOOKS, most=limit, book=how.book), SHOWN, json=how.json)


@app.command
def add(url: str, *types: str, description: str | None = None, how: Asked = ASKED) -> None:
    """Send events to a URL, those of TYPES like ledger.posted or ledger.*, or all; the secret is shown once, now."""
    body = {"url": url, "types": list(types), "description": description}
    added = server().post(WEBHOOKS, body, key=how.key, book=how.book)
    show(added if how.json else {**added["webhook"], "secret": added["secret"]}, json=how.json)
    say("keep the secret: it is shown this once")


@app.command(name="show")
def show_webhook(webhook: str, *, how: Reading = READING) -> None:
    """Show a webhook, without its secret."""
    show(server().get(_path(webhook), book=how.book), json=how.json)


@app.command
def change(
    webhook: str, *, url: str | None = None, types: list[str] | None = None, description: str | None = None,
    how: Reading = READING,
) -> None:  # fmt: skip
    """Change what is given of a webhook."""
    given = {"url": url, "types": types, "description": description}
    body = {name: value for name, value in given.items() if value is not None}
    show(server().change(_path(webhook), body, book=how.book), json=how.json)


@app.command
def disable(webhook: str, *, how: Asked = ASKED) -> None:
    """Send a webhook nothing more, until it is enabled."""
    _say(webhook, "disable", how)


@app.command
def enable(webhook: str, *, how: Asked = ASKED) -> None:
    """Send a webhook what happens from now on."""
    _say(webhook, "enable", how)


@app.command(name="try")
def try_webhook(webhook: str, *, how: Asked = ASKED) -> None:
    """Send a webhook, and nobody else, an event of type webhooks.tried."""
    _say(webhook, "try", how)


@app.command
def secret(webhook: str, *, how: Asked = ASKED) -> None:
    """Replace a webhook's secret: the new one is shown now and never again, the old one is good for a day more."""
    _say(webhook, "secret", how)
    say("keep the secret: it is shown this once")


@app.command
def deliveries(
    webhook: str, *, state: Literal["pending", "delivered", "dead"] | None = None, limit: Most = 100, how: Reading = READING
) -> None:
    """List what a webhook was sent, newest first, and what it answered."""
    found = server().items(f"{_path(webhook)}/deliveries", most=limit, book=how.book, state=state)
    show_all(found, ("event", "type", "state", "attempts", "next_at", "status", "answer"), json=how.json)


@app.command
def replay(
    webhook: str, event: str | None = None, *, dead: bool = False, since: str | None = None, how: Asked = ASKED
) -> None:
    """Send again: one EVENT, everything that is --dead, or everything --since a time."""
    _say(webhook, "replay", how, {"event": event, "dead": dead or None, "since": since})


def _path(webhook: str) -> str:
    return f"{WEBHOOKS}/{segment(webhook)}"


def _say(webhook: str, word: str, how: Asked, body: dict[str, Any] | None = None) -> None:
    show(server().post(f"{_path(webhook)}/{word}", body, key=how.key, book=how.book), json=how.json)

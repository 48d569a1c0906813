"""`clearhouse access …`: books, principals, roles, keys."""

from typing import Literal

from cyclopts import App

from clearhouse.kernel.access.roles import Role
from clearhouse.slices.operations.asked import READING, Reading
from clearhouse.slices.operations.ledger_cli import Most
from clearhouse.transport.cli.client import segment, server
from clearhouse.transport.cli.showing import say, show, show_all

PRINCIPALS = "/api/v1/access/principals"
app = App(name="access", help="Who may do what, and keys.")


@app.command
def whoami(*, how: Reading = READING) -> None:
    """Show who your key belongs to, and what it may do in each book."""
    show(server().get("/api/v1/access/whoami"), json=how.json)


@app.command
def token(*, how: Reading = READING) -> None:
    """Exchange your key for a token that ends within the hour."""
    show(server().post("/api/v1/access/tokens"), json=how.json)


@app.command
def books(*, how: Reading = READING) -> None:
    """List the books that you have a role in."""
    show_all(server().get("/api/v1/access/books"), ("name", "title", "opened_at"), json=how.json)


@app.command
def open_book(name: str, *, title: str | None = None, how: Reading = READING) -> None:
    """Open a book; you are its first administrator."""
    show(server().post("/api/v1/access/books", {"name": name, "title": title}), json=how.json)


@app.command
def principals(*, limit: Most = 100, how: Reading = READING) -> None:
    """List people and services, with their roles in this book."""
    found = server().items(PRINCIPALS, most=limit, book=how.book)
    show_all(found, ("name", "kind", "organisation", "roles", "id"), json=how.json)


@app.command
def add(
    name: str, *roles: Role, kind: Literal["person", "service"] = "person", organisation: str | None = None,
    how: Reading = READING,
) -> None:  # fmt: skip
    """Let a person or a service be known, with ROLES in this book: viewer, operator, approver, auditor, admin."""
    body = {"name": name, "roles": list(roles), "kind": kind, "organisation": organisation}
    show(server().post(PRINCIPALS, body, book=how.book), json=how.json)


@app.command(name="roles")
def set_roles(principal: str, *roles: Role, how: Reading = READING) -> None:
    """Set the roles of a principal in this book; nobody sets their own."""
    body = {"roles": list(roles)}
    show(server().send("PUT", f"{PRINCIPALS}/{segment(principal)}/roles", body, book=how.book), json=how.json)


@app.command
def disable(principal: str, *, how: Reading = READING) -> None:
    """Shut a principal out of every book, for good."""
    show(server().post(f"{PRINCIPALS}/{segment(principal)}/disable", book=how.book), json=how.json)


@app.command
def keys(principal: str, *, how: Reading = READING) -> None:
    """List the keys of a principal, without their secrets."""
    found = server().get(f"{PRINCIPALS}/{segment(principal)}/keys", book=how.book)
    show_all(found, ("id", "label", "issued_at", "expires_at", "revoked_at"), json=how.json)


@app.command
def issue(principal: str, *, label: str | None = None, expires_at: str | None = None, how: Reading = READING) -> None:
    """Issue a key; its secret is shown now and never again."""
    body = {"label": label, "expires_at": expires_at}
    show(server().post(f"{PRINCIPALS}/{segment(principal)}/keys", body, book=how.book), json=how.json)
    say("keep the secret: it is shown this once")


@app.command
def revoke(key: str, *, how: Reading = READING) -> None:
    """Make a key worthless; it takes a second to be known everywhere."""
    show(server().post(f"/api/v1/access/keys/{segment(key)}/revoke", book=how.book), json=how.json)

"""Access over HTTP: books, principals, roles, keys and tokens."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import PathParameter

from clearhouse import clock, ids
from clearhouse.kernel.access import books, keys, principals, tokens
from clearhouse.kernel.access.books import Book as OpenedBook
from clearhouse.kernel.access.books import OpenBook
from clearhouse.kernel.access.keys import IssuedKey, IssueKey, Key, Label, RevokeKey
from clearhouse.kernel.access.principals import AddPrincipal, ChangeRoles, DisablePrincipal, Principal
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.access.tokens import Token, TokenForToken
from clearhouse.slices.operations import commands
from clearhouse.transport.http.paging import Cursor, Limit, Page, page
from clearhouse.transport.http.routes import body, get, post, put
from clearhouse.transport.http.visits import Book, IdempotencyKey, here

READ = "access:read"
Asking = Request[Any, Any, Any]
PrincipalPath = Annotated[str, PathParameter(description="A principal's id.", max_length=64)]


class Roles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The roles that a principal is to have in this book."""

    roles: Annotated[list[Role], msgspec.Meta(max_length=5)]


class NewKey(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key is for, and when it ends."""

    label: Label = ""
    expires_at: datetime | None = None


class WhoAmI(msgspec.Struct, frozen=True):
    """Who the credential belongs to and what it may do."""

    id: str
    name: str
    organisation: str
    kind: str
    scopes: dict[str, list[str]]


@get("/whoami", summary="Who am I?")
async def whoami(request: Asking) -> WhoAmI:
    """Return who the credential belongs to, with its scopes in each book."""
    caller = here(request).caller
    scopes = {name: sorted(caller.scopes[number]) for name, number in sorted(caller.books.items())}
    return WhoAmI(ids.text("prn", caller.id), caller.name, caller.organisation, caller.kind, scopes)


@post("/tokens", summary="Exchange a key for a short-lived token")
async def issue_token(request: Asking) -> Token:
    """Return a token that ends within the hour, for whoever must not hold the key itself."""
    visit = here(request)
    if visit.caller.by_token:
        raise TokenForToken
    return tokens.issue(visit.caller.id, visit.gate.secret, clock.now())


@get("/books", summary="List books")
async def list_books(request: Asking) -> list[OpenedBook]:
    """Return the books that you have a role in."""
    visit = here(request)
    async with visit.door.database.reading(visit.caller.books.values()) as tx:
        return await books.books(tx)


@post("/books", summary="Open a book")
async def open_book(
    request: Asking, data: Annotated[OpenBook, body({"name": "europe", "title": "Europe"})], key: IdempotencyKey = None
) -> OpenedBook:
    """Open a book; whoever does is its first administrator."""
    return await here(request).submit(commands.OPEN_BOOK, data, book="main", key=key)


@get("/principals", summary="List principals")
async def list_principals(
    request: Asking, book: Book = None, cursor: Cursor = None, limit: Limit = 100
) -> Response[Page[Principal]]:
    """Return those who are at home in this book or have a role in it, by name."""
    async with here(request).reading(READ, book) as tx:
        after = None if cursor is None else await principals.find_principal(tx, cursor)
        found = await principals.principals(tx, after=after, most=limit + 1)
    return page(request, found, limit, lambda each: each.id)


@post("/principals", summary="Add a principal")
async def add_principal(
    request: Asking,
    data: Annotated[AddPrincipal, body({"name": "Ada", "roles": ["operator"], "kind": "person"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Principal:
    """Let a person or a service be known, with roles in this book."""
    return await here(request).submit(commands.ADD_PRINCIPAL, data, book=book, key=key)


@get("/principals/{principal:str}", summary="Show a principal")
async def show_principal(request: Asking, principal: PrincipalPath, book: Book = None) -> Principal:
    """Return a principal with its roles in this book."""
    async with here(request).reading(READ, book) as tx:
        return await principals.find_principal(tx, principal)


@put("/principals/{principal:str}/roles", summary="Set the roles of a principal")
async def change_roles(
    request: Asking,
    principal: PrincipalPath,
    data: Annotated[Roles, body({"roles": ["viewer", "auditor"]})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> Principal:
    """Set the roles of a principal in this book; nobody sets their own."""
    return await here(request).submit(commands.CHANGE_ROLES, ChangeRoles(principal, data.roles), book=book, key=key)


@post("/principals/{principal:str}/disable", summary="Shut a principal out", status_code=200)
async def disable_principal(
    request: Asking, principal: PrincipalPath, book: Book = None, key: IdempotencyKey = None
) -> Principal:
    """Shut a principal out of every book, for good; what it did stays."""
    return await here(request).submit(commands.DISABLE, DisablePrincipal(principal), book=book, key=key)


@get("/principals/{principal:str}/keys", summary="List the keys of a principal")
async def list_keys(request: Asking, principal: PrincipalPath, book: Book = None) -> list[Key]:
    """Return keys without their secrets."""
    async with here(request).reading(READ, book) as tx:
        found = await principals.find_principal(tx, principal)
        return await keys.keys_of(tx, found.id)


@post("/principals/{principal:str}/keys", summary="Issue a key")
async def issue_key(
    request: Asking,
    principal: PrincipalPath,
    data: Annotated[NewKey, body({"label": "laptop"})],
    book: Book = None,
    key: IdempotencyKey = None,
) -> IssuedKey:
    """Issue a key; its secret is in this answer and nowhere else, ever."""
    command = IssueKey(principal, data.label, data.expires_at)
    return await here(request).submit(commands.ISSUE_KEY, command, book=book, key=key)


@post("/keys/{key_id:str}/revoke", summary="Revoke a key", status_code=200)
async def revoke_key(
    request: Asking, key_id: Annotated[str, PathParameter(max_length=64)], book: Book = None, key: IdempotencyKey = None
) -> Key:
    """Make a key worthless; it takes a second to be known everywhere."""
    return await here(request).submit(commands.REVOKE_KEY, RevokeKey(key_id), book=book, key=key)


router = Router(
    "/access",
    route_handlers=[
        whoami, issue_token, list_books, open_book, list_principals, add_principal, show_principal, change_roles,
        disable_principal, list_keys, issue_key, revoke_key,
    ],
    tags=["access"],
)  # fmt: skip

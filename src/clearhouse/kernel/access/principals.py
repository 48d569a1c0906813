"""Principals: the people and services that may be let in, and the roles each has in a book."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.roles import Role
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.access", "access.sql")
# A `$` alone would let a line break through at the end.
Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", examples=["Mira Novak"])
]
Organisation = Annotated[
    str, msgspec.Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", examples=["Bank of Somewhere"])
]
PrincipalRef = Annotated[str, msgspec.Meta(max_length=30, examples=["prn_01KAHG7R9Q7XKJ8W3M5N2P4T6V"])]


class NameTaken(Refusal):
    """There is a principal called {name} here already."""

    code = "name_taken"
    kind = Kind.REFUSED


class PrincipalNotFound(Refusal):
    """There is no principal {id} here."""

    code = "principal_not_found"
    kind = Kind.UNKNOWN


class OwnGrant(Refusal):
    """Nobody changes their own roles or shuts themselves out; another administrator can."""

    code = "own_grant"
    kind = Kind.DENIED


class AddPrincipal(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Let a person or a service be known, with roles in this book."""

    name: Name
    organisation: Organisation = ""
    kind: Literal["person", "service"] = "person"
    roles: Annotated[list[Role], msgspec.Meta(max_length=6)] = []


class ChangeRoles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set the roles that a principal has in this book; none at all takes them away."""

    principal: PrincipalRef
    roles: Annotated[list[Role], msgspec.Meta(max_length=6)]


class DisablePrincipal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shut a principal out of every book, for good."""

    principal: PrincipalRef


class Principal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person or service, with its roles in this book; `approval` is what others must agree to before it has more."""

    id: str
    name: str
    organisation: str
    kind: Literal["person", "service"]
    roles: list[str]
    added_at: datetime
    disabled_at: datetime | None = None
    approval: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    id: UUID
    name: str
    organisation: str
    kind: Literal["person", "service"]
    roles: list[str]
    added_at: datetime
    disabled_at: datetime | None

    @property
    def principal(self) -> Principal:
        return Principal(
            ids.text("prn", self.id), self.name, self.organisation, self.kind, self.roles, self.added_at, self.disabled_at
        )


async def add_principals(tx: Tx, asked: Sequence[Asked[AddPrincipal]], at: datetime) -> list[Principal | Refusal]:
    """Add principals; the same id again is the same principal."""
    answers: list[Principal | Refusal] = []
    for each in asked:
        command = each.command
        known = await _find(tx, each.id)
        if known is None and await tx.do(
            _sql["add_principal"], book=tx.book, id=each.id, name=command.name, organisation=command.organisation,
            kind=command.kind, at=at,
        ):  # fmt: skip
            await _set_roles(tx, each.id, command.roles, by=each.by, at=at)
            known = await _find(tx, each.id)
        answers.append(known.principal if known is not None else NameTaken(name=command.name))
    return answers


async def change_roles(tx: Tx, asked: Sequence[Asked[ChangeRoles]], at: datetime) -> list[Principal | Refusal]:
    """Set the roles of principals in this book; somebody from another is let in by who administers both."""
    return [await _change(tx, each, at) for each in asked]


async def _change(tx: Tx, asked: Asked[ChangeRoles], at: datetime) -> Principal | Refusal:
    known = await grantable(tx, asked.command.principal, by=asked.by)
    if isinstance(known, Refusal):
        return known
    wanted = ids.parse("prn", known.id)
    await tx.do(_sql["revoke_roles"], book=tx.book, principal=wanted, roles=asked.command.roles)
    await _set_roles(tx, wanted, asked.command.roles, by=asked.by, at=at)
    found = await tx.row(_sql["principal_with_roles"], _Row, book=tx.book, id=wanted)
    return PrincipalNotFound(id=asked.command.principal) if found is None else found.principal


async def grantable(tx: Tx, principal: str, *, by: UUID) -> Principal | Refusal:
    """Return a principal as it stands, if somebody may set its roles in this book."""
    wanted = readable("prn", principal)
    if wanted == by:
        return OwnGrant()
    if not await tx.tuples(_sql["grantable"], {"book": tx.book, "id": wanted, "by": by}):
        return PrincipalNotFound(id=principal)
    found = await tx.row(_sql["principal_with_roles"], _Row, book=tx.book, id=wanted)
    return PrincipalNotFound(id=principal) if found is None else found.principal


async def _set_roles(tx: Tx, principal: UUID, roles: Sequence[Role], *, by: UUID, at: datetime) -> None:
    await tx.do(
        _sql["grant_roles"], book=tx.book, principal=principal, roles=sorted(set(roles)), at=at, by=ids.text("prn", by)
    )


async def disable_principals(tx: Tx, asked: Sequence[Asked[DisablePrincipal]], at: datetime) -> list[Principal | Refusal]:
    """Shut principals of this book out; what they did stays."""
    answers: list[Principal | Refusal] = []
    for each in asked:
        wanted = readable("prn", each.command.principal)
        if wanted == each.by:
            answers.append(OwnGrant())
            continue
        await tx.do(_sql["disable_principal"], book=tx.book, id=wanted, at=at)
        found = await tx.row(_sql["principal_at_home"], _Row, book=tx.book, id=wanted)
        answers.append(PrincipalNotFound(id=each.command.principal) if found is None else found.principal)
    return answers


async def _find(tx: Tx, principal: UUID) -> _Row | None:
    return await tx.row(_sql["principal"], _Row, book=tx.book, id=principal)


async def find_principal(tx: Tx, text: str) -> Principal:
    """Return a principal that is at home in this book or has a role in it."""
    found = await _find(tx, readable("prn", text))
    if found is None:
        raise PrincipalNotFound(id=text)
    return found.principal


async def principals(tx: Tx, *, after: Principal | None = None, most: int = 100) -> list[Principal]:
    """Return the principals of this book in the order of their names."""
    name, own = ("", ids.NOBODY) if after is None else (after.name, ids.parse("prn", after.id))
    found = await tx.rows(_sql["principals"], _Row, book=tx.book, after=name, id=own, most=most)
    return [row.principal for row in found]


def readable(prefix: str, text: str) -> UUID:
    """Return an id, or one that nothing has: what cannot be read cannot be found."""
    try:
        return ids.parse(prefix, text)
    except Refusal:
        return ids.NOBODY

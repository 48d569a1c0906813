"""Books: each one a tenant with accounts, people and a chain of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.refusals import Kind, Refusal

_sql = Statements.of("clearhouse.kernel.access", "access.sql")
BookName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)", examples=["program-42"])
]
Title = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]


class OpeningDenied(Refusal):
    """Only an administrator of the main book opens books."""

    code = "opening_denied"
    kind = Kind.DENIED


class OpenBook(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Open a book; whoever does is its first administrator."""

    name: BookName
    title: Title = ""


class Book(msgspec.Struct, frozen=True):
    """A book."""

    name: str
    title: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class _Opened:
    id: int
    name: str
    title: str
    opened_at: datetime


async def open_books(tx: Tx, asked: Sequence[Asked[OpenBook]], at: datetime) -> list[Book | Refusal]:
    """Open books one by one; one that is there is answered as it is."""
    main = await tx.row(_sql["main_book"], _Opened)
    if main is None or main.id != tx.book:
        return [OpeningDenied() for _ in asked]
    answers: list[Book | Refusal] = []
    for each in asked:
        await tx.do(_sql["open_book"], name=each.command.name, title=each.command.title, at=at, principal=each.by)
        found = await tx.rows(_sql["books_named"], Book, names=[each.command.name])
        answers.extend(found)
    return answers


async def numbers(tx: Tx) -> list[int]:
    """Return the numbers of all books."""
    return [each.id for each in await tx.rows(_sql["all_books"], _Opened)]


async def books(tx: Tx) -> list[Book]:
    """Return the books that the reader may see."""
    return await tx.rows(_sql["books"], Book)

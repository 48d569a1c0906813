"""The caller: who a request comes from, as its credential and the database say, with what it may do in each book."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from clearhouse.kernel.access.roles import Scope
from clearhouse.refusals import Kind, NotFound, Refusal

MAIN = "main"


class Denied(Refusal):
    """This needs the scope {scope} in the book {book}; ask an administrator for a role that has it."""

    code = "denied"
    kind = Kind.DENIED


class BookNeeded(Refusal):
    """You have rights in several books; say which one you mean with `book`."""

    code = "book_needed"
    kind = Kind.MALFORMED


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal that has shown who it is. `books` are those it has any role in, by name."""

    id: UUID
    name: str
    organisation: str = ""
    kind: str = "service"
    books: Mapping[str, int] = field(default_factory=dict[str, int])
    scopes: Mapping[int, frozenset[Scope]] = field(default_factory=dict[int, frozenset[Scope]])
    by_token: bool = False

    def allows(self, scope: Scope, book: int) -> bool:
        """Tell whether it may do this in a book."""
        return scope in self.scopes.get(book, ())

    def book(self, name: str | None = None) -> int:
        """Return the book that is meant: the one named, `main` if it is one of its books, or the only one it has."""
        if name is None:
            if MAIN in self.books:
                return self.books[MAIN]
            if len(self.books) > 1:
                raise BookNeeded
            name = next(iter(self.books), MAIN)
        if name not in self.books:
            raise NotFound(what="book", id=name[:64])
        return self.books[name]


def require(caller: Caller, scope: Scope, book: int) -> None:
    """Refuse a caller that may not do this here; a book it has no role in is not there for it."""
    if book not in caller.scopes:
        raise NotFound(what="book", id="of this request")
    if scope not in caller.scopes[book]:
        name = next(name for name, number in caller.books.items() if number == book)
        raise Denied(scope=scope, book=name)

"""What every verb of the client takes: which book, how to show the answer, and for writes a key."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class Reading:
    """Which book is meant, and how its answer is shown."""

    book: Annotated[str | None, Parameter(help="The book that is meant, if you have several.")] = None
    json: Annotated[bool, Parameter(negative="", help="Print JSON instead of a table.")] = False


@Parameter(name="*")
@dataclass(frozen=True)
class Asked(Reading):
    """The same for what may be asked twice."""

    key: Annotated[str | None, Parameter(help="Makes a repetition harmless: the same key gives the same answer.")] = None


READING = Reading()
ASKED = Asked()

"""Array literals of PostgreSQL, written by hand: the driver looks at every element twice, and a batch has thousands."""

from collections.abc import Iterable, Sequence
from datetime import datetime


def array(values: Iterable[object]) -> str:
    """Return an array of values that need no quotes: numbers, ids, words."""
    return "{" + ",".join(map(str, values)) + "}"


def texts(values: Iterable[str]) -> str:
    """Return an array of texts, whatever they hold."""
    return "{" + ",".join(['"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"' for each in values]) + "}"


def instants(values: Iterable[datetime | None]) -> str:
    """Return an array of instants, some of which may be missing."""
    return array(["NULL" if each is None else f'"{each.isoformat()}"' for each in values])


def hexes(values: Iterable[bytes]) -> str:
    """Return an array of bytes."""
    return "{" + ",".join([f'"\\\\x{each.hex()}"' for each in values]) + "}"


def holdable(text: str) -> str:
    """Return a text as the database can hold it, whoever wrote it: without NULs, and with ? for half a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def composites(rows: Sequence[str]) -> str:
    """Return an array of rows, whose fields are joined by commas; a field of free text goes through `field`."""
    return '{"(' + ')","('.join(rows) + ')"}' if rows else "{}"


def field(value: str | None) -> str:
    """Return a text as a field of a row inside an array: quoted for the row, then for the array."""
    if value is None:
        return ""
    quoted = value.replace("\\", "\\\\").replace('"', '""')
    return '\\"' + quoted.replace("\\", "\\\\").replace('"', '\\"') + '\\"'

"""Refusals: every way to say no is a class with a stable code, values, a sentence, and whether trying again helps.

    Refusal
    ├── Malformed        a field is not what it should be
    ├── NotFound         there is no such thing here, or it is not yours: nobody is told which
    └── …                every other one stands beside what raises it

A class's docstring is its sentence: `{name}` in it is one of the refusal's values. In bulk work refusals are returned, not
raised. Doors say how a kind looks on their wire; nothing here knows of one.
"""

from enum import Enum
from typing import ClassVar


class Kind(Enum):
    """What sort of no it is; a door maps it to its own status."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    UNKNOWN = "unknown"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"


class Refusal(Exception):
    """No."""

    code: ClassVar[str] = "refused"
    kind: ClassVar[Kind] = Kind.REFUSED
    retryable: ClassVar[bool] = False

    def __init__(self, **values: str) -> None:
        super().__init__()
        self.values = values

    def __str__(self) -> str:
        return (type(self).__doc__ or "").format_map(self.values)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refusal) and (self.code, self.values) == (other.code, other.values)

    def __hash__(self) -> int:
        return hash((self.code, *sorted(self.values.items())))

    def __reduce__(self) -> "tuple[object, tuple[type[Refusal], dict[str, str]]]":
        return _rebuilt, (type(self), self.values)

    @classmethod
    def codes(cls) -> "dict[str, type[Refusal]]":
        """Return every refusal that is known to the process, by its code."""
        found: dict[str, type[Refusal]] = {cls.code: cls}
        for each in cls.__subclasses__():
            found |= each.codes()
        return found


class Malformed(Refusal):
    """{field}: {problem}."""

    code = "malformed"
    kind = Kind.MALFORMED


class NotFound(Refusal):
    """There is no {what} {id} here."""

    code = "not_found"
    kind = Kind.UNKNOWN


def as_problem(refusal: Refusal) -> dict[str, object]:
    """Return what a client is told, in the terms of RFC 9457; the status is the door's."""
    return {
        "type": f"urn:clearhouse:refusal:{refusal.code}",
        "title": refusal.code.replace("_", " ").capitalize(),
        "detail": str(refusal),
        "code": refusal.code,
        "retryable": refusal.retryable,
        "values": refusal.values,
    }


def revive(code: str, values: dict[str, str]) -> Refusal:
    """Return a refusal that was kept as its code and values."""
    return _rebuilt(Refusal.codes()[code], values)


def _rebuilt(kind: type[Refusal], values: dict[str, str]) -> Refusal:
    return kind(**values)

"""Identifiers: the only maker of them. UUIDs inside, a prefix and 26 Crockford characters outside (`acc_01KA…`).

Promise: fresh ids rise within a process, so indexes grow at their end; one id has one text; an id derived from the same
parts is the same id, which is how a repeated request makes nothing twice.
"""

import hashlib
import os
import time
from contextlib import suppress
from random import Random
from typing import NewType
from uuid import UUID, SafeUUID

from clearhouse.refusals import Kind, Refusal

AccountId = NewType("AccountId", UUID)
TransferId = NewType("TransferId", UUID)
TransactionId = NewType("TransactionId", UUID)
PrincipalId = NewType("PrincipalId", UUID)
KeyId = NewType("KeyId", UUID)

NOBODY = UUID(int=0)
LEGS_MAX = 4_096
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PYTHON = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_CHARACTERS = 26
_TWO = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_THREE = [two + low for two in _TWO for low in _CROCKFORD]
_TO_PYTHON = bytes(
    _PYTHON[_CROCKFORD.index(chr(each))].encode()[0] if chr(each) in _CROCKFORD else 33 for each in range(256)
)
_LOW = (1 << 62) - 1
_VERSION_AND_VARIANT = 0xF << 76 | 0x3 << 62
_VERSION_7 = 7 << 76 | 2 << 62
_VERSION_8 = 8 << 76 | 2 << 62
_WHOLE = (1 << 128) - 1


class MalformedId(Refusal):
    """{id} is no id that begins with {prefix}_ and goes on with 26 characters."""

    code = "malformed_id"
    kind = Kind.MALFORMED


class _Last:
    """The last fresh id of the process, and the millisecond it was made in."""

    number = 0
    millisecond = 0


_steps = Random(os.urandom(16))  # noqa: S311 - no secrets; each millisecond begins with the system's own


def _uuid(number: int) -> UUID:
    """Return the UUID of a number that is known to fit: what its constructor does, less all of its questions."""
    made = _new(UUID)
    _set(made, "int", number)
    _set(made, "is_safe", _SAFE)
    return made


_new, _set, _SAFE = object.__new__, object.__setattr__, SafeUUID.unknown


def fresh() -> UUID:
    """Return a new id (version 7) above every other of this process, with room for a transaction's legs between."""
    millisecond = time.time_ns() // 1_000_000
    low = (_Last.number & _LOW) + LEGS_MAX + _steps.getrandbits(40)
    if millisecond <= _Last.millisecond and low <= _LOW:
        number = _Last.number & ~_LOW | low
    else:
        _Last.millisecond = max(millisecond, _Last.millisecond + 1)
        number = _stamped(_Last.millisecond << 80 | int.from_bytes(os.urandom(10), "big"), _VERSION_7)
    _Last.number = number
    return _uuid(number)


def derived(*parts: str) -> UUID:
    """Return the id (version 8) that these parts always give."""
    text = "".join(f"{len(part)}:{part}" for part in parts)  # lengths, so that no two lists of parts read the same
    return _uuid(_stamped(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"), _VERSION_8))


def _stamped(number: int, version: int) -> int:
    return number & ~_VERSION_AND_VARIANT | version


def after(first: UUID, count: int) -> UUID:
    """Return the id that stands so many after a first one: the ids of a transaction's later legs."""
    return _uuid((first.int + count) & _WHOLE)


def text(prefix: str, each: UUID) -> str:
    """Return an id as it goes over the wire."""
    n = each.int
    three = _THREE
    return (
        f"{prefix}_{_TWO[n >> 120]}{three[n >> 105 & 32767]}{three[n >> 90 & 32767]}{three[n >> 75 & 32767]}"
        f"{three[n >> 60 & 32767]}{three[n >> 45 & 32767]}{three[n >> 30 & 32767]}{three[n >> 15 & 32767]}{three[n & 32767]}"
    )


def parse(prefix: str, given: str) -> UUID:
    """Read an id; only the text that `text` gives for it is one."""
    start, _, rest = given.partition("_")
    if start == prefix and len(rest) == _CHARACTERS and rest[0] <= "7":
        with suppress(ValueError):
            number = int(rest.encode("ascii").translate(_TO_PYTHON), 32)
            if number:  # nobody's id is never read
                return _uuid(number)
    raise MalformedId(id=given[:64], prefix=prefix)

"""The express lane: a route that is asked thousands of times a second, answered without the framework.

Promise: it answers to the letter as the framework's route of the same address does. Whatever is not plain (a query, another
media type, a body in parts, a body that is refused) it does not touch: the framework gets it as it came.
"""

import re
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

from clearhouse.kernel.commands.kinds import Kind
from clearhouse.transport.http.visits import KEY_LENGTH_MAX, KEY_PATTERN, Visit

BODY_BYTES_MAX = 64 * 1024
_KEY = re.compile(KEY_PATTERN.encode())
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Express:
    """One kind of command at one address: how its body is read, and the status of its answer."""

    path: str
    kind: Kind[Any, Any]
    read: Callable[[bytes], Any]
    status: Callable[[Any], int]

    async def answer(
        self, visit: Visit, headers: Iterable[tuple[bytes, bytes]], message: MutableMapping[str, Any]
    ) -> tuple[int, bytes] | None:
        """Return a status and a body, or None for what is not plain; raises what the command is refused with."""
        body: bytes = message.get("body", b"")
        if message["type"] != "http.request" or message.get("more_body") or not 0 < len(body) <= BODY_BYTES_MAX:
            return None
        plain, key = _headers(headers)
        if not plain:
            return None
        try:
            command = self.read(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        answer = await visit.submit(self.kind, command, key=key)
        return self.status(answer), _encode(answer)


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bool, str | None]:
    """Tell whether the headers are plain, and return the idempotency key."""
    plain, key = False, None
    for name, value in headers:
        if name == b"content-type":
            plain = value == b"application/json"
        elif name == b"idempotency-key":
            if key is not None or len(value) > KEY_LENGTH_MAX or _KEY.fullmatch(value) is None:
                return False, None
            key = value.decode("ascii")
        elif name == b"content-encoding":
            return False, None
    return plain, key

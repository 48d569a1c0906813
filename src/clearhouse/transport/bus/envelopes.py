"""Events as bytes for a bus, and in which order they may be on their way together.

Promise: of one subject the next event sets out when the one before it has arrived, so a bus that loses one and takes the
next cannot put them in the wrong order. What is too large for a message goes without its data and says where those are.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from clearhouse.kernel.journal.events import Event

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
BYTES_MAX = 900_000  # below what NATS and Kafka take by default, with room for headers
BOOKS = "/books/"
_encode = msgspec.json.Encoder().encode


def body(event: Event) -> bytes:
    """Return an event as the body of a message, without its data where they are too many."""
    encoded = _encode(event)
    if len(encoded) <= BYTES_MAX:
        return encoded
    before = event.cursor.number - 1
    where = f"/api/v1/audit/lines?book={book_name(event)}&cursor={before}&limit=1"
    return _encode(msgspec.structs.replace(event, data=UNSET, datacontenttype=UNSET, dataref=where))


def book_name(event: Event) -> str:
    """Return the name of the book that an event is of."""
    return event.source.removeprefix(BOOKS)


def waves(events: Sequence[Event]) -> list[list[Event]]:
    """Cut events into waves, one after another, in none of which a subject is twice."""
    cut: list[list[Event]] = [[]]
    depths: dict[str, int] = {}
    for event in events:
        depth = 0
        if event.subject is not UNSET:
            depth = depths.get(event.subject, 0)
            depths[event.subject] = depth + 1
        if depth == len(cut):
            cut.append([])
        cut[depth].append(event)
    return cut

"""The catalogue of events: an AsyncAPI 3.0 document with a JSON Schema for each type, made of what commands say of it.

Promise: an event that is not in it is not made; a test holds every real one against its schema.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import msgspec

CHANNEL = "/api/v1/events"
CONTENT_TYPE = "application/cloudevents+json"
ABOUT = (
    "Every change of a book is told as an event: a CloudEvents 1.0 envelope whose `data` is described here for each type."
    " The same events are read and followed at /api/v1/events and sent to webhooks. Each arrives at least once; its `id` is"
    " the same for ever, so a reader knows what it has seen. Types and fields may be added."
)


def catalogue(events: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document for these types, each with the type of its data, or None for one without."""
    kinds = {name: events[name] for name in sorted(events)}
    told = list({id(kind): kind for kind in kinds.values() if kind is not None}.values())
    found, components = msgspec.json.schema_components(told, ref_template="#/components/schemas/{name}")
    schemas = {id(kind): schema for kind, schema in zip(told, found, strict=True)}
    messages = {
        name: _message(name, None if kind is None else schemas[id(kind)], components) for name, kind in kinds.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Clearhouse events", "version": version("clearhouse"), "description": ABOUT},
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            "events": {
                "address": CHANNEL,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {"tell": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
        "components": {"messages": messages, "schemas": {"Envelope": _ENVELOPE, **components}},
    }


def _message(name: str, told: dict[str, Any] | None, components: Mapping[str, Any]) -> dict[str, Any]:
    about = "" if told is None else str(components.get(told.get("$ref", "").rpartition("/")[2], told).get("description", ""))
    its = {"type": {"const": name}, "data": False if told is None else told}
    needed = [] if told is None else ["data"]
    payload = {"allOf": [{"$ref": "#/components/schemas/Envelope"}], "properties": its, "required": needed}
    message = {"name": name, "title": name, "contentType": CONTENT_TYPE, "payload": payload}
    return message | ({"summary": about} if about else {})


_TEXT = {"type": "string", "minLength": 1}
_ENVELOPE = {
    "title": "Envelope",
    "description": "What every event has, as CloudEvents 1.0 writes it; `principal` is an extension and says who did it.",
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+-[0-9]+-[0-9]+$", "description": "Book, number, and place in its row."},
        "source": {"type": "string", "pattern": "^/books/", "description": "The book, by its name."},
        "specversion": {"const": "1.0"},
        "type": {"type": "string", "pattern": "^[a-z][a-z0-9_]*([.][a-z0-9_]+)*$"},
        "time": {"type": "string", "format": "date-time"},
        "principal": _TEXT,
        "subject": _TEXT,
        "datacontenttype": {"const": "application/json"},
        "dataref": _TEXT,
    },
    "required": ["id", "source", "specversion", "type", "time", "principal"],
}

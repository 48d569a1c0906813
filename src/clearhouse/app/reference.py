"""The pages of reference that are made of the code, written by `make docs` into docs/reference."""

import sys
from pathlib import Path

import msgspec

from clearhouse.app.products import EVENTS
from clearhouse.transport.http.catalogue import catalogue


def pages() -> dict[str, bytes]:
    """Return every page by the name of its file."""
    document = msgspec.json.format(msgspec.json.encode(catalogue(EVENTS)), indent=2) + b"\n"
    return {"events.asyncapi.json": document, "events.md": _events(catalogue(EVENTS)["components"]["messages"]).encode()}


def _events(messages: dict[str, dict[str, object]]) -> str:
    lines = [f"| `{name}` | {each.get('summary', 'no data')} |" for name, each in messages.items()]
    head = [
        "# Events", "",
        "Made by `make docs` of the code; the schemas are in [events.asyncapi.json](events.asyncapi.json), and every server",
        "serves them at `/api/v1/events/catalogue`.", "", "| Type | What its data is |", "|---|---|",
    ]  # fmt: skip
    return "\n".join([*head, *lines, ""])


def write(folder: Path) -> None:
    """Write every page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (folder / name).write_bytes(page)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

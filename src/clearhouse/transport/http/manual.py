"""The documentation page: the OpenAPI document as one page of HTML, without a script and without a word from elsewhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2430}
h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid #d6dae1}
details{border:1px solid #d6dae1;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f4f5f7;padding:.7rem;overflow-x:auto;border-radius:4px}
.verb{display:inline-block;min-width:3.6rem;font-weight:600;text-transform:uppercase;font-size:12px}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#dfe3ea}pre{background:#1e242e}details,h2{border-color:#394150}}
"""
_VERBS = ("get", "post", "put", "patch", "delete")


def manual(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    about = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(about['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(about['title'])} {escape(about['version'])}</h1><p>{escape(about.get('description', ''))}</p>",
        '<p>The same for machines: <a href="/openapi.json">openapi.json</a></p>',
    ]
    parts += _operations(document)
    parts += ["<h2>Values</h2>", *_schemas(document)]
    return "\n".join(parts)


def _operations(document: dict[str, Any]) -> Iterator[str]:
    tagged: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, verbs in document["paths"].items():
        for verb in _VERBS:
            if verb in verbs:
                tagged.setdefault((verbs[verb].get("tags") or ["server"])[0], []).append((verb, path, verbs[verb]))
    for tag, operations in tagged.items():
        yield f"<h2>{escape(tag.capitalize())}</h2>"
        for verb, path, operation in operations:
            yield _operation(verb, path, operation)


def _operation(verb: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code><td>{escape(each['in'])}<td>{escape(each.get('description') or '')}"
        for each in operation.get("parameters", [])
    )
    examples = "".join(
        f"<p>{escape(media_type)}</p><pre>{_pretty(example)}</pre>"
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items()
        for example in _examples(body)
    )
    answers = ", ".join(f"<code>{status}</code>" for status in operation.get("responses", {}))
    return (
        f"<details><summary><span class=verb>{verb}</span> <code>{escape(path)}</code> — "
        f"{escape(operation.get('summary', ''))}</summary><p>{escape(operation.get('description', ''))}</p>"
        f"<table>{rows}</table>{examples}<p>Answers: {answers}</p></details>"
    )


def _examples(body: dict[str, Any]) -> list[Any]:
    return [each["value"] for each in body.get("examples", {}).values()] + body.get("schema", {}).get("examples", [])


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        about = escape(schema.get("description", ""))
        yield f"<details><summary><code>{escape(name)}</code> {about}</summary><pre>{_pretty(schema)}</pre></details>"


def _pretty(value: object) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

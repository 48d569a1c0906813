"""The OpenAPI document: what the framework knows of the routes, put right where it does not tell all.

Promise: it is made once; a body that allows no unknown field says so.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar

from clearhouse.transport.http import bulk


class Document:
    """The OpenAPI document of an application, made when it is first asked for."""

    def __init__(self) -> None:
        self._written: dict[str, Any] = {}

    def of(self, application: Litestar) -> dict[str, Any]:
        """Return the document."""
        if not self._written:
            document = application.openapi_schema.to_schema()
            strict = {each.__name__ for each in _descendants(msgspec.Struct) if each.__struct_config__.forbid_unknown_fields}
            schemas = document["components"]["schemas"]
            _, items = msgspec.json.schema_components(bulk.DOCUMENTED.values(), ref_template="#/components/schemas/{name}")
            schemas |= {name: schema for name, schema in items.items() if name not in schemas}
            for name, schema in schemas.items():
                if name in strict:
                    schema["additionalProperties"] = False
            self._written = document
        return self._written


def _descendants(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _descendants(each)

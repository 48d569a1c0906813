"""Bulk bodies: a JSON array or NDJSON, item by item. One that is malformed is refused by itself; its neighbours are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
)

from clearhouse.refusals import Kind, Malformed, Refusal
from clearhouse.transport.http.problems import STATUS, Problem

ITEMS_MAX = 10_000
BODY_BYTES_MAX = 32 * 1024 * 1024
DOCUMENTED: dict[str, type[msgspec.Struct]] = {}  # the items of bulk work, for the document: no signature names them
NDJSON = "application/x-ndjson"

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class TooManyItems(Refusal):
    """{count} items are more than the {most} that are taken at once; send them in parts."""

    code = "too_many_items"
    kind = Kind.TOO_LARGE


class Result(msgspec.Struct, Generic[Answer], frozen=True, omit_defaults=True):
    """What became of one item: `ok`, or `refused`."""

    ok: Answer | None = None
    refused: Problem | None = None


class Results(msgspec.Struct, Generic[Answer], frozen=True):
    """One result for each item, in order."""

    results: list[Result[Answer]]


def operation(kind: type[msgspec.Struct], example: dict[str, Any], *, most: int = ITEMS_MAX) -> type[Operation]:
    """Return how a route of bulk work is documented: an array of these, or one on each line."""
    DOCUMENTED[kind.__name__] = kind
    each = Reference(ref=f"#/components/schemas/{kind.__name__}")
    content = {
        "application/json": OpenAPIMediaType(
            schema=Schema(type=OpenAPIType.ARRAY, items=each, max_items=most, examples=[[example]])
        ),
        NDJSON: OpenAPIMediaType(schema=each, examples={"a line": Example(value=example)}),
    }

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content, required=True)

    return Documented


@lru_cache(maxsize=64)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def items(body: bytes, media_type: str, kind: type[Item], *, most: int = ITEMS_MAX) -> list[Item | Refusal]:
    """Read the items of a body; the body as a whole must be well formed."""
    lines = media_type.partition(";")[0].strip().lower() == NDJSON
    try:
        found: list[Item | Refusal] = _decoder(kind).decode_lines(body) if lines else _decoder(list[kind]).decode(body)
    except msgspec.ValidationError:
        raw = _decoder(msgspec.Raw).decode_lines(body) if lines else _decoder(list[msgspec.Raw]).decode(body)
        _bounded(len(raw), most)
        return [_item(each, kind) for each in raw]
    _bounded(len(found), most)
    return found


def _bounded(count: int, most: int) -> None:
    if count > most:
        raise TooManyItems(count=str(count), most=str(most))


def _item(raw: msgspec.Raw, kind: type[Item]) -> Item | Refusal:
    try:
        return _decoder(kind).decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return Malformed(field="the item", problem=str(error)[:300].rstrip("."))


def results(answers: Sequence[Answer | Refusal]) -> Results[Answer]:
    """Return answers as they go over the wire."""
    return Results([Result(refused=_problem(each)) if isinstance(each, Refusal) else Result(ok=each) for each in answers])


def _problem(refusal: Refusal) -> Problem:
    return Problem(
        type=f"urn:clearhouse:refusal:{refusal.code}", title=refusal.code.replace("_", " ").capitalize(),
        status=STATUS[refusal.kind], detail=str(refusal), code=refusal.code, retryable=refusal.retryable,
        values=refusal.values,
    )  # fmt: skip

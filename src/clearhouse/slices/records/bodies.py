"""Bodies: what is sent to create a structure and to upload records, as the contract has them."""

import ast
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema

from clearhouse.slices.records.refusals import Unparsable
from clearhouse.slices.records.structures import NO_SETTLEMENT, PLACEHOLDER, Create
from clearhouse.transport.http.bulk import NDJSON

_RECORD = {"app": "4240e1f7-d287-46a9-8b92-f112510bd9f7", "op": "CREATE", "corr": "AUS-b8727fc3-dfc1-4c37-b6d6-d6897ed10ddd"}
UPDATE: dict[str, Any] = {"record": [_RECORD], "uploadId": "march-4711"}
NAME_LENGTH_MAX = 200


class NewStructure(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """A structure to be: `aggregates` as a list, or as a text like "['msg']"; `record` is a sample and not counted."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "record": _RECORD, "aggregates": ["op"], "aggregationType": "mcCounter", "settlementType": "none",
        "settleid": "testing", "primaryKey": "app",
    }  # fmt: skip
    PLACEHOLDER: ClassVar[dict[str, Any]] = {
        "settleid": "settle", "aggregates": "['msg']", "aggregationType": "mcCounter", "primaryKey": "app",
        "settlementType": "string", "record": {},
    }  # fmt: skip

    settleid: str
    aggregates: list[str] | str
    aggregation_type: str
    primary_key: str
    settlement_type: str = NO_SETTLEMENT
    record: dict[str, Any] = {}
    tolerance: Annotated[str, msgspec.Meta(max_length=80)] = "0"
    currency: str | None = None
    dispute_hours: Annotated[int, msgspec.Meta(ge=0, le=8_784)] = 72

    def asked(self, by: str) -> Create:
        """Return the command that this body is."""
        if self.record and self.primary_key not in self.record:
            raise Unparsable(place="record", problem=f"the sample has no {self.primary_key}, which is to be the primary key")
        settlement = NO_SETTLEMENT if self.settlement_type == PLACEHOLDER else self.settlement_type
        sample = msgspec.json.encode(self.record).decode()
        return Create(
            self.settleid, _names(self.aggregates), self.aggregation_type, self.primary_key, settlement, by, sample,
            self.tolerance, self.currency, self.dispute_hours,
        )  # fmt: skip


def _names(given: list[str] | str) -> list[str]:
    """Return metrics, of a list that may have become a text on its way here."""
    if isinstance(given, list):
        return given
    if not given.startswith("["):
        return [given]
    try:
        return msgspec.convert(ast.literal_eval(given[:10_000]), list[str])
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError, msgspec.ValidationError) as error:
        raise Unparsable(place="aggregates", problem="name the metrics as a list of texts") from error


class _Update(msgspec.Struct, rename="camel"):
    record: msgspec.Raw
    upload_id: str | None = None


def bodies_of(body: bytes) -> tuple[str, bytes]:
    """Return what an upload is called, if anything, and its records, one a line."""
    try:
        update = msgspec.json.decode(body, type=_Update)
        records = _records(bytes(update.record))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        problem = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:200].rstrip(".")
        raise Unparsable(place="the body", problem=problem) from error
    if not records:
        raise Unparsable(place="record", problem="there is none")
    if update.upload_id is not None and not 0 < len(update.upload_id) <= NAME_LENGTH_MAX:
        raise Unparsable(place="uploadId", problem=f"it has 1 to {NAME_LENGTH_MAX} characters")
    return update.upload_id or "", b"\n".join(records)


def _records(raw: bytes) -> list[bytes]:
    """Return records without line feeds: JSON has them only between its parts, where a space is as good."""
    many = msgspec.json.decode(raw, type=list[msgspec.Raw]) if raw.startswith(b"[") else [raw]
    return [bytes(each).replace(b"\n", b" ") for each in many]


def documented(example: dict[str, Any] | None) -> type[Operation]:
    """Return how an upload is documented: as an object with records, or as a stream of them."""
    record = Schema(type=OpenAPIType.OBJECT, examples=[_RECORD])
    content = {NDJSON: OpenAPIMediaType(schema=record, examples={"a line": Example(value=_RECORD)})}
    if example is not None:
        many = Schema(one_of=[record, Schema(type=OpenAPIType.ARRAY, items=record, min_items=1)])
        named = Schema(type=OpenAPIType.STRING, min_length=1, max_length=NAME_LENGTH_MAX)
        body = Schema(type=OpenAPIType.OBJECT, properties={"record": many, "uploadId": named}, required=["record"])
        body.examples = [example]
        content = {"application/json": OpenAPIMediaType(schema=body)}

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content, required=True)

    return Documented

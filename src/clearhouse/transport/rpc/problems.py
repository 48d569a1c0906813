"""Refusals over gRPC: a status, the sentence, and a google.rpc.ErrorInfo with the same code that HTTP answers with."""

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from clearhouse.refusals import Kind, Refusal
from clearhouse.transport.http.problems import refusal_of
from clearhouse.transport.http.visits import Visit

DOMAIN = "clearhouse"
STATUS: dict[Kind, grpc.StatusCode] = {
    Kind.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Kind.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Kind.TOO_LARGE: grpc.StatusCode.OUT_OF_RANGE,
    Kind.REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:  # generic in its stubs only
    Context = grpc.aio.ServicerContext


class DeadlinePassed(Refusal):
    """The call had {seconds} s and they are over; what was asked may still be done, so ask again with the same key."""

    code = "deadline_passed"
    kind = Kind.UNAVAILABLE
    retryable = True


def details(refusal: Refusal, status: grpc.StatusCode) -> bytes:
    """Return a refusal as google.rpc.Status has it."""
    info = ErrorInfo(reason=refusal.code, domain=DOMAIN, metadata=refusal.values)
    info.metadata["retryable"] = "true" if refusal.retryable else "false"
    packed = Packed()
    packed.Pack(info)
    number: int = status.value[0]
    return Status(code=number, message=str(refusal), details=[packed]).SerializeToString()


async def end(context: Context, error: BaseException, visit: Visit | None, method: str) -> NoReturn:
    """End a call with what it is refused with, whatever was raised."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit | grpc.aio.AbortError):
        raise error
    refusal, _ = refusal_of(error if isinstance(error, Exception) else RuntimeError(str(error)), visit, method)
    status = STATUS[refusal.kind]
    if isinstance(refusal, DeadlinePassed):
        status = grpc.StatusCode.DEADLINE_EXCEEDED
    elif refusal.code == "unexpected":
        status = grpc.StatusCode.INTERNAL
    context.set_trailing_metadata([("grpc-status-details-bin", details(refusal, status))])
    await context.abort(status, str(refusal))

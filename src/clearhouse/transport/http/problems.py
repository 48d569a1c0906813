"""Problem documents (RFC 9457): how each kind of refusal looks over HTTP, and what becomes of all else that is raised.

Promise: whoever refuses, the entrance, the framework or a route, a path has one dialect: where the contract of a product has
codes of its own, `dialect` in the options of its router puts a problem into its words.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from clearhouse import ids
from clearhouse.kernel.access.callers import Denied
from clearhouse.kernel.db.faults import DatabaseAway, DatabaseFault, Lost, Passing, Unwritable
from clearhouse.refusals import Kind, Malformed, NotFound, Refusal, as_problem
from clearhouse.transport.http.visits import Own, Visit

MEDIA_TYPE = "application/problem+json"
STATUS: dict[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.UNKNOWN: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.REFUSED: 422,
    Kind.LIMITED: 429,
    Kind.UNAVAILABLE: 503,
}
_NO_BODY = "'data'"  # what the framework says where nothing came
_log = structlog.get_logger(__name__)


class TooLarge(Refusal):
    """The body is larger than the {most} bytes that are taken here; send it in parts."""

    code = "too_large"
    kind = Kind.TOO_LARGE


class WrongMethod(Refusal):
    """There is nothing at {path} for {method}."""

    code = "method_not_allowed"
    kind = Kind.MALFORMED


class WrongMediaType(Refusal):
    """A body of {given} is not taken here; send application/json, or application/x-ndjson where many items are taken."""

    code = "unsupported_media_type"
    kind = Kind.MALFORMED


class Unexpected(Refusal):
    """Something went wrong here and nothing was done; the server's log says what under {reference}."""

    code = "unexpected"
    kind = Kind.UNAVAILABLE


class Problem(msgspec.Struct, frozen=True):
    """A refusal: `code` is stable, `detail` is for people, `retryable` says whether the same again may succeed."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    values: dict[str, str]


class _Complaint(msgspec.Struct, frozen=True):
    """What the framework says of one parameter."""

    message: str = ""
    key: str = ""


DOCUMENTED = {
    status: ResponseSpec(
        Problem, media_type=MEDIA_TYPE, generate_examples=False, description=HTTPStatus(status).phrase.capitalize()
    )
    for status in (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 503)
}


def encoded(refusal: Refusal, status: int | None, scope: Mapping[str, Any]) -> tuple[int, bytes, dict[str, str]]:
    """Return the status, the body and the headers of a refusal, as they are told where somebody asked."""
    number = status or STATUS[refusal.kind]
    headers = {"content-type": MEDIA_TYPE}
    if refusal.retryable:
        headers["retry-after"] = "1"
    if number == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    problem = as_problem(refusal) | {"status": number}
    house: Own | None = scope.get("own")
    dialect = None if house is None else house.dialects.get(scope["path"].strip("/").partition("/")[0])
    return number, msgspec.json.encode(problem if dialect is None else dialect(problem)), headers


def _told(request: Request[Any, Any, Any], refusal: Refusal, status: int | None = None) -> Response[bytes]:
    number, body, headers = encoded(refusal, status, request.scope)
    return Response(body, status_code=number, headers=headers, media_type=MEDIA_TYPE)


def refusal_of(error: Exception, visit: Visit | None, path: str) -> tuple[Refusal, int | None]:
    """Return what a caller is told of anything that was raised, with a status of its own if it has one."""
    if isinstance(error, Refusal):
        if visit is not None and isinstance(error, Denied):
            visit.gate.denied(visit.caller, error, book=visit.caller.books.get(error.values["book"], 0))
        return error, None
    if isinstance(error, Lost | Passing):
        return DatabaseAway(), None
    if isinstance(error, Unwritable):
        return Malformed(field="the request", problem="a text has a NUL character in it"), None
    reference = str(ids.fresh())
    _log.error("request failed", path=path, reference=reference, exc_info=error)
    return Unexpected(reference=reference), HTTPStatus.INTERNAL_SERVER_ERROR


def broke_off(error: Exception, path: str) -> None:
    """Tell the log why an answer ended before its end; that the database went away needs no page of code."""
    fault = _fault(error)
    if fault is None:
        _log.error("an answer broke off", path=path, exc_info=error)
    else:
        _log.warning("an answer broke off", path=path, reason=str(fault))


def _fault(error: BaseException | None) -> DatabaseFault | None:
    """Return the fault of the database that is behind an error, if one is."""
    if error is None or isinstance(error, DatabaseFault):
        return error
    inner: Sequence[BaseException | None] = [error.__cause__]
    if isinstance(error, ExceptionGroup):
        inner = cast("ExceptionGroup[Exception]", error).exceptions
    return next((found for each in inner if (found := _fault(each)) is not None), None)


def _any(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    visit = request.scope.get("visit")
    refusal, status = refusal_of(error, visit if isinstance(visit, Visit) else None, request.scope["path"])
    return _told(request, refusal, status)


def _invalid(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    try:
        first = msgspec.convert(error.extra, list[_Complaint])[0]
    except (msgspec.ValidationError, IndexError):
        first = _Complaint(message=error.detail)
    field = "the body" if first.key == "data" else first.key or "the request"
    problem = "there is none" if first.message == _NO_BODY else first.message[:300].rstrip(".")
    return _told(request, Malformed(field=field, problem=problem))


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    status = error.status_code
    if status == HTTPStatus.NOT_FOUND:
        return _told(request, NotFound(what="page", id=request.scope["path"][:200]))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        answer = _told(request, WrongMethod(path=request.scope["path"][:200], method=request.method[:20]), status)
        answer.headers.update(error.headers or {})
        return answer
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return _told(request, WrongMediaType(given=request.headers.get("content-type", "")[:100]), status)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _told(request, TooLarge(most=str(request.route_handler.resolve_request_max_body_size())))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _told(request, Malformed(field="the request", problem=str(error.detail)[:300].rstrip(".")))
    return _any(request, error)


def _unreadable(request: Request[Any, Any, Any], _error: UnicodeDecodeError) -> Response[bytes]:
    return _told(request, Malformed(field="the body", problem="it is not UTF-8"))


def _malformed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _told(request, Malformed(field="the body", problem=str(error)[:300].rstrip(".")))


def _deep(request: Request[Any, Any, Any], _error: RecursionError) -> Response[bytes]:
    return _told(request, Malformed(field="the body", problem="it is nested too deep"))


ANSWERS: dict[type[Exception] | int, Callable[..., Response[bytes]]] = {
    Refusal: _any,
    ValidationException: _invalid,
    HTTPException: _http,
    msgspec.DecodeError: _malformed,
    RecursionError: _deep,
    UnicodeDecodeError: _unreadable,
    Exception: _any,
}

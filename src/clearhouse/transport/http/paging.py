"""Pages: a list in parts, each with the cursor of the next, in the body and as a `Link` header."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter

Item = TypeVar("Item")
MOST = 1_000
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=MOST, required=False, description="How many at most.")]
Cursor = Annotated[
    str | None,
    QueryParameter(name="cursor", required=False, max_length=700, description="Where the page before ended: its `next`."),
]


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A part of a list; `next` leads on, and is null at the end."""

    items: list[Item]
    next: str | None


def page(
    request: Request[Any, Any, Any], found: Sequence[Item], limit: int, cursor: Callable[[Item], str],
    *, read_to: str | None = None,
) -> Response[Page[Item]]:  # fmt: skip
    """Return a page of what was found, read one beyond the limit to know whether more follows.

    `read_to` is how far was looked, if that was not to the end: then there may be more behind it.
    """
    more = len(found) > limit
    shown = list(found[:limit])
    following = cursor(shown[-1]) if more else read_to
    return Response(Page(shown, following), headers={} if following is None else {"Link": link(request, following)})


def link(request: Request[Any, Any, Any], following: str) -> str:
    """Return the header that leads to the page after this one."""
    given = [(name, value) for name, value in parse_qsl(request.url.query) if name != "cursor"]
    return f'<{request.url.path}?{urlencode([*given, ("cursor", following)])}>; rel="next"'

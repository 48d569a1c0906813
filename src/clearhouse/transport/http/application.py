"""The application: routers behind the entrance, with health, metrics, the OpenAPI document and its page.

Promise: the framework with its routes knows no house, so one of them may stand behind the entrances of several.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from litestar import Litestar, MediaType, Request, Response, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.limits import Limiter
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Tx
from clearhouse.transport.http.bulk import NDJSON
from clearhouse.transport.http.document import Document
from clearhouse.transport.http.entrance import Application, Entrance
from clearhouse.transport.http.express import Express
from clearhouse.transport.http.feed import Feed
from clearhouse.transport.http.health import VERSION, Check, Health, Pulse
from clearhouse.transport.http.manual import manual
from clearhouse.transport.http.problems import ANSWERS
from clearhouse.transport.http.routes import get
from clearhouse.transport.http.visits import Own, here, own

BODY_BYTES_MAX = 1024 * 1024
READ = frozenset({"application/json", NDJSON})
CATALOGUE = "/api/v1/events/catalogue"
PUBLIC = ("/", "/health", "/openapi.json", "/docs", CATALOGUE)


def _readable(connection: ASGIConnection[Any, Any, Any, Any], route: BaseRouteHandler) -> None:
    """Refuse a body that calls itself something that nobody here reads; `reads` of a route names what only that one does."""
    given = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and given not in READ | set(route.opt.get("reads", ())) and connection.headers.get("content-length") != "0":
        raise HTTPException(status_code=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


async def _tell_methods(message: Message, scope: Scope) -> None:
    """Let `Allow` name every method of a path: the framework's own answer knows those of its first handler only."""
    if scope["type"] == "http" and scope["method"] == "OPTIONS" and message["type"] == "http.response.start":
        routes = [each for each in scope["litestar_app"].routes if isinstance(each, HTTPRoute)]
        methods = {name for each in routes if each.path_format == scope.get("path_template") for name in each.methods}
        MutableScopeHeaders.from_message(message)["Allow"] = ", ".join(sorted(methods))


Figures = Callable[[Tx], Awaitable[str]]


def framework(
    routers: Sequence[Router], *, catalogue: Mapping[str, Any] | None = None, figures: Sequence[Figures] = ()
) -> Litestar:
    """Return these routers, with the catalogue of the events that they make and what products read for Prometheus."""
    document = Document()

    @get("/health", summary="Is the server well?", tags=["server"], security=[{}])
    async def health(request: Request[Any, Any, Any]) -> Response[Health]:
        """Return how it is, and how every part behind it is; 503 if it cannot reach its database."""
        found = await own(request).pulse.take()
        return Response(found, status_code=503 if found.status == "down" else 200, headers={"cache-control": "no-store"})

    @get("/metrics", summary="Figures for Prometheus", tags=["server"], media_type=MediaType.TEXT)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Return counters of this process, and what products read from the rows of the book."""
        async with here(request).reading("metrics:read") as tx:
            told = [await each(tx) for each in figures]
        text = generate_latest(own(request).registry) + "".join(told).encode()
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    @get(["/", "/docs"], include_in_schema=False, media_type=MediaType.HTML)
    async def docs(request: Request[Any, Any, Any]) -> str:
        return manual(document.of(request.app))

    @get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return document.of(request.app)

    @get(CATALOGUE, include_in_schema=False)
    async def events() -> dict[str, Any]:
        return dict(catalogue or {})

    # A product whose contract says where it stands (`opt={"rooted": True}`) stands there, all else below our own path.
    theirs = [router for router in routers if router.opt.get("rooted")]
    ours = [Router("/api/v1", route_handlers=[router for router in routers if not router.opt.get("rooted")])]
    return Litestar(
        route_handlers=[*ours, *theirs, health, metrics, docs, openapi, events],
        exception_handlers=ANSWERS,
        guards=[_readable],
        before_send=[_tell_methods],
        openapi_config=_openapi(),
        request_max_body_size=BODY_BYTES_MAX,
        debug=False,
        logging_config=None,
        opt={"dialects": {each.path.strip("/"): dialect for each in theirs if (dialect := each.opt.get("dialect"))}},
    )


def application(
    framework: Litestar, *, express: Sequence[Express] = (), door: Door, gate: Gate, limiter: Limiter,
    feed: Feed | None = None, checks: Sequence[Check] = (),
) -> Entrance:  # fmt: skip
    """Return an ASGI application: the entrance of one house to the framework."""
    return Entrance(
        cast("Application", framework),  # ASGI, whatever types the framework gives it
        door=door,
        gate=gate,
        limiter=limiter,
        public=PUBLIC,
        express=express,
        feed=feed or Feed(),
        own=Own(Pulse(door.database, checks), CollectorRegistry(), framework.opt["dialects"]),
    )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Clearhouse",
        version=VERSION,
        description="One exact ledger, one audited door for every write. Amounts are decimal text, times RFC 3339 in UTC.",
        security=[{"key": []}],
        components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
        path="/openapi-of-the-framework",
        use_handler_docstrings=True,
        render_plugins=[],
    )

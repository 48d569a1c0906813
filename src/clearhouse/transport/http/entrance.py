"""The entrance: every request passes here first, is let in or refused, counted, and given its time.

It is plain ASGI, outside the framework, so that what is refused costs next to nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.limits import Limiter
from clearhouse.kernel.commands.submitting import Door
from clearhouse.refusals import Kind, Refusal
from clearhouse.transport.http.problems import encoded
from clearhouse.transport.http.visits import Visit

BODY_SECONDS_MAX = 60.0
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class TooSlow(Refusal):
    """The body did not arrive within {seconds} seconds."""

    code = "too_slow"
    kind = Kind.MALFORMED


class Entrance:
    """Lets requests in to an application."""

    def __init__(
        self, application: Application, *, door: Door, gate: Gate, limiter: Limiter, public: Iterable[str],
        registry: CollectorRegistry,
    ) -> None:  # fmt: skip
        self._application = application
        self._door = door
        self._gate = gate
        self._limiter = limiter
        self._public = frozenset(public)
        self._requests = Counter(
            "clearhouse_http_requests", "Requests by method and status", ["method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "clearhouse_http_seconds", "Seconds from the first byte to the answer", registry=registry, buckets=BUCKETS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or refuse it."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        start = loop.time()
        method: str = scope["method"]

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(method if method.isalpha() and len(method) < 8 else "OTHER", message["status"]).inc()  # noqa: PLR2004 - no longer than OPTIONS
                self._seconds.observe(loop.time() - start)
            await send(message)

        async def in_time() -> Message:
            try:
                async with asyncio.timeout_at(start + BODY_SECONDS_MAX):
                    return await receive()
            except TimeoutError as error:
                raise TooSlow(seconds=str(int(BODY_SECONDS_MAX))) from error

        try:
            if scope["path"] not in self._public:
                scope["visit"] = await self._let_in(scope)
        except Refusal as refusal:
            await _refuse(refusal, counted)
            return
        await self._application(scope, in_time, counted)

    async def _let_in(self, scope: Scope) -> Visit:
        authorization = api_key = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"x-api-key":
                api_key = value.decode("latin-1")
        caller = await self._gate.caller(authorization, api_key)
        await self._limiter.take(caller.id)
        return Visit(caller, self._door, self._gate)


async def _refuse(refusal: Refusal, send: Send) -> None:
    status, body, headers = encoded(refusal)
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})

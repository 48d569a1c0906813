"""The entrance: every request passes here first, is let in or refused, counted, and given its time.

It is plain ASGI, outside the framework, so that what is refused costs next to nothing.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from prometheus_client import Counter, Histogram

from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.limits import Limiter
from clearhouse.kernel.commands.submitting import Door
from clearhouse.refusals import Kind, Refusal
from clearhouse.transport.http.express import Express
from clearhouse.transport.http.feed import Feed
from clearhouse.transport.http.problems import broke_off, encoded, refusal_of
from clearhouse.transport.http.visits import Own, Visit

BODY_SECONDS_MAX = 60.0
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
PORT_MAX = 65_535
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[^\s:@/?#\[\]]*)(?::([0-9]{0,5}))?")
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


class MalformedHost(Refusal):
    """The header Host names no host with a port from 0 to 65535."""

    code = "malformed_host"
    kind = Kind.MALFORMED


class Entrance:
    """Lets requests in to an application."""

    def __init__(
        self, application: Application, *, door: Door, gate: Gate, limiter: Limiter, public: Iterable[str],
        express: Iterable[Express], feed: Feed, own: Own,
    ) -> None:  # fmt: skip
        self._application = application
        self._door = door
        self._gate = gate
        self._limiter = limiter
        self._feed = feed
        self._own = own
        self._public = frozenset(public)
        self._express = {each.path: each for each in express}
        self._requests = Counter(
            "clearhouse_http_requests", "Requests by method and status", ["method", "status"], registry=own.registry
        )
        self._counters: dict[tuple[str, int], Counter] = {}
        self._seconds = Histogram(
            "clearhouse_http_seconds", "Seconds from the first byte to the answer", registry=own.registry, buckets=BUCKETS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or refuse it."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        start = loop.time()
        begun = False

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._count(scope["method"], message["status"], loop.time() - start)
            await send(message)

        in_time = _in_time(receive, start + BODY_SECONDS_MAX)

        scope["own"] = self._own
        try:
            if scope["path"] not in self._public:
                scope["visit"] = await self._let_in(scope)
            scope["unhurried"] = receive  # for a route that takes bodies of any length and looks after their pace itself
            await self._inside(scope, in_time, counted)
        except Exception as error:  # noqa: BLE001 - whatever it is, it gets an answer
            if begun:  # it has half of one: the connection is closed on it, so that nobody takes it for the whole
                broke_off(error, scope["path"])
                return
            status, body, headers = encoded(*refusal_of(error, scope.get("visit"), scope["path"]), scope)
            await _answer(counted, status, body, [(name.encode(), value.encode()) for name, value in headers.items()])

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        lane = self._express.get(scope["path"]) if scope["method"] == "POST" and not scope["query_string"] else None
        if lane is None:
            await self._application(scope, receive, send)
            return
        first = await receive()
        answer = await lane.answer(scope["visit"], scope["headers"], first)
        if answer is None:
            await self._application(scope, _again(first, receive), send)
        else:
            await _answer(send, answer[0], answer[1], [(b"content-type", b"application/json")])

    def _count(self, method: str, status: int, seconds: float) -> None:
        counter = self._counters.get((method, status))
        if counter is None:
            counter = self._requests.labels(method if method in METHODS else "OTHER", status)
            if method in METHODS:
                self._counters[method, status] = counter
        counter.inc()
        self._seconds.observe(seconds)

    async def _let_in(self, scope: Scope) -> Visit:
        authorization = api_key = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"x-api-key":
                api_key = value.decode("latin-1")
            elif name == b"host" and not _is_host(value):  # the framework would make an address of it, and fail
                raise MalformedHost
        caller = await self._gate.caller(authorization, api_key)
        await self._limiter.take(caller.id)
        return Visit(caller, self._door, self._gate, self._feed)


def _in_time(receive: Receive, deadline: float) -> Receive:
    """Take a body until a deadline; what is waited for behind it, the end of the connection, takes as long as it takes."""
    whole = False

    async def in_time() -> Message:
        nonlocal whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow(seconds=str(int(BODY_SECONDS_MAX))) from error
        whole = not message.get("more_body", False)
        return message

    return in_time


def _is_host(value: bytes) -> bool:
    found = _HOST.fullmatch(value)
    return found is not None and int(found[1] or 0) <= PORT_MAX


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _again(first: Message, receive: Receive) -> Receive:
    """Give a message that was taken already, then the others."""
    taken = [first]

    async def again() -> Message:
        return taken.pop() if taken else await receive()

    return again

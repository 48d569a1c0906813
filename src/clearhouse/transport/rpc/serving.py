"""The gRPC server: who calls is asked at every call, a call has a deadline, and one port has one server.

Promise: without a credential only the health answers. With a certificate it speaks TLS; with an authority for clients, too,
it lets in only who shows a certificate of theirs, and still asks for a key.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clearhouse.kernel.access.authentication import Gate
from clearhouse.kernel.access.limits import Limiter
from clearhouse.kernel.commands.submitting import Door
from clearhouse.refusals import Kind, Refusal
from clearhouse.transport.http.feed import Feed
from clearhouse.transport.http.visits import Visit
from clearhouse.transport.rpc.problems import Context, DeadlinePassed, end

CALL_SECONDS_MAX = 30.0
MESSAGE_BYTES_MAX = 1024 * 1024
PUBLIC = "/grpc.health.v1.Health/"
_visit: ContextVar[Visit] = ContextVar("visit")
Service = Callable[[grpc.aio.Server], str]


class RpcPortTaken(Refusal):
    """Port {port} on {host} is in use by another program, or not ours to use; set GRPC_PORT to a free one."""

    code = "grpc_port_taken"
    kind = Kind.CONFLICT


class CertificateUnreadable(Refusal):
    """The file {path}, named by a setting for gRPC, cannot be read: {problem}."""

    code = "certificate_unreadable"
    kind = Kind.MALFORMED


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a server's certificate and key, and of the authority whose clients are let in, if only those are."""

    certificate: Path
    key: Path
    client_authority: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return what the server shows and what it wants to be shown."""
        pair = (_read(self.key), _read(self.certificate))
        authority = None if self.client_authority is None else _read(self.client_authority)
        return grpc.ssl_server_credentials([pair], authority, authority is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateUnreadable(path=str(path), problem=error.strerror or str(error)) from error


def visit() -> Visit:
    """Return the visit that the call under way is."""
    return _visit.get()


def credential(context: Context) -> tuple[str | None, str | None]:
    """Return what a call shows: an authorization, or a key."""
    shown = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
    return shown.get("authorization"), shown.get("x-api-key")


class _Entrance(grpc.aio.ServerInterceptor):
    """Lets calls in: a credential each time, a deadline, and every fault as a refusal."""

    def __init__(self, door: Door, gate: Gate, limiter: Limiter, feed: Feed) -> None:
        self._door, self._gate, self._limiter, self._feed = door, gate, limiter, feed

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the call's function, with the entrance before it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(PUBLIC):
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._one(handler.unary_unary, method), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._many(handler.unary_stream, method), handler.request_deserializer, handler.response_serializer
            )
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._many(handler.stream_stream, method), handler.request_deserializer, handler.response_serializer
            )
        return None  # a stream that is answered once: no contract of ours has one, and none is let in unasked

    def _one(self, call: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def entered(request: object, context: Context) -> object:
            here: Visit | None = None
            seconds = min(context.time_remaining() or CALL_SECONDS_MAX, CALL_SECONDS_MAX)
            try:
                async with asyncio.timeout(seconds):
                    here = await self._let_in(context)
                    _visit.set(here)
                    return await call(request, context)
            except TimeoutError:
                await end(context, DeadlinePassed(seconds=f"{seconds:.3f}"), here, method)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it gets an answer
                await end(context, error, here, method)

        return entered

    def _many(self, call: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def entered(request: object, context: Context) -> AsyncIterator[object]:
            here: Visit | None = None
            try:
                here = await self._let_in(context)
                _visit.set(here)
                async for each in call(request, context):
                    yield each
            except BaseException as error:  # noqa: BLE001 - whatever it is, it gets an answer
                await end(context, error, here, method)

        return entered

    async def _let_in(self, context: Context) -> Visit:
        caller = await self._gate.caller(*credential(context))
        await self._limiter.take(caller.id)
        return Visit(caller, self._door, self._gate, self._feed)


@dataclass(slots=True)
class RpcServer:
    """A running server, and the port that it listens on."""

    server: grpc.aio.Server
    port: int
    health: health.aio.HealthServicer
    names: Sequence[str]

    async def stop(self, *, grace: float | None = None) -> None:
        """Say that it is no longer well, let calls end, and stop."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace)


async def serve(
    services: Sequence[Service],
    *,
    door: Door,
    gate: Gate,
    limiter: Limiter,
    feed: Feed,
    host: str,
    port: int,
    tls: Tls | None = None,
) -> RpcServer:
    """Start a server of services with health and reflection; port 0 is any that is free."""
    options = [
        ("grpc.so_reuseport", 0),  # with it two servers would share a port, silently
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ]
    server = grpc.aio.server(interceptors=[_Entrance(door, gate, limiter, feed)], options=options)
    names = [add(server) for add in services]
    wellness = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(wellness, server)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = (
            server.add_insecure_port(address)
            if tls is None
            else server.add_secure_port(address, await asyncio.to_thread(tls.credentials))
        )
    except RuntimeError as error:
        raise RpcPortTaken(host=host, port=str(port)) from error
    await server.start()
    serving = cast("Any", health_pb2.HealthCheckResponse).SERVING  # an enum value that the stubs do not name
    for name in ("", *names):
        await wellness.set(name, serving)
    return RpcServer(server, bound, wellness, names)

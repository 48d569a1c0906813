"""The gRPC server: whatever the shape of a call, nothing but the health answers without a credential."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from calling import HOST, told
from clearhouse.kernel.access.limits import OwnLimiter
from clearhouse.transport.rpc.serving import serve
from house import House

NAME = "tests.Shapes"


async def one(_: bytes, __: Any) -> bytes:
    return b"let in"


async def many(_: bytes, __: Any) -> AsyncIterator[bytes]:
    yield b"let in"


async def sum_up(_: AsyncIterator[bytes], __: Any) -> bytes:
    return b"let in"


async def talk(asked: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for _ in asked:
        yield b"let in"


def shapes(server: grpc.aio.Server) -> str:
    """Add a call of every shape that gRPC knows."""
    calls: dict[str, Any] = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "SumUp": grpc.stream_unary_rpc_method_handler(sum_up),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, calls),))
    return NAME


@asynccontextmanager
async def called(house: House) -> AsyncGenerator[Any]:
    """Serve these calls, and give a channel to them."""
    server = await serve(
        [shapes], door=house.door, gate=house.gate, limiter=OwnLimiter(100_000), feed=house.feed, host=HOST, port=0
    )
    try:
        async with grpc.aio.insecure_channel(f"{HOST}:{server.port}") as channel:
            yield channel
    finally:
        await server.stop()


async def answers(channel: Any, metadata: Any) -> list[bytes]:
    """Return what the calls of three shapes answer."""
    one_ = await channel.unary_unary(f"/{NAME}/One")(b"", metadata=metadata)
    many_ = [each async for each in channel.unary_stream(f"/{NAME}/Many")(b"", metadata=metadata)]
    talk_ = [each async for each in channel.stream_stream(f"/{NAME}/Talk")(iter([b""]), metadata=metadata)]
    return [one_, *many_, *talk_]


async def test_without_a_credential_no_call_of_any_shape_is_let_in(house: House) -> None:
    async with called(house) as channel:
        calls = (
            lambda: channel.unary_unary(f"/{NAME}/One")(b""),
            lambda: channel.unary_stream(f"/{NAME}/Many")(b"").read(),
            lambda: channel.stream_stream(f"/{NAME}/Talk")(iter([b""])).read(),
        )
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call()
            assert told(caught.value)[0] is grpc.StatusCode.UNAUTHENTICATED
        key = (("authorization", house.admin.headers["authorization"]),)
        assert await answers(channel, key) == [b"let in"] * 3
        for metadata in ((), key):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.stream_unary(f"/{NAME}/SumUp")(iter([b""]), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

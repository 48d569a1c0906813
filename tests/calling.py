"""Those who call the settlement engine over gRPC, and what they are told when it refuses."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from clearhouse.app.products import SERVICES
from clearhouse.kernel.access.limits import OwnLimiter
from clearhouse.transport.rpc.serving import RpcServer, serve
from clearhouse.v1 import interbank_pb2 as wire
from clearhouse.v1 import interbank_pb2_grpc as stubs
from house import House

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Line:
    """A channel of somebody's, with the calls on it."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]

    @property
    def engine(self) -> Any:
        return stubs.SettlementEngineStub(self.channel)

    async def ask(self, call: str, request: Any, **how: Any) -> Any:
        return await getattr(self.engine, call)(request, metadata=self.metadata, **how)


@asynccontextmanager
async def called(house: House) -> AsyncGenerator[RpcServer]:
    """Serve the calls of a house on a free port."""
    server = await serve(
        SERVICES, door=house.door, gate=house.gate, limiter=OwnLimiter(100_000), feed=house.feed, host=HOST, port=0
    )
    yield server
    await server.stop()


def told(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, ErrorInfo, str]:
    """Return the status, what stands in its details, and the sentence."""
    trailing: dict[str, Any] = dict(error.trailing_metadata() or ())
    status = Status.FromString(trailing["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert status.message == error.details()
    return error.code(), info, str(error.details())


async def refused(line: Line, call: str, request: Any) -> tuple[grpc.StatusCode, ErrorInfo, str]:
    """Return what is told to somebody whose call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await line.ask(call, request)
    return told(caught.value)


def execution(**asked: Any) -> wire.ExecuteSettlementRequest:
    """Return what is asked for as it goes over this wire, where words of an enum have its name before them."""
    named: dict[str, Any] = {name: f"{name.upper()}_{asked[name]}" for name in ("method", "priority") if name in asked}
    return wire.ExecuteSettlementRequest(**{**asked, **named})

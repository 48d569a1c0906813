"""gRPC over TLS, and with certificates on both sides: who shows none of ours is not even heard."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clearhouse.app.products import SERVICES
from clearhouse.kernel.access.limits import OwnLimiter
from clearhouse.transport.rpc.serving import CertificateUnreadable, RpcPortTaken, RpcServer, Tls, serve
from house import House

NAME = "clearhouse.test"
HOST = "127.0.0.1"
AUTHORITY = trustme.CA()


def pem(*parts: trustme.Blob) -> bytes:
    return b"".join(part.bytes() for part in parts)


async def started(house: House, tls: Tls | None, port: int = 0) -> RpcServer:
    limits = OwnLimiter(1_000)
    return await serve(
        SERVICES, door=house.door, gate=house.gate, limiter=limits, feed=house.feed, host=HOST, port=port, tls=tls
    )


@pytest.fixture
async def server(house: House, tmp_path: Path) -> AsyncGenerator[RpcServer]:
    """Give a server that shows a certificate and wants to see one."""
    made = AUTHORITY.issue_cert(NAME)
    paths = [tmp_path / name for name in ("certificate.pem", "key.pem", "authority.pem")]
    contents = [pem(*made.cert_chain_pems), pem(made.private_key_pem), pem(AUTHORITY.cert_pem)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    opened = await started(house, Tls(*paths))
    yield opened
    await opened.stop()


async def health(server: RpcServer, credentials: grpc.ChannelCredentials) -> int:
    options = [("grpc.ssl_target_name_override", NAME)]
    async with grpc.aio.secure_channel(f"{HOST}:{server.port}", credentials, options=options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer: Any = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        return int(answer.status)


async def test_who_shows_a_certificate_of_the_authority_is_heard(server: RpcServer) -> None:
    mine = AUTHORITY.issue_cert("bank.test")
    key, chain = pem(mine.private_key_pem), pem(*mine.cert_chain_pems)
    assert await health(server, grpc.ssl_channel_credentials(pem(AUTHORITY.cert_pem), key, chain)) == 1


async def test_who_shows_none_or_another_authoritys_is_not(server: RpcServer) -> None:
    stranger = trustme.CA().issue_cert("stranger.test")
    theirs = pem(stranger.private_key_pem), pem(*stranger.cert_chain_pems)
    for shown in ((None, None), theirs):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(server, grpc.ssl_channel_credentials(pem(AUTHORITY.cert_pem), *shown))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_is_not_there_is_told_by_its_path(house: House, tmp_path: Path) -> None:
    with pytest.raises(CertificateUnreadable, match="nowhere"):
        await started(house, Tls(tmp_path / "nowhere", tmp_path / "nowhere"))


async def test_a_port_has_one_server(house: House) -> None:
    first = await started(house, None)
    with pytest.raises(RpcPortTaken):
        await started(house, None, first.port)
    await first.stop()

"""A town that settles, and an operator on a line to it."""

from collections.abc import AsyncGenerator

import grpc.aio
import pytest

from calling import HOST, Line, called
from house import House
from people import Person, add
from town import Town


@pytest.fixture
async def town(house: House) -> Town:
    return await Town.built(house)


@pytest.fixture
async def channel(house: House) -> AsyncGenerator[grpc.aio.Channel]:
    async with called(house) as server, grpc.aio.insecure_channel(f"{HOST}:{server.port}") as opened:
        yield opened


@pytest.fixture
async def operator(house: House) -> Person:
    return await add(house, "operator", name="who operates")


@pytest.fixture
def line(channel: grpc.aio.Channel, operator: Person) -> Line:
    return Line(channel, (("authorization", f"Bearer {operator.secret}"),))

"""The bank, by both ways to it."""

from collections.abc import AsyncGenerator

import pytest

from clearhouse.kernel.db.database import Database
from correspondent import Correspondent, correspondent


@pytest.fixture(params=["in process", "over HTTP"])
async def bank(request: pytest.FixtureRequest, database: Database) -> AsyncGenerator[Correspondent]:
    async with correspondent(database, http=request.param == "over HTTP") as opened:
        yield opened

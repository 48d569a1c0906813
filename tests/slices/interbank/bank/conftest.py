"""The bank of a fresh book, by both ways to it."""

from collections.abc import AsyncGenerator

import pytest

from clearhouse.kernel.db.database import Database
from correspondent import Correspondent, correspondent, fresh_book


@pytest.fixture
async def book(shared_database: Database) -> int:
    return await fresh_book(shared_database)


@pytest.fixture(params=["in process", "over HTTP"])
async def bank(request: pytest.FixtureRequest, shared_database: Database, book: int) -> AsyncGenerator[Correspondent]:
    async with correspondent(shared_database, http=request.param == "over HTTP", book=book) as opened:
        yield opened

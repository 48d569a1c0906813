"""Telling the journal something, for tests of those who read it."""

from clearhouse import clock
from clearhouse.kernel.db.database import Database
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.sequencing import sweep
from clearhouse.kernel.journal.writing import SYSTEM, Line


async def tell(database: Database, *lines: Line, book: int = 1, seal: bool = True) -> None:
    """Write one row of the journal, and number it."""
    async with database.writing(book=book) as tx:
        writing.write(tx, lines, book=book, kind="test.told", by=SYSTEM, at=clock.now())
    if seal:
        await sweep(database)

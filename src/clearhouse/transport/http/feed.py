"""The feed: what wakes those who follow events over this server, and what ends them with it.

Promise: whoever follows waits without asking the database, and is told to go when the server ends.
"""

from clearhouse.kernel.db.database import Database
from clearhouse.kernel.db.listening import Bell, listen
from clearhouse.kernel.journal.readers import CHANNEL


class Feed:
    """One a process."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.is_over = False

    async def run(self, database: Database) -> None:
        """Ring with every announcement of new events, until cancelled."""
        await listen(database, CHANNEL, self.bell)

    def end(self) -> None:
        """Send everybody home."""
        self.is_over = True
        self.bell.strike()

"""A bell: what everybody in a process waits for who waits for the same.

Promise: a stroke that fell between a look and the wait is not missed.
"""

import asyncio
from contextlib import suppress


class Bell:
    """Counts its strokes: look at the count, look for work, then wait for a stroke after that count."""

    def __init__(self) -> None:
        self.strokes = 0
        self._struck = asyncio.Event()

    def strike(self) -> None:
        """Wake everybody who waits."""
        self.strokes += 1
        self._struck.set()
        self._struck = asyncio.Event()

    async def after(self, strokes: int, seconds: float) -> None:
        """Wait until there were more strokes than these, or so long."""
        if self.strokes == strokes:
            with suppress(TimeoutError):  # and not wait_for: a stroke that comes with a cancel would keep the cancel from us
                async with asyncio.timeout(seconds):
                    await self._struck.wait()

"""A crowd: one script in several processes at once, which begin together and each tell what they did."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from serving import libraries

Crowd = Sequence[asyncio.subprocess.Process]


@asynccontextmanager
async def crowd(script: str, *words: str, of: int, seconds: float) -> AsyncGenerator[Crowd]:
    """Run the processes, and leave none behind."""
    paths = os.pathsep.join([libraries(), str(Path(__file__).parent)])
    pipe = asyncio.subprocess.PIPE
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-P", script, *words, stdin=pipe, stdout=pipe, stderr=pipe,
            env=os.environ | {"PYTHONPATH": paths},
        )
        for _ in range(of)
    ]  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            yield running
    finally:
        for each in running:
            if each.returncode is None:
                each.kill()
                await each.wait()


async def go(running: Crowd) -> None:
    """Let them begin, once all of them are ready."""
    for each in running:
        assert each.stdout is not None
        assert await each.stdout.readline() == b"ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write(b"go\n")


async def told(running: Crowd) -> Counter[str]:
    """Return what all of them did; none may say that anything went wrong."""
    total: Counter[str] = Counter()
    for each, (said, complaint) in zip(running, [await each.communicate() for each in running], strict=True):
        assert (each.returncode, complaint) == (0, b"")
        total.update(msgspec.json.decode(said, type=dict[str, int]))
    return total

"""A worker with the engine in a process of its own, to be killed: this file as a script, with the application's address."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from clearhouse.app import worker
from clearhouse.kernel.db.database import Database
from clearhouse.slices.interbank import engine, waking


@contextmanager
def working(dsn: str) -> Generator["subprocess.Popen[bytes]"]:
    """Run a worker until it is killed."""
    process = subprocess.Popen([sys.executable, __file__], env=os.environ | {"DSN": dsn}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def run(dsn: str) -> None:
    database = await Database.open(dsn)
    await worker.work(database, asyncio.Event(), works=(waking.review,), stages=engine.STAGES)


if __name__ == "__main__":
    asyncio.run(run(os.environ["DSN"]))

"""An engine in a process of its own, to be killed: this file as a script, with the application's address."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.slices.interbank.bank.simulated import SimulatedBank
from clearhouse.slices.interbank.engine import Engine


@contextmanager
def engine(dsn: str) -> Generator["subprocess.Popen[bytes]"]:
    """Run an engine until it is killed."""
    process = subprocess.Popen([sys.executable, __file__], env=os.environ | {"DSN": dsn}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def run(dsn: str) -> None:
    database = await Database.open(dsn)
    await Engine(Door(database), 1, SimulatedBank(database, book=1)).run()


if __name__ == "__main__":
    asyncio.run(run(os.environ["DSN"]))

"""A process that takes messages in as the setting INBOX says; told to DIE, it is killed between a commit and its
acknowledgement."""

import asyncio
import os
import signal

from clearhouse.app.config import Config
from clearhouse.app.inbox import works
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Database
from clearhouse.transport.bus import jetstream_source, kafka_source

jetstream_source.ACKNOWLEDGE_SECONDS = 1.0
kafka_source.SESSION_MILLISECONDS = 2_000


async def die(self: object) -> None:
    await asyncio.sleep(0)
    assert self is not None
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    if "DIE" in os.environ:
        jetstream_source.JetStreamSource.acknowledge = die
        kafka_source.KafkaSource.acknowledge = die
    database = await Database.open(os.environ["APPLICATION"])
    await asyncio.gather(*(work(database) for work in works(Config.read(), Door(database))))


if __name__ == "__main__":
    asyncio.run(main())

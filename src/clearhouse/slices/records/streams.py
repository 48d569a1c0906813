"""Streams: uploads of any length, cut into parts of so many lines and bytes; nothing is read faster than it is written.

Promise: parts are cut by lines alone, never by what arrived together, so the same upload has the same parts again.
"""

import csv
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Protocol

import msgspec

from clearhouse.slices.records.refusals import Unparsable

LINES = 10_000
LINE_BYTES_MAX = 1024 * 1024
PART_BYTES_MAX = 8 * 1024 * 1024


class _Form(Protocol):
    """Makes lines of JSON of the lines that come."""

    def read(self, lines: Iterable[bytes]) -> list[bytes]: ...

    def end(self) -> list[bytes]: ...


class _Json:
    """Lines that are JSON already; empty ones are none."""

    def read(self, lines: Iterable[bytes]) -> list[bytes]:
        """Return the lines that say something."""
        return [line for line in lines if line and not line.isspace()]

    def end(self) -> list[bytes]:
        """Return what was waiting: nothing."""
        return []


class _Table:
    """Rows under a header; a cell that is empty is not there. A quoted cell may go over several lines."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._rows = 0

    def read(self, lines: Iterable[bytes]) -> list[bytes]:
        """Return the rows that are whole, as JSON."""
        whole: list[bytes] = []
        for line in lines:
            closes = bool(self._open) != (line.count(b'"') % 2 == 0)
            self._open.append(line)
            self._open_bytes += len(line) + 1
            if closes:
                whole.append(b"\n".join(self._open))
                self._open, self._open_bytes = [], 0
            elif self._open_bytes > LINE_BYTES_MAX:
                raise Unparsable(place=f"record {self._rows + 1}", problem="a quote is opened and never closed")
        return [record for line in whole if (record := self._row(line))]

    def end(self) -> list[bytes]:
        """Refuse a row that stopped halfway."""
        if self._open:
            raise Unparsable(place=f"record {self._rows + 1}", problem="a quote is opened and never closed")
        return []

    def _row(self, line: bytes) -> bytes:
        none: list[str] = []
        try:
            row = next(csv.reader([line.decode("utf-8-sig" if not self._names else "utf-8")], strict=True), none)
        except (UnicodeDecodeError, csv.Error) as error:
            raise Unparsable(place=f"record {self._rows + 1}", problem=str(error)) from error
        if not row:
            return b""
        if not self._names:
            if len(set(row)) != len(row):
                raise Unparsable(place="the header", problem="it names a column twice")
            self._names = row
            return b""
        self._rows += 1
        if len(row) != len(self._names):
            problem = f"it has {len(row)} cells, and the header names {len(self._names)}"
            raise Unparsable(place=f"record {self._rows}", problem=problem)
        return msgspec.json.encode({name: cell for name, cell in zip(self._names, row, strict=True) if cell})


async def parts(body: AsyncIterable[bytes], *, table: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Give the records of a body in parts, each with the number of its first record, counted from 1."""
    form: _Form = _Table() if table else _Json()
    waiting: list[bytes] = []
    given = size = 0
    async for lines in _lines(body):
        for line in form.read(lines):
            waiting.append(line)
            size += len(line)
            if len(waiting) >= LINES or size >= PART_BYTES_MAX:
                yield given + 1, waiting
                given += len(waiting)
                waiting, size = [], 0
    waiting += form.end()
    if waiting:
        yield given + 1, waiting


async def _lines(body: AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    rest: list[bytes] = []
    size, line = 0, 1
    async for piece in body:
        first, *others = piece.split(b"\n")
        rest.append(first)
        size += len(first)
        if size > LINE_BYTES_MAX:
            raise Unparsable(place=f"line {line}", problem=f"a line has at most {LINE_BYTES_MAX} bytes")
        if others:
            line += len(others)
            yield [b"".join(rest), *others[:-1]]
            rest = [others[-1]]
            size = len(others[-1])
    yield [b"".join(rest)]

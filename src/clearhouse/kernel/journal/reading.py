"""Reading the journal: pages by number, the export that anyone can verify offline, and the verification itself.

Promise: an export is page by page, each in a transaction of its own, so that whoever reads it slowly holds nothing here; and
it is what one transaction would have given, since sealed rows are neither changed nor removed, and a number that was given
stands before every number to come: it ends with the row that was the last when it began.
"""

import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

import msgspec

from clearhouse import clock
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal.sequencing import GENESIS, Head, link, sql
from clearhouse.kernel.journal.writing import digest
from clearhouse.refusals import Kind, Refusal

FIRST_NUMBER = -(2**63)  # ours begin with one; what somebody put in before that is shown too
PAGE_ROWS = 1_000
PAGE_BYTES = 4 * 1024 * 1024

View = Callable[[], AbstractAsyncContextManager[Tx]]


class MalformedHead(Refusal):
    """A head is a number, a colon and 64 hexadecimal digits, as `audit head` prints it."""

    code = "malformed_head"
    kind = Kind.MALFORMED


@dataclass(frozen=True, slots=True)
class Row:
    """A journal row as it is stored."""

    book: int
    at: datetime
    kind: str
    principal: str
    lines: str
    digest: bytes
    number: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class _Placed(Row):
    """A row with its own id, which tells rows apart that somebody gave the same number."""

    id: int


class Entry(msgspec.Struct, frozen=True):
    """A journal row as it is read and exported: `lines` is the very text that `digest` was made over."""

    number: int
    book: int
    at: str
    kind: str
    principal: str
    lines: str
    digest: str
    chain: str


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a verification found: how far the chain holds, and the first line that it does not hold for."""

    intact: bool
    rows: int
    head: str
    unsealed: int = 0
    number: int | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class _Count:
    count: int


def entry(row: Row) -> Entry:
    """Return what a reader sees of a row."""
    return Entry(
        row.number, row.book, clock.text(row.at), row.kind, row.principal, row.lines, row.digest.hex(), row.chain.hex()
    )


async def page(tx: Tx, *, after: int = 0, most: int = 100) -> list[Entry]:
    """Return sealed rows after a number."""
    return [entry(row) for row in await tx.rows(sql["rows_after"], Row, book=tx.book, after=after, most=most)]


async def head(tx: Tx) -> str:
    """Return the last number and link, to be kept elsewhere."""
    found = await tx.row(sql["heads"], Head, books=[tx.book])
    return "0:" + GENESIS.hex() if found is None else f"{found.number}:{found.chain.hex()}"


async def export(view: View) -> AsyncIterator[bytes]:
    """Give every row that is sealed now as a line of JSON, some at once; each view that is opened is closed before that."""
    async with view() as tx:
        up_to = await tx.row(sql["heads"], Head, books=[tx.book])
    number, after = FIRST_NUMBER, 0
    while up_to is not None:
        async with view() as tx:
            bounds = {"number": number, "after": after, "up_to": up_to.number, "most": PAGE_ROWS, "bytes_max": PAGE_BYTES}
            rows = await tx.rows(sql["export_page"], _Placed, book=tx.book, **bounds)
        if not rows:
            return
        yield b"".join(msgspec.json.encode(entry(row)) + b"\n" for row in rows)
        number, after = rows[-1].number, rows[-1].id


def read_head(text: str) -> tuple[int, bytes]:
    """Read a head that was kept elsewhere."""
    number, _, chain = text.partition(":")
    try:
        kept = int(number), bytes.fromhex(chain)
    except ValueError as error:
        raise MalformedHead from error
    if len(kept[1]) != len(GENESIS) or not 0 <= kept[0] < 2**63:
        raise MalformedHead
    return kept


async def verify(tx: Tx, *, kept: tuple[int, bytes] | None = None) -> Verdict:
    """Recompute the whole chain and name the first line that was altered, removed or put in."""
    chain, number, rows = GENESIS, 0, 0
    if kept is not None and kept[0] == 0 and not hmac.compare_digest(kept[1], GENESIS):
        return Verdict(intact=False, rows=0, head=f"0:{GENESIS.hex()}", number=0, fault="rewritten")
    async for row in tx.stream(sql["all_rows"], Row, book=tx.book):
        fault = _fault(row, chain, number + 1)
        if fault:
            return Verdict(intact=False, rows=rows, head=f"{number}:{chain.hex()}", number=number + 1, fault=fault)
        number, chain, rows = row.number, row.chain, rows + 1
        if kept is not None and kept[0] == number and not hmac.compare_digest(kept[1], chain):
            return Verdict(intact=False, rows=rows, head=f"{number}:{chain.hex()}", number=number, fault="rewritten")
    if kept is not None and kept[0] > number:
        return Verdict(intact=False, rows=rows, head=f"{number}:{chain.hex()}", number=number + 1, fault="missing")
    tail = await tx.row(sql["tail"], _Count, book=tx.book)
    return Verdict(intact=True, rows=rows, head=f"{number}:{chain.hex()}", unsealed=0 if tail is None else tail.count)


def _fault(row: Row, chain: bytes, expected: int) -> str:
    """Say what is wrong with a row that should follow a chain, or nothing."""
    if row.number != expected:
        return "missing" if row.number > expected else "inserted"
    if digest(row.book, row.at, row.kind, row.principal, row.lines) != row.digest:
        return "altered"
    if link(chain, row.number, row.digest) != row.chain:
        return "inserted"
    return ""

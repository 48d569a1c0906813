"""Reconciling: our nostros against what their banks say, line by line, every six hours and whenever somebody asks.

    BALANCED                 both say the same, line by line
    IDENTIFIED               they differ, and the lines that are left over say by how much; all of them are new
    UNRESOLVED               as before, and some of the lines were left over before
    INVESTIGATION_REQUIRED   they differ by what no line explains

Promise: a line is taken in once, however often it is told; what is left over is a break of the kernel's and lives there. Our
balance and our bookings are of one point, whoever books meanwhile.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.callers import Caller
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.commands.kinds import Kind
from clearhouse.kernel.commands.submitting import Door
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import accounts as ledger
from clearhouse.kernel.reconciliation import items, runs
from clearhouse.kernel.reconciliation.items import Item, LoadItems, Side
from clearhouse.kernel.reconciliation.runs import Run, RunSum, StartRun
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Kind as RefusalKind
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import banks
from clearhouse.slices.interbank.banks import BankAccount
from clearhouse.slices.interbank.channel import Channel, Statement, StatementLine

SCOPE = "interbank:reconcile"
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_sql = Statements.of("clearhouse.slices.interbank", "reports.sql")
Status = Literal["BALANCED", "IDENTIFIED", "UNRESOLVED", "INVESTIGATION_REQUIRED"]


class ReportNotFound(Refusal):
    """There is no reconciliation report {id} here."""

    code = "report_not_found"
    kind = RefusalKind.UNKNOWN


class Reconcile(msgspec.Struct, frozen=True):
    """What a bank says of one of our nostros since it was asked last."""

    bank: str
    currency: str
    closing: str
    lines: list[StatementLine]
    cursor: str


class Report(msgspec.Struct, frozen=True):
    """What a comparison came to; `run` is the kernel's, with its matches and breaks."""

    id: str
    run: str
    bank: str
    currency: str
    status: Status
    our_balance: str
    their_balance: str
    difference: str
    matched: int
    missing: int
    unexpected: int
    at: datetime


class _Read(msgspec.Struct, frozen=True):
    theirs: str
    ours: datetime


class _Booking(msgspec.Struct, frozen=True):
    id: Any
    amount: int
    booked: datetime
    effective: date
    reference: str | None
    order_id: Any


def _told(balance: int, **booked: Any) -> tuple[int, _Booking | None]:
    return balance, None if booked["id"] is None else _Booking(**booked)


async def reconcile(tx: Tx, asked: Sequence[Asked[Reconcile]], at: datetime) -> list[Report | Refusal]:
    """Take in what both sides have new, match it, and say what it comes to."""
    answers: list[Report | Refusal] = []
    for each in asked:
        try:
            answers.append(await _reconciled(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _reconciled(tx: Tx, asked: Asked[Reconcile], at: datetime) -> Report:
    command = asked.command
    nostro = await banks.find_account(tx, "nostro", command.bank, command.currency)
    place = {"bank": command.bank, "currency": command.currency}
    read = await tx.row(_sql["statement_read"], _Read, book=tx.book, **place) or _Read("", _EVER)
    found = await tx.rows(_sql["our_bookings"], _told, book=tx.book, since=read.ours, **place)
    bookings = [booking for _, booking in found if booking is not None]
    exponent = len(nostro.balance.partition(".")[2])
    await _load(tx, asked, "theirs", [_their_item(line, command.currency) for line in command.lines], at)
    await _load(tx, asked, "ours", [_our_item(each, command.currency, exponent) for each in bookings], at)
    run = (await runs.start(tx, [Asked(StartRun(banks.reconciliation_of(**place)), asked.id, asked.by)], at))[0]
    if isinstance(run, Refusal):
        raise run
    newest = max((each.booked for each in bookings), default=read.ours)
    await tx.do(
        _sql["keep_statement"],
        book=tx.book,
        id=ids.parse("acc", nostro.account),
        theirs=command.cursor,
        ours=newest,
        **place,
    )
    return await _report(tx, command, run, (found[0][0], exponent), at)


async def _load(tx: Tx, asked: Asked[Reconcile], side: Side, found: Sequence[Item], at: datetime) -> None:
    command = LoadItems(banks.reconciliation_of(asked.command.bank, asked.command.currency), side, list(found))
    load = Asked(command, ids.derived("interbank.load", str(asked.id), side), asked.by)
    await items.take_in(tx, load, await ledger.exponents(tx), at)


def _their_item(line: StatementLine, currency: str) -> Item:
    end = None if line.id is None else str(line.id)
    return Item(line.number, line.amount, currency, line.value, line.reference or None, end, line.kind)


def _our_item(booking: _Booking, currency: str, exponent: int) -> Item:
    order: UUID | None = booking.order_id
    end = None if order is None else str(order)
    return Item(
        ids.text("trf", booking.id),
        decimal_text(booking.amount, exponent),
        currency,
        booking.effective,
        booking.reference,
        end,
    )


async def _report(tx: Tx, command: Reconcile, run: Run, balance: tuple[int, int], at: datetime) -> Report:
    ours, exponent = balance
    theirs = minor_units(command.closing, exponent)
    sums = {each.side: each for each in run.sums}
    left = {side: _open(sums.get(side), exponent) for side in ("ours", "theirs")}
    row: dict[str, Any] = {
        "id": ids.parse("run", run.id), "bank": command.bank, "currency": command.currency, "exponent": exponent,
        "status": _status(ours - theirs, left, list(sums.values())), "our_balance": ours, "their_balance": theirs,
        "matched": sum(each.matched_items for each in sums.values() if each.side == "ours"), "missing": left["ours"][0],
        "unexpected": left["theirs"][0], "at": at,
    }  # fmt: skip
    await tx.do(_sql["add_report"], book=tx.book, **row)
    return shown(**row)


def _open(found: RunSum | None, exponent: int) -> tuple[int, int]:
    return (0, 0) if found is None else (found.open_items, minor_units(found.open, exponent))


def _status(difference: int, left: dict[str, tuple[int, int]], sums: Sequence[RunSum]) -> Status:
    if difference != left["ours"][1] - left["theirs"][1]:
        return "INVESTIGATION_REQUIRED"
    if not left["ours"][0] and not left["theirs"][0]:
        return "BALANCED"
    return "UNRESOLVED" if any(each.carried_items and each.open_items for each in sums) else "IDENTIFIED"


def shown(**row: Any) -> Report:
    """Read a report from its row."""
    ours, theirs, difference = (
        decimal_text(each, row["exponent"])
        for each in (row["our_balance"], row["their_balance"], row["our_balance"] - row["their_balance"])
    )
    return Report(
        ids.text("rep", row["id"]), ids.text("run", row["id"]), row["bank"], row["currency"], row["status"], ours, theirs,
        difference, row["matched"], row["missing"], row["unexpected"], row["at"],
    )  # fmt: skip


async def listed(tx: Tx, *, bank: str | None = None, after: Report | None = None, most: int = 100) -> list[Report]:
    """Return reports, newest first."""
    before, last = (_END, _LAST) if after is None else (after.at, str(ids.parse("rep", after.id)))
    return await tx.rows(_sql["reports_page"], shown, book=tx.book, before=before, last=last, bank=bank, most=most)


async def find(tx: Tx, text: str, *, party: str | None = None) -> Report:
    """Return a report, to a bank only if it is of a nostro with it."""
    found = await tx.row(_sql["report"], shown, book=tx.book, id=readable("rep", text))
    if found is None or party not in {None, found.bank}:
        raise ReportNotFound(id=text[:64])
    return found


def _line(_: Asked[Reconcile], answer: Report) -> Line:
    return Line("interbank.reconciled", answer.id, answer)


RECONCILE = Kind(
    "interbank.reconcile", SCOPE, reconcile, Report, _line, natural=False, events={"interbank.reconciled": Report}
)


async def compare(
    door: Door, channel: Channel, *, caller: Caller, book: int, bank: str | None = None, currency: str | None = None
) -> list[Report]:
    """Ask the banks for their statements, and compare them with our nostros: of one bank or of all, one currency or all."""
    async with door.database.writing(book=book) as tx:
        nostros = await banks.listed(tx, "nostro", only=bank, most=10_000)
    wanted = [each for each in nostros if currency in {None, each.currency}]
    reports: list[Report] = []
    for nostro in wanted:
        asked = await _statement(door, channel, nostro, book)
        key = f"reconcile-{ids.fresh()}"
        answer = (await door.submit(RECONCILE, [asked], caller=caller, book=book, key=key))[0]
        if isinstance(answer, Refusal):
            raise answer
        reports.append(answer)
    return reports


async def _statement(door: Door, channel: Channel, nostro: BankAccount, book: int) -> Reconcile:
    async with door.database.writing(book=book) as tx:
        read = await tx.row(_sql["statement_read"], _Read, book=book, bank=nostro.bank, currency=nostro.currency)
    cursor = "" if read is None else read.theirs
    lines: list[StatementLine] = []
    while True:
        found: Statement = await channel.statement(nostro.number, after=cursor)
        lines += found.lines
        cursor = found.cursor
        if found.complete:
            return Reconcile(nostro.bank, nostro.currency, found.closing, lines, cursor)

"""Writing what was decided: the accounts' counters, the transfers, and what became of holds, reversals and days."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec

from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.deciding import Batch, Move
from clearhouse.kernel.ledger.standing import Standing
from clearhouse.kernel.ledger.targets import Target
from clearhouse.kernel.ledger.transfers import TransferKind

_sql = Statements.of("clearhouse.kernel.ledger", "posting.sql")
_BOOKED, _DAY = "\x01", "\x02"  # control characters never stand in input: they hold places until the clock is read
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_MOVED = {TransferKind.POSTED, TransferKind.CAPTURE, TransferKind.REVERSAL}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a batch was booked, and the day that is open: what is booked without a date is effective then."""

    booked_at: datetime
    sealed: date

    @property
    def day(self) -> date:
        """Return the day on which a transfer without an effective date counts."""
        return max(self.booked_at.date(), self.sealed + timedelta(days=1))


async def write(tx: Tx, batch: Batch) -> Stamp:
    """Write a batch that was decided; raises Stale if somebody came between."""
    touched = [batch.touched[each] for each in sorted(batch.touched)]
    arrays = _accounts(touched)
    lines = [_line(tx.book, move) for move in batch.moves]
    for standing in touched:
        standing.version += 1
    stamp = await tx.row(
        _sql["apply_accounts"], Stamp, book=tx.book, **arrays,
        last_booked=max((each.booked for each in touched), default=_EPOCH),
    )  # fmt: skip
    if stamp is None or stamp.sealed != batch.sealed_to:
        message = "a day was closed in between"
        raise Stale(message)
    for standing in touched:
        standing.booked = max(standing.booked, stamp.booked_at)
    if lines:
        text = "".join(lines).replace(_BOOKED, stamp.booked_at.isoformat()).replace(_DAY, stamp.day.isoformat())
        await tx.copy(_sql["append_transfers"], text)
        await _holds(tx, batch)
        await _reversals(tx, batch)
        await _shifts(tx, batch.moves, stamp)
    return stamp


def array(values: Iterable[object]) -> str:
    """Return an array literal of values that need no quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def _accounts(touched: Sequence[Standing]) -> dict[str, str]:
    held = any(each.debits_pending or each.credits_pending for each in touched)
    return {
        "ids": array([each.id for each in touched]),
        "versions": array([each.version for each in touched]),
        "debits": array([each.debits_posted for each in touched]),
        "credits": array([each.credits_posted for each in touched]),
        "held_debits": array([each.debits_pending for each in touched] if held else ()),
        "held_credits": array([each.credits_pending for each in touched] if held else ()),
    }


def _line(book: int, move: Move) -> str:
    command = move.command
    effective = _DAY if command.effective is None else command.effective.isoformat()
    a = move.after
    if move.target is None and move.expires_at is None:
        aim = "\\N\t\\N\t\\N"
    else:
        target, released = ("\\N" if each is None else str(each) for each in (move.target, move.released))
        expires = "\\N" if move.expires_at is None else move.expires_at.isoformat()
        aim = f"{target}\t{released}\t{expires}"
    return (
        f"{book}\t{move.id.int:032x}\t{move.transaction.int:032x}\t{move.position}\t{move.kind:d}\t{_BOOKED}\t{effective}\t"
        f"{move.debit.id}\t{move.credit.id}\t{move.amount}\t{a[0]}\t{a[1]}\t{a[2]}\t{a[3]}\t{a[4]}\t{a[5]}\t{a[6]}\t{a[7]}\t"
        f"{aim}\t{_text(command.reference)}\t{_text(command.external_reference)}\t{_metadata(command.metadata)}\n"
    )


def _text(value: str | None) -> str:
    return "\\N" if value is None else value.translate(_ESCAPES)


def _metadata(value: dict[str, str] | None) -> str:
    return _text(msgspec.json.encode(value, order="sorted").decode()) if value else "\\N"


async def _holds(tx: Tx, batch: Batch) -> None:
    holds = [each for each in batch.changed.values() if each.is_hold]
    new = [each for each in holds if each.id.int in batch.made]
    old = sorted((each for each in holds if each.id.int not in batch.made), key=lambda each: each.id)
    if new:
        expires = [each.expires_at for each in new]
        await tx.do(_sql["open_holds"], book=tx.book, **_hold_arrays(new), expires=expires)
    if old:
        await tx.do(_sql["change_holds"], book=tx.book, **_hold_arrays(old))


def _hold_arrays(holds: Sequence[Target]) -> dict[str, str]:
    return {
        "ids": array([each.id for each in holds]),
        "states": array([each.state for each in holds]),
        "remaining": array([each.remaining for each in holds]),
        "captured": array([each.captured for each in holds]),
    }


async def _reversals(tx: Tx, batch: Batch) -> None:
    aimed = [each for each in batch.changed.values() if not each.is_hold and each.reversed > each.stored]
    for name, some in (
        ("first_reversals", [each for each in aimed if each.stored == 0]),
        ("more_reversals", [each for each in aimed if each.stored > 0]),
    ):
        if some:
            sums = array([each.reversed for each in some])
            await tx.do(_sql[name], book=tx.book, ids=array([each.id for each in some]), reversed=sums)


async def _shifts(tx: Tx, moves: Sequence[Move], stamp: Stamp) -> None:
    today = stamp.booked_at.date()
    if stamp.day == today and all(move.command.effective in {None, today} for move in moves):
        return
    sums: defaultdict[tuple[str, date], list[int]] = defaultdict(lambda: [0, 0])
    for move in moves:
        effective = move.command.effective or stamp.day
        if effective == today or move.kind not in _MOVED:
            continue
        for side, account in enumerate((move.debit.id, move.credit.id)):
            sums[account, effective][side] += move.amount
            sums[account, today][side] -= move.amount
    if sums:
        await tx.do(
            _sql["shift"], book=tx.book,
            accounts=array([account for account, _ in sums]), days=array([day for _, day in sums]),
            debits=array([debits for debits, _ in sums.values()]),
            credits=array([credits for _, credits in sums.values()]),
        )  # fmt: skip

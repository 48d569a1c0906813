"""Writing what was decided: the accounts' counters, the transfers, and what became of holds, reversals and days."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec

from clearhouse.kernel.db.arrays import array, composites, field, instants
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.faults import Stale
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger.deciding import Batch, Move
from clearhouse.kernel.ledger.standing import Standing
from clearhouse.kernel.ledger.targets import Target
from clearhouse.kernel.ledger.transfers import TransferKind

_sql = Statements.of("clearhouse.kernel.ledger", "posting.sql")
_MOVED = {TransferKind.POSTED, TransferKind.CAPTURE, TransferKind.REVERSAL}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a batch was booked, and the day on which a transfer without an effective date counts."""

    booked_at: datetime
    day: date


@dataclass(frozen=True, slots=True)
class Written:
    """A batch as the database takes it: what `prepare` makes, what `write` sends."""

    touched: Sequence[Standing]
    values: dict[str, object]


def rows(moves: Sequence[Move], *, start: int) -> list[str]:
    """Return the rows of the moves from a place on."""
    return [_row(place, moves[place]) for place in range(start, len(moves))]


def prepare(batch: Batch, transfers: Sequence[str]) -> Written:
    """Put a decided batch into the form in which it is sent; from here on its accounts count as changed."""
    touched = [batch.touched[each] for each in sorted(batch.touched)]
    held = any(each.debits_pending or each.credits_pending for each in touched)
    values: dict[str, object] = {
        "ids": array([each.id for each in touched]),
        "versions": array([each.version for each in touched]),
        "debits": array([each.debits_posted for each in touched]),
        "credits": array([each.credits_posted for each in touched]),
        "held_debits": array([each.debits_pending for each in touched] if held else ()),
        "held_credits": array([each.credits_pending for each in touched] if held else ()),
        "last_booked": max([each.booked for each in touched], default=_EPOCH),
        "sealed": batch.sealed_to,
        "moves": composites(transfers),
    }
    for standing in touched:
        standing.version += 1
    return Written(touched, values)


async def write(tx: Tx, batch: Batch, written: Written, lane: int) -> Stamp:
    """Write a batch; raises Stale if somebody came between."""
    stamp = await tx.row(_sql["post_transfers"], Stamp, book=tx.book, lane=lane, **written.values)
    if stamp is None:  # pragma: no cover - the function answers or raises; a row may be missing for the types alone
        message = "the batch was not answered"
        raise Stale(message)
    for standing in written.touched:
        standing.booked = max(standing.booked, stamp.booked_at)
    if batch.changed:
        _holds(tx, batch)
        _reversals(tx, batch)
    _shifts(tx, batch.moves, stamp)
    return stamp


def _row(place: int, move: Move) -> str:
    """Return a transfer in the order of its table's columns; the book and the time are not ours to say."""
    command = move.command
    effective = "" if command.effective is None else command.effective.isoformat()
    if move.target is None and move.expires_at is None:
        aim = ",,"
    else:
        target, released = ("" if each is None else str(each) for each in (move.target, move.released))
        aim = f"{target},{released},{'' if move.expires_at is None else move.expires_at.isoformat()}"
    if command.reference is command.external_reference is command.metadata is None:
        told = ",,"
    else:
        metadata = msgspec.json.encode(command.metadata, order="sorted").decode() if command.metadata else None
        told = f"{field(command.reference)},{field(command.external_reference)},{field(metadata)}"
    a, b, c, d, e, f, g, h = move.after
    return (
        f",{move.id.int:032x},{place},,{move.transaction.int:032x},{move.debit.id},{move.credit.id},{effective},"
        f"{move.position},{move.kind:d},{move.amount},{a},{b},{c},{d},{e},{f},{g},{h},{aim},{told}"
    )


def _holds(tx: Tx, batch: Batch) -> None:
    holds = [each for each in batch.changed.values() if each.is_hold]
    new = [each for each in holds if each.id.int in batch.made]
    old = sorted((each for each in holds if each.id.int not in batch.made), key=lambda each: each.id)
    if new:
        tx.later(_sql["open_holds"], book=tx.book, **_hold_arrays(new))
    if old:
        tx.later(_sql["change_holds"], book=tx.book, **_hold_arrays(old), pins=instants([each.pinned_at for each in old]))


def _hold_arrays(holds: Sequence[Target]) -> dict[str, str]:
    return {
        "ids": array([each.id for each in holds]),
        "states": array([each.state for each in holds]),
        "remaining": array([each.remaining for each in holds]),
        "captured": array([each.captured for each in holds]),
        "expires": instants([each.expires_at for each in holds]),
    }


def _reversals(tx: Tx, batch: Batch) -> None:
    aimed = [each for each in batch.changed.values() if not each.is_hold and each.reversed > each.stored]
    for name, some in (
        ("first_reversals", [each for each in aimed if each.stored == 0]),
        ("more_reversals", [each for each in aimed if each.stored > 0]),
    ):
        if some:
            sums = array([each.reversed for each in some])
            tx.later(_sql[name], book=tx.book, ids=array([each.id for each in some]), reversed=sums)


def _shifts(tx: Tx, moves: Sequence[Move], stamp: Stamp) -> None:
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
        tx.later(
            _sql["shift"], book=tx.book,
            accounts=array([account for account, _ in sums]), days=array([day for _, day in sums]),
            debits=array([debits for debits, _ in sums.values()]),
            credits=array([credits for _, credits in sums.values()]),
        )  # fmt: skip

"""Waking: what becomes due by itself. A window opens, a person has looked, a retry is due, a word is overdue.

Promise: a settlement that waits is validated again before anything is locked for it; one that was sent is never given up by
a timer: it becomes IN_DOUBT, and the bank is asked.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from clearhouse.asking import Asked
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.db.arrays import texts
from clearhouse.kernel.db.database import Tx
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import rows
from clearhouse.slices.interbank.answers import ASK_SECONDS, ASK_SECONDS_MAX, fail
from clearhouse.slices.interbank.channel import Method
from clearhouse.slices.interbank.executing import Live, Parties, ask_review, content, lock, subject
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import ExecuteSettlement, Party, Priority, State
from clearhouse.slices.interbank.turns import Most, Orders, order
from clearhouse.slices.interbank.validation import validate
from clearhouse.slices.interbank.world import World, known

Reason = Literal["waiting", "reviewed", "retry", "overdue", "doubt", "unlocked"]
_PRIORITIES = tuple(Priority)
_DUE: dict[Reason, list[str]] = {
    "waiting": ["PENDING"], "retry": ["FAILED"], "overdue": ["EXECUTING", "CONFIRMING"], "doubt": ["IN_DOUBT"],
}  # fmt: skip


class Wake(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Do what is due for one reason."""

    reason: Reason
    most: Most


class _Found(msgspec.Struct, frozen=True):
    found: bool


async def is_due(tx: Tx, reason: Reason, at: datetime) -> bool:
    """Tell whether there is anything to do for a reason; an engine that idles leaves no trace in the journal."""
    if reason == "unlocked":
        row = await tx.row(rows.sql["is_turn"], _Found, book=tx.book)
    elif reason == "reviewed":
        row = await tx.row(rows.sql["is_reviewed"], _Found, book=tx.book)
    else:
        row = await tx.row(rows.sql["is_due"], _Found, book=tx.book, at=at, states=_DUE[reason])
    return row is not None and row.found


async def wake(tx: Tx, asked: Sequence[Asked[Wake]], at: datetime) -> list[Orders | Refusal]:
    """Do what is due; the answer is what the banks are to be asked about."""
    return [await _wake(tx, each.command, at) for each in asked]


async def _wake(tx: Tx, command: Wake, at: datetime) -> Orders:
    due = await _claimed(tx, command, at)
    if not due:
        return Orders([], 0)
    world = await known(tx)
    await _DO[command.reason](tx, world, due, at)
    await rows.write(tx, due, at)
    rows.journal(tx, due, kind=f"interbank.{command.reason}", at=at)
    return Orders([order(world, row) for row in due] if command.reason == "doubt" else [], len(due))


async def _claimed(tx: Tx, command: Wake, at: datetime) -> list[Row]:
    if command.reason in _DUE:
        return await tx.rows(rows.sql["claim_due"], Row, book=tx.book, at=at, states=_DUE[command.reason], most=command.most)
    name = {"reviewed": "claim_reviewed", "unlocked": "claim_unlocked"}[command.reason]
    return await tx.rows(rows.sql[name], Row, book=tx.book, most=command.most)


async def _waiting(tx: Tx, world: World, due: Sequence[Row], at: datetime) -> None:
    """Look again: who still has to wait waits, who is no longer good fails, the others have their funds locked."""
    ready: list[Row] = []
    unseen: list[Row] = []
    for row in due:
        try:
            valid = validate(world, _command(row), at)
        except Refusal as refusal:
            fail(row, refusal.code, str(refusal), at)
            continue
        row.touched = True
        if not row.reviewed and (valid.hits or row.waiting_for == "review"):
            row.remark = "; ".join(valid.hits)[:1_000] or row.remark
            unseen.append(row)
        elif valid.opens_at is not None:
            row.waiting_for, row.due_at = "window", valid.opens_at
        else:
            ready.append(row)
    await ask_review(tx, unseen, at)
    for row, refusal in await lock(tx, ready, at):
        if refusal is not None:
            row.attempts += 1  # the id that this attempt had is never used again
            fail(row, refusal.code, str(refusal), at)


async def _reviewed(tx: Tx, world: World, due: Sequence[Row], at: datetime) -> None:
    """Act on what people said: what they let pass goes on, what they did not has failed."""
    said = await requests.approved(tx, [(subject(row), content(row)) for row in due], at)
    for row, word in zip(due, said, strict=True):
        if isinstance(word, Refusal):
            fail(row, "review_refused", str(word), at)
        else:
            row.reviewed, row.touched = True, True
    await _waiting(tx, world, [row for row in due if row.reviewed], at)


async def _retry(tx: Tx, _: World, due: Sequence[Row], at: datetime) -> None:
    """Try again what may succeed another time, unless its obligation is settled by another by now."""
    obligations = texts([row.obligation_id for row in due])
    live = {
        each.obligation_id for each in await tx.rows(rows.sql["of_obligations"], Live, book=tx.book, obligations=obligations)
    }
    for row in due:
        if row.obligation_id in live:
            row.due_at, row.waiting_for, row.touched = None, None, True
        else:
            live.add(row.obligation_id)
            row.become(State.PENDING, due_at=at, ended_at=None)


async def _overdue(_: Tx, __: World, due: Sequence[Row], at: datetime) -> None:
    for row in due:
        row.become(State.IN_DOUBT, "DOUBT", due_at=at, reason="no_word_in_time")


async def _doubt(_: Tx, __: World, due: Sequence[Row], at: datetime) -> None:
    """Ask, each time a little later; nobody else asks about the same meanwhile."""
    for row in due:
        row.due_at = at + timedelta(seconds=min(ASK_SECONDS * 2 ** min(row.asked, 10), ASK_SECONDS_MAX))
        row.asked, row.touched = row.asked + 1, True


async def _unlocked(_: Tx, __: World, due: Sequence[Row], at: datetime) -> None:
    for row in due:
        row.become(State.ROLLED_BACK, "ROLLBACK", reason="lock_expired", ended_at=at)


_DO = {
    "waiting": _waiting, "reviewed": _reviewed, "retry": _retry, "overdue": _overdue, "doubt": _doubt, "unlocked": _unlocked,
}  # fmt: skip


def _command(row: Row) -> ExecuteSettlement:
    """Return what was asked for, to be validated again."""
    told = Parties() if row.parties is None else msgspec.json.decode(row.parties, type=Parties)
    return ExecuteSettlement(
        row.obligation_id, row.from_bank, row.to_bank, row.money(row.amount), row.currency, Method(row.method),
        _PRIORITIES[row.priority], Party(told.debtor, told.debtor_iban), Party(told.creditor, told.creditor_iban),
        told.remittance or None,
    )  # fmt: skip

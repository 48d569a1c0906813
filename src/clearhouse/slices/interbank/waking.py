"""Waking: what becomes due by itself. A window opens, a person has looked, a retry is due, a lock ran out.

Promise: a settlement that waits is validated again before anything is locked for it; what a person has not let pass locks
nothing; nothing is tried again for an obligation that another settlement has by now.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog

from clearhouse import clock
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database, Tx
from clearhouse.kernel.pipelines.declared import Firing, Job
from clearhouse.kernel.pipelines.stages import Moves, NotYet, Stage
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import periods, rows
from clearhouse.slices.interbank.answers import fail
from clearhouse.slices.interbank.channel import Method
from clearhouse.slices.interbank.executing import Parties, ask_review, content, lock, subject, usage
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import VALIDATE, ExecuteSettlement, Party, Priority, State
from clearhouse.slices.interbank.validation import Usage, day_start, over, validate
from clearhouse.slices.interbank.world import World, known

REVIEW_SECONDS = 0.5
HOUR = timedelta(hours=1)
AT_A_TIME = 1_000
_PRIORITIES = tuple(Priority)
_log = structlog.get_logger(__name__)


class _Id(msgspec.Struct, frozen=True):
    id: UUID


async def look(tx: Tx, own: Sequence[UUID], at: datetime) -> Mapping[UUID, NotYet]:
    """Look at those whose time has come: act on what people said, and validate and lock what may go on."""
    there = await rows.locked(tx, own)
    world = await known(tx)
    looked = [row for row in there.values() if row.waiting_for == "review" and row.review is not None and not row.reviewed]
    seen = await _reviewed(tx, looked, at)
    await _waiting(tx, world, [row for row in there.values() if row not in looked or row in seen], at)
    await rows.write(tx, there.values(), at)
    rows.journal(tx, there.values(), kind="interbank.waiting", at=at)
    return {}


async def _reviewed(tx: Tx, looked: Sequence[Row], at: datetime) -> list[Row]:
    """Return what people let pass. What they did not has failed; what they have not decided on goes on waiting."""
    if not looked:
        return []
    asked = array([row.review for row in looked])
    pending = {each.id for each in await tx.rows(rows.sql["pending_reviews"], _Id, book=tx.book, ids=asked)}
    said = await requests.approved(tx, [(subject(row), content(row)) for row in looked], at)
    for row, word in zip(looked, said, strict=True):
        row.touched = True
        if not isinstance(word, Refusal):
            row.reviewed = True
        elif row.review in pending:
            row.next_at = None
        else:
            fail(row, "review_refused", str(word), at)
    return [row for row in looked if row.reviewed]


async def _waiting(tx: Tx, world: World, due: Sequence[Row], at: datetime) -> None:
    """Look again: who still has to wait waits, who is no longer good fails, the others have their funds locked."""
    ready: list[Row] = []
    unseen: list[Row] = []
    used = await _used(tx, world, due, at)
    for row in due:
        try:
            valid = validate(world, _command(row), at)
        except Refusal as refusal:
            fail(row, refusal.code, str(refusal), at)
            continue
        row.touched = True
        hits = valid.hits + (over(world, _command(row), row.amount, used) if _is_counted(row) else [])
        if not row.reviewed and (hits or row.waiting_for == "review"):
            row.remark = "; ".join(hits)[:1_000] or row.remark
            unseen.append(row)
        elif valid.opens_at is not None:
            row.waiting_for, row.next_at = "window", valid.opens_at
        else:
            ready.append(row)
    await ask_review(tx, unseen, at)
    for row, refusal in await lock(tx, ready, at):
        if refusal is not None:
            row.attempt += 1  # the id that this attempt had is never used again
            fail(row, refusal.code, str(refusal), at)


def _is_counted(row: Row) -> bool:
    """Tell whether it counts for the limits anew: it had failed, and others may have used what it left since."""
    return row.retried_at is not None and not row.reviewed


async def _used(tx: Tx, world: World, due: Sequence[Row], at: datetime) -> dict[tuple[str, str], Usage]:
    """Return what banks have had settled lately beside those that are counted now, one after another."""
    counted = [row for row in due if _is_counted(row)]
    used = await usage(tx, world, {(row.from_bank, row.currency) for row in counted}, at)
    for row in counted:
        place = used.get((row.from_bank, row.currency))
        if place is not None and row.retried_at is not None:
            place.total -= row.amount if row.retried_at >= day_start(world, row.currency, at) else 0
            place.count -= row.retried_at > at - HOUR
    return used


def _command(row: Row) -> ExecuteSettlement:
    """Return what was asked for, to be validated again."""
    told = Parties() if row.parties is None else msgspec.json.decode(row.parties, type=Parties)
    return ExecuteSettlement(
        row.obligation_id, row.from_bank, row.to_bank, row.money(row.amount), row.currency, Method(row.method),
        _PRIORITIES[row.priority], Party(told.debtor, told.debtor_iban), Party(told.creditor, told.creditor_iban),
        told.remittance or None,
    )  # fmt: skip


STAGE = Stage(
    VALIDATE, "interbank", "settlement_transactions", State.PENDING.value, Moves(look),
    about="what waited for a window, a person or a retry is validated, and its funds are locked", prefix="stl",
)  # fmt: skip


async def review(database: Database) -> None:
    """Make due, again and again, what waited for people who have decided: a decision makes no row of ours."""
    await database.loops.forever("wake_reviewed", lambda: wake_reviewed(database), REVIEW_SECONDS)


async def wake_reviewed(database: Database) -> int:
    """Make due what people have decided on, in every book; return how many that were."""
    async with database.writing() as tx:
        return await tx.do(rows.sql["wake_reviewed"], at=clock.now())


async def retry(tx: Tx, firing: Firing) -> None:
    """Try again what may succeed another time, unless its obligation is settled by another by now."""
    await _all(tx, "claim_retries", _retry, firing.at)


async def _retry(tx: Tx, due: Sequence[Row], at: datetime) -> None:
    ours = await rows.retake(tx, due)
    tx.later(rows.sql["note_retried"], book=tx.book, ids=array(ours), at=at)
    for row in due:
        if row.id in ours:
            row.become(State.PENDING, next_at=at, ended_at=None)
        else:
            row.next_at, row.waiting_for, row.touched = None, None, True
    tx.wake(VALIDATE)


async def clean_up(tx: Tx, firing: Firing) -> None:
    """Roll back what was not sent before its lock ran out."""
    await _all(tx, "claim_unlocked", _unlocked, firing.at)


async def _unlocked(_: Tx, due: Sequence[Row], at: datetime) -> None:
    for row in due:
        row.become(State.ROLLED_BACK, "ROLLBACK", reason="lock_expired", ended_at=at)


async def _all(tx: Tx, claim: str, act: Callable[[Tx, Sequence[Row], datetime], Awaitable[None]], at: datetime) -> None:
    """Do something with all that a statement claims, some at a time."""
    while due := await tx.rows(rows.sql[claim], Row, book=tx.book, at=at, most=AT_A_TIME):
        await act(tx, due, at)
        await rows.write(tx, due, at)
        rows.journal(tx, due, kind=f"interbank.{act.__name__.removeprefix('_')}", at=at)


RETRY = Job(periods.RETRY, "Try again what failed and may succeed another time.", retry)
CLEAN_UP = Job(periods.CLEAN_UP, "Roll back what was not sent before its lock ran out.", clean_up)

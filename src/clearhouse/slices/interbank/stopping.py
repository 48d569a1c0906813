"""Stopping: who asked cancels what was not sent yet; what is in doubt is given up only by two people, with a reason.

Promise: after the moment of sending no hand frees a lock but two together, and they only what the bank itself, asked since,
does not know, or will pay no more of than it has; a confirmation that comes after that is booked to
suspense, with an alert, and never lost.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.approval import Approval, Subject, digest
from clearhouse.kernel.approvals.decisions import REMARK
from clearhouse.kernel.approvals.requests import Edit, Wanted
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.money import Amount, Asset
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank import rows
from clearhouse.slices.interbank.answers import book, release
from clearhouse.slices.interbank.executing import subject
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.settlement import RESOLVE, Settlement, SettlementNotFound, SettlementRef, State

RELEASE = "interbank.release"
# The bank's word that it does not know an order is good for so long; it is asked at least every ten minutes.
DENIED_SECONDS_MAX = 900
Why = Annotated[
    str, msgspec.Meta(min_length=1, max_length=500, pattern=REMARK, examples=["The bank has denied it by telephone."])
]


class AlreadySent(Refusal):
    """Settlement {id} is {state}: it was sent, and only the bank's word ends it now."""

    code = "already_sent"
    kind = Kind.CONFLICT


class AlreadyEnded(Refusal):
    """Settlement {id} has ended: it is {state}."""

    code = "already_ended"
    kind = Kind.CONFLICT


class NotInDoubt(Refusal):
    """Settlement {id} is {state}; only one that is IN_DOUBT is released by hand."""

    code = "not_in_doubt"
    kind = Kind.CONFLICT


class BeingAsked(Refusal):
    """The bank is being asked about settlement {id} right now; give it up only if it has no answer, in a minute."""

    code = "being_asked"
    kind = Kind.CONFLICT
    retryable = True


class NotDenied(Refusal):
    """The bank has not said of late that it pays no more of settlement {id}; it is asked, and then it can be given up."""

    code = "not_denied"
    kind = Kind.CONFLICT
    retryable = True


class CancelSettlement(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Take a settlement back that was not sent yet, or let one that has failed not be tried again."""

    settlement: SettlementRef
    reason: Why | None = None


class ReleaseSettlement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give up a settlement that is in doubt and free its funds: ask for it, and once more when that is approved."""

    settlement: SettlementRef
    reason: Why


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of it: the settlement, and the approval that is waited for, if it is."""

    settlement: Settlement
    approval: Approval | None = None


async def cancel(tx: Tx, asked: Sequence[Asked[CancelSettlement]], at: datetime) -> list[Settlement | Refusal]:
    """Cancel settlements, in order."""
    wanted = [readable("stl", each.command.settlement) for each in asked]
    there = await rows.locked(tx, wanted)
    answers: list[Settlement | Refusal] = []
    freed: list[Row] = []
    reviews: list[Edit] = []
    for each, own in zip(asked, wanted, strict=True):
        row = there.get(own)
        refusal = SettlementNotFound(id=each.command.settlement) if row is None else _unstoppable(row)
        if row is None or refusal is not None:
            answers.append(refusal or SettlementNotFound(id=each.command.settlement))
            continue
        if row.state == State.FUNDS_LOCKED.value:
            freed.append(row)
        if row.state == State.FAILED.value:
            row.waiting_for, row.next_at, row.touched = None, None, True
        else:
            row.become(State.ROLLED_BACK, "ROLLBACK", reason="CANCELLED", remark=each.command.reason, ended_at=at)
        if row.review is not None:
            reviews.append(Edit(subject(row), each.by))
        answers.append(row.settlement())
    if reviews:
        await requests.edited(tx, reviews, at)
    await book(tx, [], [release(row) for row in freed], at)
    await rows.write(tx, there.values(), at)
    return answers


def _unstoppable(row: Row) -> Refusal | None:
    state = State(row.state)
    if state in {State.PENDING, State.VALIDATING, State.FUNDS_LOCKED} or row.waiting_for == "retry":
        return None
    if state in {State.COMPLETED, State.FAILED, State.ROLLED_BACK}:
        return AlreadyEnded(id=row.text, state=row.state)
    return AlreadySent(id=row.text, state=row.state)


async def release_by_hand(tx: Tx, asked: Sequence[Asked[ReleaseSettlement]], at: datetime) -> list[Release | Refusal]:
    """Free what two people have decided to give up; ask the second one first."""
    wanted = [readable("stl", each.command.settlement) for each in asked]
    there = await rows.locked(tx, wanted)
    answers = [await _release(tx, each, there.get(own), at) for each, own in zip(asked, wanted, strict=True)]
    freed = [row for row in there.values() if row.reason == "released_by_hand" and row.touched]
    await book(tx, [row.lock_id for row in freed], [release(row) for row in freed], at)
    await rows.write(tx, there.values(), at)
    asking = [row for row in there.values() if row.state == State.IN_DOUBT.value and row.release is not None]
    if asking:
        tx.later(
            rows.sql["ask_before_release"], book=tx.book, at=at, ids=array([row.id for row in asking]),
            releases=array([row.release for row in asking]),
        )  # fmt: skip
        tx.wake(RESOLVE)
    return answers


async def _release(tx: Tx, asked: Asked[ReleaseSettlement], row: Row | None, at: datetime) -> Release | Refusal:
    if row is None:
        return SettlementNotFound(id=asked.command.settlement)
    if row.state != State.IN_DOUBT.value:
        return NotInDoubt(id=row.text, state=row.state)
    if row.lease is not None:  # whoever asks may have stood still for long: another asks then, and ends this
        return BeingAsked(id=row.text)
    about = Subject(RELEASE, row.text)
    held = digest([row.text, row.money(row.captured), asked.command.reason])
    said = (await requests.approved(tx, [(about, held)], at))[0]
    if isinstance(said, Approval):
        if row.denied_at is None or row.denied_at < at - timedelta(seconds=DENIED_SECONDS_MAX):
            return NotDenied(id=row.text)
        row.carry(row.order)  # it may still arrive: who settles this obligation again sends the same, and the bank takes one
        row.become(State.FAILED, "ROLLBACK", reason="released_by_hand", remark=asked.command.reason, ended_at=at)
        return Release(row.settlement())
    asset = money.iso(row.currency) or Asset(row.currency, row.exponent)
    request = Wanted(
        id=ids.derived("interbank.release", str(asked.id)), subject=about, content=held, by=asked.by,
        creator=row.accepted_by,
        title=f"Give up {row.text}: {asked.command.reason}"[:200], amounts=(Amount(row.amount - row.captured, asset),),
    )  # fmt: skip
    answer = (await requests.request(tx, [request], at))[0]
    if isinstance(answer, Refusal):
        return answer
    row.release = ids.parse("apr", answer.id)
    return Release(row.settlement(), answer)

"""Decisions: people approve, reject and withdraw. A batch locks what it is about, decides in order, and writes once.

Promise: of two approvals at once one advances the level: each says which level it is for, and the other finds it passed; the
same word again, by the id of its command, is the same step.
Refusals in the order they are looked for: approval_not_found, key_reused, not_pending, approval_expired, own_work (or
not_asker), people_only, already_approved, other_level, not_approver, word_lapsed, needed_later, and what `changes` refuses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.approvals import changes
from clearhouse.kernel.approvals.approval import (
    Approval,
    ApprovalNotFound,
    ApprovalRef,
    Case,
    Row,
    State,
    cases,
    change,
    note,
)
from clearhouse.kernel.approvals.approvers import Standing, candidates, shortage, standing
from clearhouse.kernel.approvals.policies import LEVELS_MAX, sql
from clearhouse.kernel.commands.keys import KeyReused
from clearhouse.kernel.db.database import Tx
from clearhouse.refusals import Kind, Refusal

REMARK = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$(?!\n)"
Remark = Annotated[str, msgspec.Meta(max_length=1_000, pattern=REMARK)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=REMARK)]
LevelNumber = Annotated[int, msgspec.Meta(ge=1, le=LEVELS_MAX)]


class NotPending(Refusal):
    """{id} is {state}; nobody decides on it any more."""

    code = "not_pending"
    kind = Kind.CONFLICT


class ApprovalExpired(Refusal):
    """The time to decide on {id} has run out; whoever needs it asks again."""

    code = "approval_expired"
    kind = Kind.CONFLICT


class OwnWork(Refusal):
    """Nobody decides on what they created, edited or submitted."""

    code = "own_work"
    kind = Kind.DENIED


class NotAsker(Refusal):
    """Only who created, edited or submitted something withdraws it."""

    code = "not_asker"
    kind = Kind.DENIED


class PeopleOnly(Refusal):
    """People decide; a service does not."""

    code = "people_only"
    kind = Kind.DENIED


class AlreadyApproved(Refusal):
    """You approved {id} already; each approval is another person's."""

    code = "already_approved"
    kind = Kind.DENIED


class OtherLevel(Refusal):
    """{id} is at level {level} now, not at level {asked}; look at it again."""

    code = "other_level"
    kind = Kind.CONFLICT


class NotApprover(Refusal):
    """Level {level} does not ask for you."""

    code = "not_approver"
    kind = Kind.DENIED


class NeededLater(Refusal):
    """Nobody could approve at level {level} if you approved here; leave this level to another."""

    code = "needed_later"
    kind = Kind.REFUSED


class WordLapsed(Refusal):
    """{person} approved {id} and may no longer; reject it or withdraw it, and whoever needs it asks again."""

    code = "word_lapsed"
    kind = Kind.CONFLICT


class Approve(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Approve at the level that you see."""

    approval: ApprovalRef
    level: LevelNumber
    remark: Remark = ""


class Reject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reject, with the reason."""

    approval: ApprovalRef
    remark: Reason


class Withdraw(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Take back a request for what you created, edited or submitted."""

    approval: ApprovalRef
    remark: Remark = ""


Decision = TypeVar("Decision", Approve, Reject, Withdraw)


@dataclass(frozen=True, slots=True)
class _Now:
    """The instant, who asks, by which command, and everybody who might."""

    at: datetime
    by: UUID
    word: UUID
    me: Standing | None
    people: Sequence[Standing]


@dataclass(frozen=True, slots=True)
class _Word:
    word: UUID
    request: UUID
    act: str
    level: int
    remark: str


async def approve(tx: Tx, asked: Sequence[Asked[Approve]], at: datetime) -> list[Approval | Refusal]:
    """Approve, in order; what is approved by all and is a change of who decides takes effect here."""
    return await _decide(tx, asked, at, _approve)


async def reject(tx: Tx, asked: Sequence[Asked[Reject]], at: datetime) -> list[Approval | Refusal]:
    """Reject, in order."""
    return await _decide(tx, asked, at, _reject)


async def withdraw(tx: Tx, asked: Sequence[Asked[Withdraw]], at: datetime) -> list[Approval | Refusal]:
    """Withdraw, in order."""
    return await _decide(tx, asked, at, _withdraw)


async def _decide(
    tx: Tx,
    asked: Sequence[Asked[Decision]],
    at: datetime,
    decide: Callable[[Case, Decision, _Now], Refusal | None],
) -> list[Approval | Refusal]:
    wanted = [readable("apr", each.command.approval) for each in asked]
    rows = await tx.rows(sql["lock_requests"], Row, book=tx.book, ids=sorted(set(wanted)))
    # Read under the locks, so that who was first is seen.
    known = {case.row.id: case for case in await cases(tx, rows)}
    said = {each.word: each for each in await tx.rows(sql["words"], _Word, book=tx.book, words=[each.id for each in asked])}
    present, everybody = await standing(tx, [each.by for each in asked]), await candidates(tx)
    answers: list[Approval | Refusal] = []
    for each, own in zip(asked, wanted, strict=True):
        case = known.get(own)
        if case is None:
            answers.append(ApprovalNotFound(id=each.command.approval))
        elif each.id in said:
            answers.append(_again(case, each.command, said[each.id]))
        else:
            now = _Now(at, each.by, each.id, present.get(each.by), everybody)
            answers.append(await _decided(tx, case, now, decide(case, each.command, now)))
    await change(tx, list(known.values()), at)
    await note(tx, known.values(), at)
    return answers


async def _decided(tx: Tx, case: Case, now: _Now, refusal: Refusal | None) -> Approval | Refusal:
    """Answer, and let a change of who decides take effect with the last word on it; if it cannot, the word is not said."""
    if refusal is None and case.change is not None and case.state is State.APPROVED:
        refusal = await changes.carry_out(tx, case, at=now.at, by=now.by)
        if refusal is not None:
            case.take_back()
    return case.approval() if refusal is None else refusal


_ACTS = {Approve: State.APPROVED.value, Reject: State.REJECTED.value, Withdraw: State.WITHDRAWN.value}


def _again(case: Case, command: Approve | Reject | Withdraw, said: _Word) -> Approval | Refusal:
    """Answer a word that was said already: one of a bulk request that came twice, or whose commit nobody was told of."""
    level = command.level if isinstance(command, Approve) else said.level
    if (said.request, said.act, said.level, said.remark) != (case.row.id, _ACTS[type(command)], level, command.remark):
        return KeyReused(key=str(said.word))
    return msgspec.structs.replace(case.approval(), exists=True)


def _open(case: Case, act: State, name: str, at: datetime) -> Refusal | None:
    if not case.may(act):
        return NotPending(id=name, state=case.state.value)
    return ApprovalExpired(id=name) if case.is_over(at) else None


def _approve(case: Case, command: Approve, now: _Now) -> Refusal | None:
    refusal = _open(case, State.APPROVED, command.approval, now.at) or _stranger(case, now)
    refusal = refusal or _unfit(case, command, now)
    if refusal is None:
        case.act(State.APPROVED, now.at, now.by, command.remark, word=now.word)
        case.approvers[now.by] = case.level
        _advance(case, now.at)
    return refusal


def _stranger(case: Case, now: _Now) -> Refusal | None:
    """Refuse whoever had a hand in it, and what is no person."""
    if now.by in case.makers:
        return OwnWork()
    return PeopleOnly() if now.me is not None and now.me.kind != "person" else None


def _unfit(case: Case, command: Approve, now: _Now) -> Refusal | None:
    if now.by in case.approvers:
        return AlreadyApproved(id=command.approval)
    if command.level != case.level:
        return OtherLevel(id=command.approval, level=str(case.level), asked=str(command.level))
    if now.me is None or not now.me.decides or not case.rule.asks_for(now.me):
        return NotApprover(level=str(case.level))
    gone = case.lapsed({each.id: each for each in now.people}) if case.approvers else None
    return _needed(case, now) if gone is None else WordLapsed(id=command.approval, person=ids.text("prn", gone))


def _needed(case: Case, now: _Now) -> Refusal | None:
    """Refuse whom a later level cannot do without, as long as this one can."""
    later = [rule for level, rule in case.rules.items() if level > case.level]
    left = case.rule.count - case.given
    out = case.makers | case.approvers.keys()
    here = [replace(case.rule, count=left - 1)] if left > 1 else []
    short = shortage([*here, *later], now.people, out | {now.by})
    if short is None or shortage([replace(case.rule, count=left), *later], now.people, out) is not None:
        return None
    return NeededLater(level=str(short[0].level))


def _advance(case: Case, at: datetime) -> None:
    """Count an approval; the last of a level opens the next, the last of all begins the time to make use of it."""
    case.given += 1
    if case.given < case.rule.count:
        return
    later = [level for level in case.rules if level > case.level]
    if later:
        case.level, case.given = min(later), 0
    else:
        case.state, case.ended_at = State.APPROVED, at
        case.expires_at = at + (case.row.expires_at - case.row.requested_at)


def _reject(case: Case, command: Reject, now: _Now) -> Refusal | None:
    """Let whoever may decide at any level say no."""
    refusal = _open(case, State.REJECTED, command.approval, now.at) or _stranger(case, now)
    if refusal is not None:
        return refusal
    me = now.me
    if me is None or not me.decides or not any(rule.asks_for(me) for rule in case.rules.values()):
        return NotApprover(level=str(case.level))
    case.act(State.REJECTED, now.at, now.by, command.remark, word=now.word)
    return None


def _withdraw(case: Case, command: Withdraw, now: _Now) -> Refusal | None:
    refusal = _open(case, State.WITHDRAWN, command.approval, now.at)
    if refusal is not None:
        return refusal
    if now.by not in case.makers:
        return NotAsker()
    case.act(State.WITHDRAWN, now.at, now.by, command.remark, word=now.word)
    return None

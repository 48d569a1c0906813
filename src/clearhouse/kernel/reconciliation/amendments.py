"""Amendments: what becomes of a match that was made, under four eyes.

Somebody proposes; the last approval (in `approvals`, for exactly this content) carries it out, in its own transaction:

    undo    the items are open again, and what was posted is reversed; of any match, a rule's, too
    claim   money that waits in suspense goes to the account that it belongs to

Promise: an undo leaves everything as it was: the break has its owner, its reason and its remarks. What is undone, no rule
matches again, only people. A match is undone or its money is claimed, and either once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.approval import Approval, Subject, digest
from clearhouse.kernel.approvals.decisions import Remark
from clearhouse.kernel.approvals.requests import Wanted
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger.transfers import AccountName
from clearhouse.kernel.reconciliation import items, matches, posting, rules
from clearhouse.kernel.reconciliation.matches import Amendment, Match, MatchRef, Row, sql
from clearhouse.money import Amount, Asset
from clearhouse.refusals import Kind, Refusal

SUBJECT = "reconciliation.match"
UNDONE, CLAIMED = "reconciliation.undone", "reconciliation.claimed"


class MatchUndone(Refusal):
    """Match {id} is undone already."""

    code = "match_undone"
    kind = Kind.CONFLICT


class MatchClaimed(Refusal):
    """The money of match {id} was claimed; what became of it is corrected in the ledger."""

    code = "match_claimed"
    kind = Kind.CONFLICT


class NothingToClaim(Refusal):
    """Match {id} has no money in suspense."""

    code = "nothing_to_claim"
    kind = Kind.REFUSED


class NoClaimant(Refusal):
    """Money in suspense is not claimed for {account}, where it is or came from."""

    code = "no_claimant"
    kind = Kind.REFUSED


class NoAmendment(Refusal):
    """Nobody has proposed this of match {id}."""

    code = "no_amendment"
    kind = Kind.CONFLICT


class UndoMatch(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Propose to undo a match: its items are open again, and what was posted for it is reversed."""

    match: MatchRef
    remark: Remark = ""


class ClaimMatch(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Propose where the money of a match that waits in suspense belongs."""

    match: MatchRef
    account: AccountName
    remark: Remark = ""


Proposed = TypeVar("Proposed", UndoMatch, ClaimMatch)


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


async def propose(tx: Tx, asked: Sequence[Asked[Proposed]], at: datetime) -> list[Match | Refusal]:
    """Propose what becomes of matches, in order; another proposal for the same match voids the one before."""
    await hold(tx, [each.command.match for each in asked])
    answers: list[Match | Refusal] = []
    for each in asked:
        try:
            answers.append(await _proposed(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def hold(tx: Tx, refs: Sequence[str]) -> None:
    """Hold the rule sets that matches belong to."""
    await rules.lock(tx, await names(tx, refs))


async def names(tx: Tx, refs: Sequence[str]) -> list[str]:
    """Return which rule sets matches belong to."""
    wanted = [matches.parsed(each) for each in refs]
    batches, numbers = [batch for batch, _ in wanted], [number for _, number in wanted]
    found = await tx.rows(sql["names_of_matches"], _Name, book=tx.book, batches=batches, numbers=numbers)
    return [each.name for each in found]


async def _proposed(tx: Tx, asked: Asked[UndoMatch | ClaimMatch], at: datetime) -> Match:
    command = asked.command
    row = await _standing(tx, command.match)
    account = command.account if isinstance(command, ClaimMatch) else None
    if account is not None:
        await _check_claim(tx, row, account)
    action, stake = ("undo", await _sum(tx, row)) if account is None else ("claim", row.difference)
    amendment = Amendment(str(asked.id), action, ids.text("prn", asked.by), at, account, command.remark)
    amount = Amount(stake, Asset(row.asset, row.exponent))
    wanted = Wanted(
        id=asked.id, subject=Subject(SUBJECT, row.ref), content=_content(row, amendment), by=asked.by, creator=asked.by,
        title=f"{action}: {amount} of {row.ref}", amounts=(amount,),
    )  # fmt: skip
    answer = (await requests.request(tx, [wanted], at))[0]
    if isinstance(answer, Refusal):
        raise answer
    text, approval = msgspec.json.encode(amendment).decode(), ids.parse("apr", answer.id)
    await tx.do(sql["amend"], book=tx.book, batch=row.batch, number=row.number, proposal=text, approval=approval)
    return await matches.find(tx, row.ref)


async def _sum(tx: Tx, row: Row) -> int:
    """Return what a match is about: the greater sum of its two sides."""
    known = await items.rows(tx, [*row.ours, *row.theirs])
    return max(abs(sum(known[each].amount for each in side)) for side in (row.ours, row.theirs))


def _content(row: Row, amendment: Amendment) -> bytes:
    return digest([row.ref, amendment])


async def _standing(tx: Tx, ref: str) -> Row:
    """Return a match that stands as it was made."""
    row = await matches.row_of(tx, ref)
    if row.undone_at is not None:
        raise MatchUndone(id=ref)
    if row.claimed_at is not None:
        raise MatchClaimed(id=ref)
    return row


async def _check_claim(tx: Tx, row: Row, account: str) -> None:
    if row.suspense is None:
        raise NothingToClaim(id=row.ref)
    found = await rules.account(tx, account, row.asset)
    said = (await rules.find(tx, row.name)).command
    for other in (row.suspense, said.account):
        if other is not None and (await rules.account(tx, other, row.asset)).id == found.id:
            raise NoClaimant(account=account)


async def carry_out(tx: Tx, approval: Approval, by: UUID, at: datetime) -> None:
    """Amend a match as its approval says, in the name of who proposed it. Its rule set is held."""
    row = await _standing(tx, approval.subject.id)
    amendment = row.proposed
    if amendment is None or _content(row, amendment).hex() != approval.content:
        raise NoAmendment(id=row.ref)
    maker = ids.parse("prn", amendment.by)
    if amendment.action == "undo":
        await _undo(tx, row, maker, at)
    else:
        await _claim(tx, row, amendment.account or "", maker, at)
    event = UNDONE if amendment.action == "undo" else CLAIMED
    line = Line(event, row.ref, await matches.find(tx, row.ref))
    writing.write(tx, [line], book=tx.book, kind=f"reconciliation.{amendment.action}", by=by, at=at)


async def _undo(tx: Tx, row: Row, maker: UUID, at: datetime) -> None:
    where = {"book": tx.book, "batch": row.batch, "number": row.number}
    if not await tx.do(sql["undo"], **where, at=at, by=maker):
        raise MatchUndone(id=row.ref)
    wanted = sorted([*row.ours, *row.theirs])
    await tx.do(sql["free_parts"], **where, items=wanted)
    await tx.do(sql["reopen"], book=tx.book, items=wanted, at=at)
    if row.ours and row.theirs:
        await tx.do(sql["keep_apart"], book=tx.book, name=row.name, ours=row.ours, theirs=row.theirs)
    if row.is_posted:
        await posting.reverse(tx, row.posted, maker, at)


async def _claim(tx: Tx, row: Row, account: str, maker: UUID, at: datetime) -> None:
    await _check_claim(tx, row, account)
    where = {"book": tx.book, "batch": row.batch, "number": row.number}
    if not await tx.do(sql["claim"], **where, at=at, account=account):
        raise MatchClaimed(id=row.ref)
    await posting.move(tx, row.posted, suspense=row.suspense or "", account=account, by=maker, at=at)

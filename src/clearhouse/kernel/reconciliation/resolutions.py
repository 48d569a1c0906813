"""Resolutions: how a break ends that no rule and no exact match ends, under four eyes.

Somebody proposes; the last approval (in `approvals`, for exactly this content) carries it out, in its own transaction:

    write_off   what differs is posted to the write-off account
    suspend     what differs is posted to the suspense account, since nobody claims it
    accept      the difference stands, and nothing is posted
    match       these items belong together, and what differs between them is written off

Promise: nothing is carried out but what was approved, as it was approved, once, and while all of its items are open.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.approval import Approval, digest
from clearhouse.kernel.approvals.decisions import Remark
from clearhouse.kernel.approvals.requests import Wanted
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.reconciliation import breaks, matches, posting, rules
from clearhouse.kernel.reconciliation.breaks import Action, Break, BreakRef, Proposal, subject
from clearhouse.kernel.reconciliation.matches import BREAKS_MAX, OneSideOnly, difference_of, open_ones
from clearhouse.kernel.reconciliation.posting import Difference, Where
from clearhouse.money import Amount, Asset, decimal_text
from clearhouse.refusals import Kind, Refusal

RESOLVED = "reconciliation.resolved"


class NothingProposed(Refusal):
    """Nobody has proposed how break {id} is to be resolved."""

    code = "nothing_proposed"
    kind = Kind.CONFLICT


class Propose(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Propose how a break is resolved; `breaks` are the others that it is matched with."""

    broken: BreakRef
    action: Action
    breaks: Annotated[list[BreakRef], msgspec.Meta(max_length=BREAKS_MAX)] = []
    remark: Remark = ""


async def propose(tx: Tx, asked: Sequence[Asked[Propose]], at: datetime) -> list[Break | Refusal]:
    """Propose resolutions, in order; another for the same break voids the one before."""
    await breaks.hold(tx, [ref for each in asked for ref in (each.command.broken, *each.command.breaks)])
    answers: list[Break | Refusal] = []
    for each in asked:
        try:
            answers.append(await _proposed(tx, each, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _proposed(tx: Tx, asked: Asked[Propose], at: datetime) -> Break:
    command = asked.command
    chosen = await open_ones(tx, [command.broken, *command.breaks])
    first, difference = chosen[0], difference_of(chosen)
    sides = {row.side for row in chosen}
    if (command.action == "match") != (len(chosen) > 1) or (command.action == "match" and len(sides) == 1):
        raise OneSideOnly
    where = _where(command.action)
    if where is not None and difference:
        for account in posting.place((await rules.find(tx, first.name)).command, where):
            await rules.account(tx, account, first.asset)
    proposal = Proposal(
        str(asked.id), command.action, [row.ref for row in chosen], decimal_text(difference, first.exponent), first.asset,
        ids.text("prn", asked.by), at, command.remark,
    )  # fmt: skip
    item = breaks.item_of(command.broken)
    amount = Amount(difference, Asset(first.asset, first.exponent))
    answer = (await requests.request(tx, [_wanted(asked, proposal, item, amount)], at))[0]
    if isinstance(answer, Refusal):
        raise answer
    text = msgspec.json.encode(proposal).decode()
    await tx.do(breaks.sql["propose"], book=tx.book, item=item, proposal=text, approval=ids.parse("apr", answer.id))
    return await breaks.find(tx, command.broken)


def _wanted(asked: Asked[Propose], proposal: Proposal, item: int, amount: Amount) -> Wanted:
    words = proposal.action.replace("_", " ")
    return Wanted(
        id=asked.id, subject=subject(item), content=digest(proposal), by=asked.by, creator=asked.by,
        title=f"{words}: {amount} of {breaks.break_ref(item)}", amounts=(amount,),
    )  # fmt: skip


def _where(action: Action) -> Where | None:
    if action == "accept":
        return None
    return "suspense" if action == "suspend" else "write_off"


async def carry_out(tx: Tx, approval: Approval, by: UUID, at: datetime) -> None:
    """Resolve a break as its approval says, in the name of who proposed it. Its rule set is held."""
    ref = approval.subject.id
    row = breaks.open_one(await breaks.rows(tx, [breaks.item_of(ref)]), ref)
    if isinstance(row, Refusal):
        raise row
    proposal = row.proposed
    if proposal is None or digest(proposal).hex() != approval.content:
        raise NothingProposed(id=ref)
    chosen = await open_ones(tx, proposal.breaks)
    said = (await rules.find(tx, row.name)).command
    own, maker = ids.parse("apr", approval.id), ids.parse("prn", proposal.by)
    match = await matches.close(tx, chosen, proposal.action, batch=own, by=maker, at=at, suspense=said.suspense)
    await matches.void(tx, chosen, at, but=row.item)
    where, difference, first = _where(proposal.action), difference_of(chosen), chosen[0]
    if where is not None and difference:
        what = Difference(own, 1, first.asset, first.exponent, difference)
        await posting.post_differences(tx, said, where, [what], by=maker, at=at)
    writing.write(tx, [Line(RESOLVED, ref, match)], book=tx.book, kind="reconciliation.resolve", by=by, at=at)

"""Executing: obligations come in, are validated, and their funds are locked, all in one batch and one transaction.

Promise: who is refused has locked nothing; who is accepted has both sides reserved, or is told what is waited for: the next
window, or a person's look. The same obligation is accepted once, however many ask at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.approvals import requests
from clearhouse.kernel.approvals.approval import Approval, Subject, digest
from clearhouse.kernel.approvals.requests import Wanted
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.ledger import posting
from clearhouse.money import Amount, Asset
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import rows
from clearhouse.slices.interbank.rows import Row
from clearhouse.slices.interbank.sent_before import Before, sent_before
from clearhouse.slices.interbank.settlement import (
    SEND,
    DuplicateObligation,
    ExecuteSettlement,
    ObligationNetted,
    Priority,
    Settlement,
    State,
    own_id,
    place,
)
from clearhouse.slices.interbank.validation import Usage, Valid, day_start, over, validate
from clearhouse.slices.interbank.world import World, known
from clearhouse.slices.interbank.world import sql as rules

LOCK_SECONDS = 600
REVIEW = "interbank.review"
REVIEW_SECONDS = 60
# By so much the more urgent go before those who came when they did: nobody waits longer for their sake.
AHEAD = {Priority.URGENT: timedelta(minutes=5), Priority.HIGH: timedelta(minutes=4), Priority.NORMAL: timedelta()}
_PRIORITIES = tuple(Priority)
_Ask = Asked[ExecuteSettlement]


@dataclass(frozen=True, slots=True)
class _Taken:
    """An obligation that somebody has: a settlement, or else netting; `carries` is the order of one that came to nothing."""

    obligation_id: str
    settlement: UUID | None
    carries: UUID | None


@dataclass(slots=True)
class _Batch:
    """What a batch of obligations comes to: an answer or a row for each, by the id of the settlement."""

    world: World
    at: datetime
    taken: dict[str, UUID | None]
    before: dict[str, Before]
    there: dict[UUID, Row]
    used: dict[tuple[str, str], Usage]
    answers: dict[UUID, Refusal] = field(default_factory=dict[UUID, Refusal])
    made: dict[UUID, Row] = field(default_factory=dict[UUID, Row])


async def execute(tx: Tx, asked: Sequence[_Ask], at: datetime) -> list[Settlement | Refusal]:
    """Accept obligations, in order, or say why not."""
    world = await known(tx)
    taken = await _taken(tx, asked)
    before = await sent_before(tx, _ended(taken))
    own = {each.obligation_id: each.settlement for each in taken if each.obligation_id not in before}
    batch = _Batch(world, at, own, before, await _there(tx, asked), await _usage(tx, world, asked, at))
    todo = list(asked)
    while todo:  # an obligation that comes twice is looked at again when it is known what became of the first
        todo = await _round(tx, batch, todo)
    made = [row for row in batch.made.values() if row.id not in batch.there]
    await ask_review(tx, [row for row in made if row.waiting_for == "review"], at)
    await rows.add(tx, made, at)
    await rows.hand_over(tx, {before[row.obligation_id].last.id: row for row in made if row.carries is not None})
    return [batch.answers.get(own) or batch.made[own].settlement() for own in (own_id(each.id) for each in asked)]


async def _round(tx: Tx, batch: _Batch, asked: Sequence[_Ask]) -> list[_Ask]:
    tried: set[str] = set()
    later: list[_Ask] = []
    ready: list[Row] = []
    for each in asked:
        if each.command.obligation_id in tried:
            later.append(each)
            continue
        tried.add(each.command.obligation_id)
        row = _decided(batch, each)
        if row is not None and row.waiting_for is None and row.id not in batch.there:
            ready.append(row)
    for row, refusal in await lock(tx, ready, batch.at):
        if refusal is not None:
            batch.answers[row.id] = refusal
            del batch.made[row.id], batch.taken[row.obligation_id]
    return later


async def _taken(tx: Tx, asked: Sequence[_Ask]) -> list[_Taken]:
    """Return who has which obligations already; at first this is left to their key."""
    if not tx.careful:
        return []
    wanted = texts([each.command.obligation_id for each in asked])
    return await tx.rows(rows.sql["taken_obligations"], _Taken, book=tx.book, obligations=wanted)


def _ended(taken: Sequence[_Taken]) -> list[tuple[UUID, UUID]]:
    """Return which settlements came to nothing whose orders may still arrive, and those orders."""
    return [(each.settlement, each.carries) for each in taken if each.settlement is not None and each.carries is not None]


async def _there(tx: Tx, asked: Sequence[_Ask]) -> dict[UUID, Row]:
    """Return what an earlier try of the same batch has left, if its commit came through after all."""
    if not tx.careful:
        return {}
    wanted = array([own_id(each.id) for each in asked])
    return {row.id: row for row in await tx.rows(rows.sql["settlements"], Row, book=tx.book, ids=wanted)}


async def _usage(tx: Tx, world: World, asked: Sequence[_Ask], at: datetime) -> dict[tuple[str, str], Usage]:
    return await usage(tx, world, {(each.command.from_bank, each.command.currency) for each in asked}, at)


async def usage(tx: Tx, world: World, places: Iterable[tuple[str, str]], at: datetime) -> dict[tuple[str, str], Usage]:
    """Return what those banks have had settled lately that have limits; until our commit nobody else counts for them."""
    limited = sorted(each for each in places if world.limit(*each) is not None) if world.limits else []
    if not limited:
        return {}
    banks, currencies = texts([bank for bank, _ in limited]), texts([currency for _, currency in limited])
    await tx.tuples(rules["lock_usage"], {"book": tx.book, "banks": banks, "currencies": currencies})
    found = await tx.rows(
        rules["usage"], Usage, book=tx.book, banks=banks, currencies=currencies, hour=at - timedelta(hours=1),
        days=array([f'"{day_start(world, currency, at).isoformat()}"' for _, currency in limited]),
    )  # fmt: skip
    return {(each.bank, each.currency): each for each in found}


def _decided(batch: _Batch, asked: _Ask) -> Row | None:
    own, command = own_id(asked.id), asked.command
    there = batch.there.get(own)
    if there is not None:
        batch.made[own] = there
        return there
    try:
        if command.obligation_id in batch.taken:
            raise _second(command.obligation_id, batch.taken[command.obligation_id])
        before = batch.before.get(command.obligation_id)
        if before is not None:
            before.require(command)
        valid = validate(batch.world, command, batch.at)
    except Refusal as refusal:
        batch.answers[own] = refusal
        return None
    hits = valid.hits + over(batch.world, command, valid.minor, batch.used)
    batch.taken[command.obligation_id] = own
    batch.made[own] = row = _row(asked, own, valid, hits, batch.at)
    if before is not None:
        row.carry(before.last.order)
    return row


def _second(obligation: str, first: UUID | None) -> Refusal:
    if first is None:
        return ObligationNetted(obligation_id=obligation)
    return DuplicateObligation(obligation_id=obligation, settlement=ids.text("stl", first))


def _row(asked: _Ask, own: UUID, valid: Valid, hits: Sequence[str], at: datetime) -> Row:
    command = asked.command
    row = Row(
        book=0, id=own, obligation_id=command.obligation_id, from_bank=command.from_bank, to_bank=command.to_bank,
        currency=command.currency, exponent=valid.exponent, amount=valid.minor, method=command.method.value,
        priority=place(command.priority), state=State.PENDING.value, waiting_for=None, next_at=None, attempt=0,
        hold=None, captured=0, returned=0, reason=None, remark=None, review=None,
        reviewed=False, parties=_parties(command), compensates=None, accepted_at=at, accepted_by=asked.by, sent_at=None,
        ended_at=None,
    )  # fmt: skip
    if hits:
        row.waiting_for, row.reason, row.remark = "review", "review_needed", "; ".join(hits)[:1_000]
    elif valid.opens_at is not None:
        row.waiting_for, row.next_at = "window", valid.opens_at
    return row


class Parties(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an obligation says beyond the two banks."""

    debtor: str = ""
    debtor_iban: str = ""
    creditor: str = ""
    creditor_iban: str = ""
    remittance: str = ""


def _parties(command: ExecuteSettlement) -> str | None:
    told = Parties(
        command.debtor.name, command.debtor.iban, command.creditor.name, command.creditor.iban, command.remittance or ""
    )
    return None if told == Parties() else msgspec.json.encode(told).decode()


async def lock(tx: Tx, ready: Sequence[Row], at: datetime) -> list[tuple[Row, Refusal | None]]:
    """Lock the funds of settlements on both sides and move them on; say whose could not be."""
    if not ready:
        return []
    for row in ready:
        row.attempt += 1
    posted = await posting.post(tx, [row.lock(at + timedelta(seconds=LOCK_SECONDS)) for row in ready], at)
    answers: list[tuple[Row, Refusal | None]] = []
    for row, answer in zip(ready, posted, strict=True):
        if isinstance(answer, Refusal):
            row.attempt -= 1
            answers.append((row, answer))
        else:
            row.become(
                State.FUNDS_LOCKED, "VALIDATION", "LOCK", hold=row.lock_id, next_at=turn(row)
            )  # fmt: skip
            answers.append((row, None))
    tx.wake(SEND)
    return answers


def turn(row: Row) -> datetime:
    """Return when its turn is: it is past, and the longer ago, the sooner it is sent."""
    return row.accepted_at - AHEAD[_PRIORITIES[row.priority]]


async def ask_review(tx: Tx, hit: Sequence[Row], at: datetime) -> None:
    """Ask people to look at settlements."""
    if not hit:
        return
    answers = await requests.request(tx, [_wanted(row) for row in hit], at)
    for row, answer in zip(hit, answers, strict=True):
        row.touched, row.waiting_for = True, "review"
        if isinstance(answer, Approval):
            row.review, row.next_at = ids.parse("apr", answer.id), None
        else:
            row.reason, row.next_at = answer.code, at + timedelta(seconds=REVIEW_SECONDS)


def content(row: Row) -> bytes:
    """Return what a person's word on a settlement holds for."""
    return digest([row.text, row.from_bank, row.to_bank, row.money(row.amount), row.currency, row.parties, row.remark])


def subject(row: Row) -> Subject:
    """Return what a person is asked about."""
    return Subject(REVIEW, row.text)


def _wanted(row: Row) -> Wanted:
    asset = money.iso(row.currency) or Asset(row.currency, row.exponent)
    return Wanted(
        id=ids.derived("interbank.review", str(row.id), row.accepted_at.isoformat()), subject=subject(row),
        content=content(row), by=row.accepted_by, creator=row.accepted_by,
        title=f"{row.from_bank} pays {row.to_bank} {row.money(row.amount)} {row.currency}: {row.remark}"[:200],
        amounts=(Amount(row.amount, asset),),
    )  # fmt: skip

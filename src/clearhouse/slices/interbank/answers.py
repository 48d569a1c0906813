"""Answers: what the banks say of what was sent, and what becomes of settlements, their locks and the books by it.

    accepted                 it is at the bank; the confirmation is waited for
    confirmed, so much       that is booked on both sides; when it is all, the settlement is COMPLETED
    rejected, so much left   what had left is booked, the rest is freed: FAILED
    returned, so much        a compensation is booked, made once; COMPLETED stands
    silent                   IN_DOUBT: nothing is freed, nothing is sent by another way

Promise: the same word twice changes nothing the second time, whoever brings it; a confirmation of what was given up by hand
belongs to whoever carries its order by then, and where nobody has sent that, goes to suspense with an alert.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.asking import Asked
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.journal import writing
from clearhouse.kernel.journal.writing import Line
from clearhouse.kernel.ledger import holds, posting
from clearhouse.kernel.ledger.transfers import Leg, PostTransaction
from clearhouse.money import minor_units
from clearhouse.refusals import Refusal
from clearhouse.slices.interbank import rows
from clearhouse.slices.interbank.channel import Method
from clearhouse.slices.interbank.methods import RAILS
from clearhouse.slices.interbank.rows import Change, Row
from clearhouse.slices.interbank.settlement import RESOLVE, SENT, SettlementNotFound, State, of_order

RETRIES_MAX = 3
RETRY_SECONDS = 60
RETRY_SECONDS_MAX = 3_600
# What a bank may answer otherwise another time: it had no funds for us, it was after its cut-off, it did not say why.
RETRYABLE = frozenset({"AM04", "TM01", "MS03", "insufficient_funds", "bank_not_reached"})
_PAYING = {State.COMPLETED.value, *(each.value for each in SENT)}
# `returned_aside` is our own word: what came back has no account to go to, so a person says whose it is.
Said = Literal["accepted", "confirmed", "rejected", "returned", "returned_aside", "silent", "not_sent"]


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a bank said of an order: `total` is what left our account so far, or came back so far."""

    order: UUID
    said: Said
    total: str = "0"
    code: str = ""
    reason: str = ""


class Heard(msgspec.Struct, frozen=True):
    """What a settlement has come to by a word; `event` is empty if it said nothing new."""

    settlement: str
    state: State
    event: str = ""
    change: Change | None = None


@dataclass(slots=True)
class _Batch:
    """What the words of a batch come to in the ledger, before they are written."""

    at: datetime
    late: dict[UUID, "Late"]
    answered: list[UUID] = field(default_factory=list[UUID])
    open: list[UUID] = field(default_factory=list[UUID])
    postings: list[Asked[PostTransaction]] = field(default_factory=list[Asked[PostTransaction]])
    compensations: list["_Compensation"] = field(default_factory=list["_Compensation"])
    returns: list[Row] = field(default_factory=list[Row])

    def of(self, order: UUID) -> "Late":
        """Return what is known of an order that came late."""
        return self.late.setdefault(order, Late(order))


@dataclass(frozen=True, slots=True)
class _Compensation:
    settlement: UUID
    reference: str
    cause: str
    amount: int
    compensation: UUID | None
    transaction: UUID
    reason: str


@dataclass(slots=True)
class Late:
    """What left under an order that was given up, what of that came back, and what was settled with it after all."""

    order: UUID
    left: int = 0
    back: int = 0
    settled: int = 0

    @property
    def lies(self) -> int:
        """Return what of it lies in suspense."""
        return self.left - self.back - self.settled


class NotBooked(Exception):
    """The ledger refused what a bank has already done; nothing of the batch is written."""


async def hear(tx: Tx, asked: Sequence[Asked[Word]], at: datetime) -> list[Heard | Refusal]:
    """Take what the banks have said, in order; what a settlement has come to is the answer."""
    there = await rows.locked(tx, [of_order(each.command.order)[0] for each in asked])
    heirs = {row.heir for row in there.values() if row.heir is not None}
    there |= await rows.locked(tx, heirs) if heirs else {}
    return await take(tx, there, [each.command for each in asked], at)


async def take(tx: Tx, there: Mapping[UUID, Row], words: Sequence[Word], at: datetime) -> list[Heard | Refusal]:
    """Take what the banks have said of settlements under our lock."""
    carrying = {row.order: row for row in there.values() if row.carries is not None and row.origin != row.id}
    whose = [_whose(there, carrying, each.order) for each in words]
    batch = _Batch(at, await late_of(tx, _given_up(whose, words)))
    answers = [_heard(batch, row, each) for row, each in zip(whose, words, strict=True)]
    await book(tx, batch.answered, batch.postings, at)
    if batch.open:
        await holds.pin(tx, sorted(set(batch.open)), at)
    await rows.write(tx, there.values(), at)
    await rows.add(tx, batch.returns, at)
    _compensate(tx, batch)
    if any(row.state == State.IN_DOUBT.value != row.found for row in there.values()):
        tx.wake(RESOLVE)
    rows.journal(tx, [*there.values(), *batch.returns], kind="interbank.hear", at=at)
    return answers


def _whose(there: Mapping[UUID, Row], carrying: Mapping[UUID, Row], order: UUID) -> Row | None:
    """Return the settlement that a word on an order is for: the one that carries it now, or that it was made for."""
    own, attempt = of_order(order)
    row = there.get(own)
    if row is None:
        return carrying.get(order)
    if row.heir is not None and row.heir in there and row.order == order:
        return there[row.heir]
    return row if attempt <= row.attempt else None


def _given_up(whose: Sequence[Row | None], words: Sequence[Word]) -> set[UUID]:
    """Return for which settlements the orders were made whose money may lie in suspense."""
    return {
        of_order(word.order)[0]
        for row, word in zip(whose, words, strict=True)
        if row is not None and (row.carries is not None or row.state not in _PAYING or word.order != row.order)
    }


async def late_of(tx: Tx, given_up: Collection[UUID]) -> dict[UUID, Late]:
    """Return what is known of orders that came late, of all that were made for these settlements."""
    if not given_up:
        return {}
    found = await tx.rows(rows.sql["late_so_far"], Late, book=tx.book, ids=array(sorted(given_up)))
    return {each.order: each for each in found}


async def book(tx: Tx, answered: Sequence[UUID], postings: Sequence[Asked[PostTransaction]], at: datetime) -> None:
    """Free holds for their answer and book what it says; what the ledger refuses stops the whole batch."""
    for answer in await posting.post(tx, postings, at, answered=set(answered)) if postings else ():
        if isinstance(answer, Refusal):
            raise NotBooked(str(answer))


def _heard(batch: _Batch, row: Row | None, word: Word) -> Heard | Refusal:
    if row is None:
        return SettlementNotFound(id=ids.text("stl", of_order(word.order)[0]))
    (_SAID[word.said] if word.order == row.order else _outdated)(batch, row, word)
    if not row.told:
        return Heard(row.text, State(row.state))
    line = row.told.pop()  # the door writes it, as the line of this word
    return Heard(row.text, State(row.state), line.event, line.data)


def _outdated(batch: _Batch, row: Row, word: Word) -> None:
    """Hear of an attempt that was over: what it moved after all is nobody's any more."""
    if word.said in {"confirmed", "rejected"}:
        _too_late(batch, row, word)
    elif word.said in {"returned", "returned_aside"}:
        _late_back(batch, row, word)


def _accepted(batch: _Batch, row: Row, _: Word) -> None:
    if row.state == State.EXECUTING.value:
        wait = RAILS[Method(row.method)].confirmation_seconds
        if row.carries is not None and batch.of(row.carries).lies:
            wait = 0  # it has confirmed that already, before this was sent: it is asked
        row.become(State.CONFIRMING, next_at=batch.at + timedelta(seconds=wait))


def _confirmed(batch: _Batch, row: Row, word: Word) -> None:
    total = minor_units(word.total, row.exponent)
    state = State(row.state)
    if state not in SENT:
        if state is not State.COMPLETED:
            _too_late(batch, row, word)
        return
    lies = 0 if row.carries is None else batch.of(row.carries).lies  # it left before this was sent, and is booked
    part = min(total, row.amount) - row.captured - lies
    if part < 0 or not part + lies:
        return
    row.captured += part
    if row.captured + lies == row.amount:
        _complete(batch, row, part, lies)
        return
    if not part:
        return
    _capture(batch, row, part, final=False)
    batch.open.append(row.lock_id)  # the rest is still on its way: no timer and no hand frees it
    if state is State.IN_DOUBT:
        row.touched = True
        row.tell("interbank.confirmed_partly")
    else:
        wait = RAILS[Method(row.method)].confirmation_seconds
        row.become(State.CONFIRMING, next_at=batch.at + timedelta(seconds=wait))


def _complete(batch: _Batch, row: Row, part: int, lies: int) -> None:
    """Book the end of a settlement; what of its order lies in suspense its payer pays there."""
    if part:
        _capture(batch, row, part, final=True)
    else:
        _free(batch, row)
    if lies:
        batch.of(row.order).settled += lies
        row.captured += lies
        leg = Leg(
            debit=f"vostro:{row.from_bank}:{row.currency}", credit=f"suspense:{row.currency}", amount=row.money(lies),
            currency=row.currency,
        )  # fmt: skip
        reference = f"late_settled:{row.order}:{row.money(lies)}"
        own = ids.derived("interbank.late", reference)
        batch.postings.append(Asked(PostTransaction([leg], reference=row.text), own, row.accepted_by))
        batch.compensations.append(
            _Compensation(row.origin, reference, "late_settled", lies, row.id, own, f"{row.text} is paid with it")
        )
    row.become(State.COMPLETED, "CONFIRM", "FINALIZE", ended_at=batch.at, reason=None)


def _capture(batch: _Batch, row: Row, part: int, *, final: bool) -> None:
    hold = ids.text("trf", row.lock_id)
    leg = Leg(capture=hold, amount=row.money(part), final=final)
    transaction = PostTransaction([leg], reference=row.text)
    batch.postings.append(
        Asked(transaction, ids.derived("interbank.capture", str(row.lock_id), str(row.captured)), row.accepted_by)
    )
    batch.answered.append(row.lock_id)


def release(row: Row) -> Asked[PostTransaction]:
    """Return what frees the rest of a settlement's lock."""
    leg = Leg(release=ids.text("trf", row.lock_id))
    return Asked(
        PostTransaction([leg], reference=row.text), ids.derived("interbank.release", str(row.lock_id)), row.accepted_by
    )


def _rejected(batch: _Batch, row: Row, word: Word) -> None:
    if State(row.state) not in SENT:
        _too_late(batch, row, word)  # a part may have left before the rest was rejected
        _end(batch, row)
        return
    lies = 0 if row.carries is None else batch.of(row.carries).lies
    part = max(min(minor_units(word.total, row.exponent), row.amount) - row.captured - lies, 0)
    row.captured += part
    if row.captured + lies == row.amount:
        _complete(batch, row, part, lies)
        return
    if part:
        _capture(batch, row, part, final=False)
    _free(batch, row)
    _end(batch, row)
    fail(row, word.code or "MS03", word.reason, batch.at, again=not lies)


def _free(batch: _Batch, row: Row) -> None:
    batch.answered.append(row.lock_id)
    batch.postings.append(release(row))


def fail(row: Row, code: str, remark: str, at: datetime, *, again: bool = True) -> None:
    """Let a settlement fail; with a code that may be another one next time, and nothing moved, it is tried again."""
    again = again and code in RETRYABLE and not row.captured and row.attempt <= RETRIES_MAX
    pause = min(RETRY_SECONDS * 2 ** max(row.attempt - 1, 0), RETRY_SECONDS_MAX)
    row.become(
        State.FAILED, "ROLLBACK", next_at=at + timedelta(seconds=pause) if again else None, ended_at=at, reason=code,
        remark=remark[:1_000] or None,
    )  # fmt: skip
    row.waiting_for = "retry" if again else None


def _returned(batch: _Batch, row: Row, word: Word) -> None:
    """Book what came back, as a settlement of its own the other way; the one that is returned stays as it is."""
    sent = State(row.state) in SENT
    late = sent and row.carries is not None and batch.of(row.carries).left > batch.of(row.carries).settled
    if sent and not late:  # the confirmation was lost: there is nothing to give back that had not left
        _confirmed(batch, row, Word(word.order, "confirmed", row.money(row.amount)))
    _late_back(batch, row, word)
    if minor_units(word.total, row.exponent) >= row.amount:
        _end(batch, row)
    if late:  # it left before this was sent, and its order can pay no more
        _free(batch, row)
        fail(row, word.code or "returned", word.reason, batch.at, again=False)
    total = min(minor_units(word.total, row.exponent), row.captured)
    if total <= row.returned:
        return
    part = total - row.returned
    row.returned, row.touched = total, True
    reference = f"return:{row.money(total)}"
    back = _back(row, reference, part, batch.at)
    reason = f"{word.code} {word.reason}".strip() or "returned"
    if word.said == "returned":
        batch.returns.append(back)
        _book_back(batch, row, f"vostro:{row.from_bank}", _Compensation(
            row.id, reference, "return", part, back.id, back.id, reason
        ))  # fmt: skip
    else:
        own, reason = ids.derived("interbank.return_aside", str(back.id)), f"{reason}; its payer's account did not take it"
        _book_back(batch, row, "suspense", _Compensation(row.id, reference, "return", part, None, own, reason))
        row.tell("interbank.alert")
    row.tell("interbank.returned")


def _end(batch: _Batch, row: Row) -> None:
    """Let nobody wait for an order of which its bank has said the last word, if nothing of it lies in suspense."""
    if row.carries is not None and not batch.of(row.carries).lies:
        row.end_order()


def _book_back(batch: _Batch, row: Row, to: str, made: _Compensation) -> None:
    """Book what came back to our nostro."""
    leg = Leg(
        debit=f"nostro:{row.to_bank}:{row.currency}", credit=f"{to}:{row.currency}", amount=row.money(made.amount),
        currency=row.currency,
    )  # fmt: skip
    about = ids.text("stl", made.compensation or made.settlement)
    batch.postings.append(Asked(PostTransaction([leg], reference=about), made.transaction, row.accepted_by))
    batch.compensations.append(made)


def _late_back(batch: _Batch, row: Row, word: Word) -> None:
    """Take back from suspense what left after it was given up, and came back; whoever hears that knows that it left."""
    total = min(minor_units(word.total, row.exponent), row.amount)
    _too_late(batch, row, Word(word.order, "confirmed", row.money(total)))
    late = batch.of(word.order)
    part = min(total - _mine(row, word), late.left - late.settled) - late.back
    if part <= 0:
        return
    late.back += part
    reference = f"late_return:{word.order}:{row.money(total)}"
    own, reason = ids.derived("interbank.late", reference), f"{word.code} {word.reason}".strip() or "returned"
    origin = of_order(word.order)[0]
    _book_back(batch, row, "suspense", _Compensation(origin, reference, "return", part, None, own, reason))
    row.tell("interbank.alert")


def _mine(row: Row, word: Word) -> int:
    """Return what of a word's order was booked as it should be."""
    return row.captured if word.order == row.order else 0


def _back(row: Row, reference: str, part: int, at: datetime) -> Row:
    """Return a settlement the other way; its obligation has a blank, so that nobody who asks can have taken it."""
    own = ids.derived("interbank.return", str(row.id), reference)
    back = Row(
        book=0, id=UUID(int=own.int & ~15), obligation_id=f"{reference} {row.text}", from_bank=row.to_bank,
        to_bank=row.from_bank, currency=row.currency, exponent=row.exponent, amount=part, method=row.method,
        priority=row.priority, state=State.COMPLETED.value, waiting_for=None, next_at=None, attempt=1, hold=None,
        captured=part, returned=0, reason="return", remark=None, review=None, reviewed=False, parties=None,
        compensates=row.id, accepted_at=at, accepted_by=row.accepted_by, sent_at=None, ended_at=at,
    )  # fmt: skip
    back.steps.extend(("CONFIRM", "FINALIZE"))
    back.tell("interbank.compensated")
    return back


def journal(tx: Tx, heard: Sequence[Heard | Refusal], at: datetime) -> None:
    """Write what words came to into the journal, where no door does."""
    lines = [Line(each.event, each.settlement, each.change) for each in heard if isinstance(each, Heard) and each.event]
    if lines:
        writing.write(tx, lines, book=tx.book, kind="interbank.hear", by=writing.SYSTEM, at=at)


def _too_late(batch: _Batch, row: Row, word: Word) -> None:
    """Take the payment of what was given up: the money has left our nostro, and whose it is a person must say."""
    total = minor_units(word.total, row.exponent)
    late = batch.of(word.order)
    part = total - (late.left - late.settled) - _mine(row, word)
    if part <= 0:
        return
    late.left += part
    reference = f"late:{word.order}:{row.money(total)}"
    leg = Leg(
        debit=f"suspense:{row.currency}", credit=f"nostro:{row.to_bank}:{row.currency}", amount=row.money(part),
        currency=row.currency,
    )  # fmt: skip
    own, origin = ids.derived("interbank.late", reference), of_order(word.order)[0]
    batch.postings.append(Asked(PostTransaction([leg], reference=ids.text("stl", origin)), own, row.accepted_by))
    reason = f"confirmed after {'it' if origin == row.id else row.text} was {row.state}"
    batch.compensations.append(_Compensation(origin, reference, "late_confirmation", part, None, own, reason))
    row.tell("interbank.alert")


def _silent(batch: _Batch, row: Row, word: Word) -> None:
    """Doubt: it may have been taken or not; what is locked stays locked."""
    if row.state in {State.EXECUTING.value, State.CONFIRMING.value}:
        row.become(State.IN_DOUBT, "DOUBT", next_at=batch.at, reason=word.code or "no_answer", remark=word.reason or None)


def _not_sent(batch: _Batch, row: Row, word: Word) -> None:
    """Free what was never sent: the bank could not be reached, and nothing left the house."""
    if State(row.state) is not State.EXECUTING:
        return
    _free(batch, row)
    fail(row, word.code, word.reason, batch.at)


_SAID = {
    "accepted": _accepted, "confirmed": _confirmed, "rejected": _rejected, "returned": _returned,
    "returned_aside": _returned, "silent": _silent, "not_sent": _not_sent,
}  # fmt: skip


def _compensate(tx: Tx, batch: _Batch) -> None:
    made = batch.compensations
    if made:
        tx.later(
            rows.sql["add_compensations"], book=tx.book, at=batch.at, settlements=array([each.settlement for each in made]),
            references=texts([each.reference for each in made]), causes=array([each.cause for each in made]),
            amounts=array([each.amount for each in made]),
            compensations=array([each.compensation or "NULL" for each in made]),
            transactions=array([each.transaction for each in made]), reasons=texts([each.reason for each in made]),
        )  # fmt: skip

"""What the bank tells: how far an order is, what it says by itself, and statements, with the lies that it was told to tell.

Promise: a lie alters lines, never the balances, so a statement that lies does not add up to itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from clearhouse.money import decimal_text
from clearhouse.slices.interbank.bank.books import Account
from clearhouse.slices.interbank.bank.lies import Fault, Liar
from clearhouse.slices.interbank.bank.orders import REST_ENDED, Stage
from clearhouse.slices.interbank.bank.taking import REASONS
from clearhouse.slices.interbank.channel import Notice, NotTaken, State, Statement, StatementLine, Status

_STATES = {stage: State.REJECTED if stage is Stage.REFUSED else State(stage.value) for stage in Stage}
_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Line:
    """A booking on an account as the books have it, with the balance after it."""

    number: int
    at: datetime
    value: date
    kind: str
    order_id: UUID | None
    amount: int
    balance: int
    code: str
    reference: str
    other: int
    other_code: str


def number(cursor: str, bank: str) -> int:
    """Return the number of the event that a cursor means."""
    if not cursor:
        return 0
    if len(cursor) > _DIGITS_MAX or not (cursor.isascii() and cursor.isdigit()):
        raise NotTaken(bank=bank, reason=f"{cursor[:40]} is no cursor of its")
    return int(cursor)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an order is, as the books have it."""

    id: UUID
    state: str
    confirmed: int
    returned: int
    code: str
    account: int | None
    at: datetime
    exponent: int | None
    told: datetime | None

    def status(self) -> Status:
        """Return it as it goes out."""
        confirmed, returned = (decimal_text(each, self.exponent or 0) for each in (self.confirmed, self.returned))
        state = _STATES[Stage(self.state)]
        final = state is State.PARTLY and self.code == REST_ENDED
        reason = REASONS.get(self.code, "")
        return Status(self.id, state, confirmed, returned, self.code, reason, self.told or self.at, final)


@dataclass(frozen=True, slots=True)
class Word:
    """Something that is said of an order, as the books have it."""

    number: int
    id: UUID
    state: str
    at: datetime
    amount: int
    total: int
    code: str
    exponent: int
    currency: str

    def notice(self) -> Notice:
        """Return it as it goes out."""
        amount, total = (decimal_text(each, self.exponent) for each in (self.amount, self.total))
        reason = REASONS.get(self.code, "")
        return Notice(str(self.number), self.id, State(self.state), self.at, amount, total, self.currency, self.code, reason)


def statement(
    account: Account, lines: Sequence[Line], *, before: int, most: int, after: str, liar: Liar
) -> Statement:  # fmt: skip
    """Return a page of a statement from one line more than it has room for, if there are so many."""
    shown = lines[:most]
    opening = shown[0].balance - shown[0].amount if shown else before
    closing = shown[-1].balance if shown else before
    told = [_told(each, account.exponent) for each in shown]
    if liar.lies:
        told = [line for pair in zip(shown, told, strict=True) for line in _lied(*pair, account=account, liar=liar)]
    return Statement(
        account.code, account.currency, decimal_text(opening, account.exponent), decimal_text(closing, account.exponent),
        told, str(shown[-1].number) if shown else after, complete=len(lines) <= most,
    )  # fmt: skip


def _told(line: Line, exponent: int) -> StatementLine:
    kind = "payment" if line.kind == "confirmed" else "return" if line.kind == "returned" else line.kind
    return StatementLine(
        str(line.number), decimal_text(line.amount, exponent), line.at, line.value, kind, line.order_id, line.reference,
        line.other_code, line.code,
    )  # fmt: skip


def _lied(line: Line, told: StatementLine, *, account: Account, liar: Liar) -> Iterator[StatementLine]:
    whom = line.order_id or UUID(int=line.number)
    wrong = liar.meets(frozenset({Fault.WRONG}), whom) is not None
    if liar.meets(frozenset({Fault.MISSING}), whom) is None:
        yield _told(_misread(line), account.exponent) if wrong else told
    if liar.meets(frozenset({Fault.EXTRA}), whom) is not None:
        amount = decimal_text(-abs(line.amount), account.exponent)
        yield StatementLine(f"{line.number}X", amount, line.at, line.value, "payment", None, "not ours", line.other_code)


def _misread(line: Line) -> Line:
    """Return a booking whose amount is one smallest unit more."""
    more = line.amount + (1 if line.amount > 0 else -1)
    return Line(
        line.number, line.at, line.value, line.kind, line.order_id, more, line.balance, line.code, line.reference,
        line.other, line.other_code,
    )  # fmt: skip

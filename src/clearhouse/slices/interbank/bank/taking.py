"""Taking orders in: which are accepted, which refused, and what becomes of each. Pure but for the books that it moves.

Promise: an id is decided on once. The same order again has the same answer and pays nothing; another one under its id is
refused. What is refused moved nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from clearhouse.money import MalformedAmount, TooManyDecimals, minor_units
from clearhouse.slices.interbank.bank import lies
from clearhouse.slices.interbank.bank.books import CUSTOMER, Account, Books
from clearhouse.slices.interbank.bank.lies import Fault, Liar
from clearhouse.slices.interbank.bank.methods import Slot, Terms, slot
from clearhouse.slices.interbank.bank.orders import REASON_UNSAID, REST_ENDED, Order, Stage, Step, course
from clearhouse.slices.interbank.channel import Ack, Method, PaymentOrder, Said

NAME_MAX = 140
REASONS = {
    "AC01": "there is no such account here",
    "AM01": "the amount is zero",
    "AM02": "the amount is above the limit of this method",
    "AM03": "the account or the method does not take this currency",
    "AM04": "the account has not enough",
    REST_ENDED: "no more of it is paid",
    "AM05": "this end-to-end id was used for another order",
    "FF01": "the order cannot be read",
    "MS03": "the bank gives no reason",
    "TM01": "it came after the cut-off",
}


class _Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Taken:
    """What came of a batch: an answer each, orders and steps to be written, and ids that were lost on their way."""

    acks: list[Ack] = field(default_factory=list[Ack])
    orders: list[Order] = field(default_factory=list[Order])
    steps: list[Step] = field(default_factory=list[Step])
    lost: list[UUID] = field(default_factory=list[UUID])


class Counter:
    """One batch being taken in: `known` are orders that arrived before, `lost` those that were lost before."""

    def __init__(
        self, books: Books, liar: Liar, terms: Iterable[Terms], *,
        known: Mapping[UUID, Order], lost: Iterable[UUID], at: datetime,
    ) -> None:  # fmt: skip
        self.books = books
        self.liar = liar
        self.terms = {method: Terms(method) for method in Method} | {each.method: each for each in terms}
        self.slots = {method: slot(each, at) for method, each in self.terms.items()}
        self.known = dict(known)
        self.lost = set(lost)
        self.lying = liar.tells(lies.ANSWERS | lies.COURSES)
        self.at = at
        self.taken = Taken()

    def take(self, orders: Sequence[PaymentOrder]) -> Taken:
        """Decide on orders, one after another."""
        self.taken.acks = [self._answer(each) for each in orders]
        return self.taken

    def _answer(self, order: PaymentOrder) -> Ack:
        content = _content(order)
        before = self.known.get(order.id)
        if before is not None:
            return _again(before, content)
        lie = self.liar.meets(lies.ANSWERS, order.id) if self.lying and order.id not in self.lost else None
        fault = None if lie is None else lie.fault
        if fault is Fault.LOSE_BEFORE:
            self.taken.lost.append(order.id)
            self.lost.add(order.id)
            return Ack(order.id, Said.SILENT)
        try:
            kept = self._accepted(order, content, refuse=(lie.code if lie and fault is Fault.REFUSE else None))
        except _Refused as refused:
            if refused.code == "FF01":  # nothing of it could be kept
                return _refusal(order.id, refused.code)
            kept = self._refused(order, content, refused.code)
        self.known[order.id] = kept
        self.taken.orders.append(kept)
        return Ack(order.id, Said.SILENT) if fault is Fault.LOSE_AFTER else _again(kept, content)

    def _accepted(self, order: PaymentOrder, content: bytes, *, refuse: str | None) -> Order:
        account, amount, when = self._checked(order)
        if refuse is not None:
            raise _Refused(refuse or REASON_UNSAID)
        if account.available < amount:
            raise _Refused("AM04")
        lie = self.liar.meets(lies.COURSES, order.id) if self.lying else None
        unapplied = lie is not None and lie.fault is Fault.RETURN
        payee = self.books.suspense(order.currency) if unapplied else self.books.by_name[order.payee, order.currency]
        kept = Order(
            order.id, content, Stage.RECEIVED if when.waits else Stage.ACCEPTED, account.id, payee.id, amount,
            order.method.value, order.payer, order.reference, when.value, self.at,
        )  # fmt: skip
        self.books.reserve(kept, account)
        for step in course(kept, lie, when.due):
            if step.due <= self.at:
                self.books.apply(kept, step)
            else:
                self.taken.steps.append(step)
        return kept

    def _checked(self, order: PaymentOrder) -> tuple[Account, int, Slot]:
        if not is_writable(order):
            raise _Refused("FF01")
        account = self.books.by_name.get((order.account, order.currency))
        if account is None or account.role != CUSTOMER or order.account == order.payee:
            elsewhere = any(
                code == order.account and each.role == CUSTOMER for (code, _), each in self.books.by_name.items()
            )
            raise _Refused("AM03" if elsewhere and order.account != order.payee else "AC01")
        terms, when = self.terms[order.method], self.slots[order.method]
        amount = _minor(order.amount, account.exponent)
        if terms.currencies and order.currency not in terms.currencies:
            raise _Refused("AM03")
        if terms.above(amount, account.exponent):
            raise _Refused("AM02")
        if when is None:
            raise _Refused("TM01")
        return account, amount, when

    def _refused(self, order: PaymentOrder, content: bytes, code: str) -> Order:
        return Order(
            order.id, content, Stage.REFUSED, None, None, 0, order.method.value, order.payer, order.reference,
            self.at.date(), self.at, code=code,
        )  # fmt: skip


def _content(order: PaymentOrder) -> bytes:
    parts = (order.account, order.payer, order.payee, order.amount, order.currency, order.method.value, order.reference)
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _again(kept: Order, content: bytes) -> Ack:
    if kept.content != content:
        return _refusal(kept.id, "AM05")
    if kept.state is Stage.REFUSED:
        return _refusal(kept.id, kept.code)
    return Ack(kept.id, Said.ACCEPTED)


def _refusal(order: UUID, code: str) -> Ack:
    return Ack(order, Said.REFUSED, code, REASONS.get(code, ""))


def is_writable(order: PaymentOrder) -> bool:
    """Tell whether an order's texts can be kept at all."""
    texts = (order.account, order.payer, order.payee, order.currency, order.reference)
    return all(len(each) <= NAME_MAX and each.isprintable() for each in texts) and bool(order.payee and order.account)


def _minor(amount: str, exponent: int) -> int:
    try:
        minor = minor_units(amount, exponent)
    except (MalformedAmount, TooManyDecimals):
        raise _Refused("FF01") from None
    if minor < 0:
        raise _Refused("FF01")
    if minor == 0:
        raise _Refused("AM01")
    return minor

"""The bank's own books while something happens: accounts, and the double entries that move them.

Promise: every entry debits one account and credits another by the same amount, so all balances of a currency sum to zero;
each entry carries both balances after it, so a statement needs no adding up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from clearhouse.slices.interbank.bank.orders import OPEN, Act, Order, Stage, Step

SUSPENSE = "(suspense)"
CASH = "(cash)"
CUSTOMER = "customer"
COUNTERPARTY = "counterparty"


@dataclass(slots=True)
class Account:
    """An account at the bank; `balance` is what the bank owes its holder, `reserved` is promised away of it."""

    id: int
    code: str
    currency: str
    exponent: int
    role: str
    credit_line: int
    balance: int
    reserved: int

    @property
    def available(self) -> int:
        """Return what can still be ordered away."""
        return self.balance - self.reserved + self.credit_line


@dataclass(slots=True)
class Event:
    """Something that happened; where no money moved there is no debit and no credit."""

    kind: str
    at: datetime
    value: date
    amount: int
    total: int = 0
    order: UUID | None = None
    state: Stage | None = None
    code: str = ""
    reference: str = ""
    number: int = 0
    debit: int | None = None
    credit: int | None = None
    debit_balance: int | None = None
    credit_balance: int | None = None


class Books:
    """The accounts that one transaction touches, and the events that it writes."""

    def __init__(self, accounts: Iterable[Account], *, last: int) -> None:
        self.by_id: dict[int, Account] = {}
        self.by_name: dict[tuple[str, str], Account] = {}
        self.add(accounts)
        self.last = last
        self.events: list[Event] = []
        self.touched: dict[int, Account] = {}

    def add(self, accounts: Iterable[Account]) -> None:
        """Take in more accounts."""
        for each in accounts:
            self.by_id[each.id] = each
            self.by_name[each.code, each.currency] = each

    def suspense(self, currency: str) -> Account:
        """Return where money waits that could not be applied."""
        return self.by_name[SUSPENSE, currency]

    def reserve(self, order: Order, account: Account) -> None:
        """Set the money of an order aside."""
        account.reserved += order.amount
        self.touched[account.id] = account

    def fund(self, account: Account, amount: int, *, reference: str, at: datetime) -> None:
        """Bring money in from outside, or take it out if the amount is below zero."""
        cash = self.by_name[CASH, account.currency]
        debit, credit = (cash, account) if amount > 0 else (account, cash)
        self._move(debit, credit, Event("funding", at, at.date(), abs(amount), reference=reference))

    def apply(self, order: Order, step: Step) -> None:
        """Do one step of an order's course; one that comes too late for the order's state changes nothing."""
        if step.act is Act.CONFIRM and order.state in OPEN:
            self._confirm(order, step)
        elif step.act is Act.REJECT and order.state in OPEN:
            self._reject(order, step)
        elif step.act is Act.RETURN and order.state is Stage.CONFIRMED:
            self._send_back(order, step)
        elif step.act is Act.REPEAT and order.confirmed:
            self._tell(_event("repeated", order, step, amount=step.amount, total=order.confirmed))

    def _confirm(self, order: Order, step: Step) -> None:
        account, payee = self._sides(order)
        amount = min(step.amount, order.amount - order.confirmed)
        order.confirmed += amount
        order.state, order.code = Stage.CONFIRMED if order.confirmed == order.amount else Stage.PARTLY, step.code
        account.reserved -= amount
        self._move(account, payee, _event("confirmed", order, step, amount=amount, total=order.confirmed))

    def _reject(self, order: Order, step: Step) -> None:
        account, _ = self._sides(order)
        rest = order.amount - order.confirmed
        account.reserved -= rest
        self.touched[account.id] = account
        order.state, order.code = Stage.REJECTED, step.code
        self._tell(_event("rejected", order, step, amount=rest, total=order.confirmed))

    def _send_back(self, order: Order, step: Step) -> None:
        account, payee = self._sides(order)
        order.returned = order.confirmed
        order.state, order.code = Stage.RETURNED, step.code
        self._move(payee, account, _event("returned", order, step, amount=order.returned, total=order.returned))

    def _sides(self, order: Order) -> tuple[Account, Account]:
        return self.by_id[order.account or 0], self.by_id[order.payee or 0]

    def _move(self, debit: Account, credit: Account, event: Event) -> None:
        debit.balance -= event.amount
        credit.balance += event.amount
        self.touched[debit.id] = debit
        self.touched[credit.id] = credit
        event.debit, event.debit_balance = debit.id, debit.balance
        event.credit, event.credit_balance = credit.id, credit.balance
        self._tell(event)

    def _tell(self, event: Event) -> None:
        self.last += 1
        event.number = self.last
        self.events.append(event)


def _event(kind: str, order: Order, step: Step, *, amount: int, total: int) -> Event:
    value = max(order.value, step.due.date())
    return Event(kind, step.due, value, amount, total, order.id, order.state, step.code, order.reference)

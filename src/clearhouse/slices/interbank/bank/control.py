"""Control over the simulated bank, which no real one gives: its accounts, its lies, its clock, and the truth.

Promise: what `paid` and `balances` say is added up from the bank's own entries, whatever it tells elsewhere.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Database
from clearhouse.money import DIGITS_MAX, decimal_text, iso, minor_units
from clearhouse.refusals import Kind, Refusal
from clearhouse.slices.interbank.bank.books import CASH, CUSTOMER, SUSPENSE, Account, Books
from clearhouse.slices.interbank.bank.keeping import Desk, locked, sql
from clearhouse.slices.interbank.bank.lies import Lie
from clearhouse.slices.interbank.bank.methods import Terms
from clearhouse.slices.interbank.bank.orders import ACCOUNT_CLOSED, Act, Step

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=140, pattern=r"^[^\x00-\x1f\x7f()]+$")]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_.-]{1,15}$")]
AmountText = Annotated[str, msgspec.Meta(max_length=DIGITS_MAX + 2)]


class AccountMissing(Refusal):
    """The bank keeps no account {account}."""

    code = "bank_account_missing"
    kind = Kind.UNKNOWN


class DecimalsUnknown(Refusal):
    """{currency} is no currency of ISO 4217: say with how many decimals the bank counts it."""

    code = "decimals_unknown"
    kind = Kind.MALFORMED


class ClockTurnedBack(Refusal):
    """The bank's clock goes forward only; {seconds} seconds would turn it back."""

    code = "clock_turned_back"
    kind = Kind.MALFORMED


class OpenAccount(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An account that the bank keeps for us from now on; one that is there already stays as it is."""

    account: Name
    currency: Currency
    balance: AmountText = "0"
    credit_line: AmountText = "0"
    exponent: Annotated[int, msgspec.Meta(ge=0, le=30)] | None = None

    @property
    def decimals(self) -> int:
        """Return with how many decimals the bank counts."""
        known = iso(self.currency)
        if self.exponent is not None:
            return self.exponent
        if known is None:
            raise DecimalsUnknown(currency=self.currency)
        return known.exponent


class Fund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bring money into an account from outside, or take it out if the amount has a minus."""

    account: Name
    amount: AmountText
    reference: Annotated[str, msgspec.Meta(max_length=140, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class SendBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Return what was paid for orders, for a reason."""

    orders: list[UUID]
    code: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{1,35}$")] = ACCOUNT_CLOSED


class Paid(msgspec.Struct, frozen=True):
    """What really happened to an order: in how many bookings how much left our account, and how much came back."""

    id: UUID
    times: int
    debited: str
    credited: str


class Balance(msgspec.Struct, frozen=True):
    """What an account holds: as its row says, and `proved` by adding up its entries."""

    account: str
    currency: str
    role: str
    balance: str
    proved: str
    reserved: str


class Settings(msgspec.Struct, frozen=True):
    """How the bank is set now."""

    seed: int
    at: datetime
    latency_seconds: float
    terms: list[Terms]
    lies: list[Lie]


class Control:
    """What a test, or a demonstration, may do to the bank of one book."""

    def __init__(self, database: Database, book: int) -> None:
        self.database = database
        self.book = book

    async def open(self, accounts: Sequence[OpenAccount]) -> list[Balance]:
        """Open accounts, each funded with its balance, and return how they all stand."""
        async with locked(self.database, self.book) as desk:
            wanted = {(each.account, each.currency): each for each in accounts}
            currencies = {each.currency: each.decimals for each in wanted.values()}
            own = [Account(0, code, one, decimals, "suspense" if code == SUSPENSE else "cash", 0, 0, 0)
                   for one, decimals in currencies.items() for code in (SUSPENSE, CASH)]  # fmt: skip
            customers = [_customer(each) for each in wanted.values()]
            await desk.open(own)
            made = await desk.open(customers)
            books = await desk.books({CASH, *(each.code for each in made)})
            for each in made:
                amount = minor_units(wanted[each.code, each.currency].balance, each.exponent)
                if amount:
                    account = books.by_name[each.code, each.currency]
                    books.fund(account, amount, reference="opening", at=desk.at)
            desk.keep(books)
        return [each for each in await self.balances() if (each.account, each.currency) in wanted]

    async def fund(self, account: str, amount: str, *, reference: str = "") -> None:
        """Bring money into an account from outside, or take it out if the amount has a minus."""
        async with locked(self.database, self.book) as desk:
            books = await desk.books({account, CASH})
            found = next((each for each in books.by_id.values() if each.code == account and each.role == CUSTOMER), None)
            if found is None:
                raise AccountMissing(account=account[:64])
            minor = minor_units(amount, found.exponent)
            if minor:
                books.fund(found, minor, reference=reference, at=desk.at)
            desk.keep(books)

    async def send_back(self, orders: Sequence[UUID], *, code: str = ACCOUNT_CLOSED) -> None:
        """Return what was paid for orders: now, for a reason."""
        async with locked(self.database, self.book) as desk:
            found = await desk.orders(array(orders))
            books = await _sides(desk, {side for each in found.values() for side in (each.account, each.payee) if side})
            for each in found.values():
                books.apply(each, Step(each.id, Act.RETURN, each.confirmed, code, desk.at))
            desk.keep(books)
            desk.change(list(found.values()))

    async def lie(self, *lies: Lie) -> None:
        """Tell these lies too, after those that are told already."""
        checked = [each.checked() for each in lies]
        async with locked(self.database, self.book) as desk:
            desk.head.lies = [*desk.head.lies, *checked]
            desk.keep_head()

    async def honest(self) -> None:
        """Tell no lie any more; what was set in motion goes on."""
        async with locked(self.database, self.book) as desk:
            desk.head.lies = []
            desk.keep_head()

    async def set_terms(self, terms: Sequence[Terms]) -> None:
        """Set the terms of methods; one that is not named takes everything, at once."""
        checked = [each.checked() for each in terms]
        async with locked(self.database, self.book) as desk:
            desk.head.terms = checked
            desk.keep_head()

    async def set_seed(self, seed: int) -> None:
        """Draw lots by another seed."""
        async with locked(self.database, self.book) as desk:
            desk.head.seed = seed
            desk.keep_head()

    async def set_latency(self, seconds: float) -> None:
        """Answer every call so many seconds later."""
        async with locked(self.database, self.book) as desk:
            desk.head.latency_seconds = seconds
            desk.keep_head()

    async def move_clock(self, seconds: float) -> None:
        """Move the bank's clock forward, and do what becomes due by it."""
        if seconds < 0:
            raise ClockTurnedBack(seconds=str(seconds))
        async with locked(self.database, self.book) as desk:
            desk.head.ahead_seconds += seconds
            desk.keep_head()
        async with locked(self.database, self.book):
            pass

    async def settings(self) -> Settings:
        """Return how the bank is set."""
        async with locked(self.database, self.book) as desk:
            head = desk.head
            return Settings(head.seed, desk.at, head.latency_seconds, head.terms, head.lies)

    async def paid(self, orders: Sequence[UUID]) -> list[Paid]:
        """Return what really happened to orders; one that never moved any money has no line."""
        async with self.database.reading([self.book]) as tx:
            return await tx.rows(sql["paid"], _paid, book=self.book, ids=array(orders))

    async def balances(self) -> list[Balance]:
        """Return every account, the bank's own too."""
        async with self.database.reading([self.book]) as tx:
            return await tx.rows(sql["balances"], _balance, book=self.book)

    async def trial_balance(self) -> dict[str, str]:
        """Return what all accounts of each currency sum to: nothing, always."""
        sums: dict[str, tuple[int, int]] = {}
        async with self.database.reading([self.book]) as tx:
            for code, exponent, balance in await tx.tuples(sql["trial_balance"], {"book": self.book}):
                sums[str(code)] = int(str(balance)), int(str(exponent))
        return {currency: decimal_text(*found) for currency, found in sums.items()}


def _customer(asked: OpenAccount) -> Account:
    line = minor_units(asked.credit_line, asked.decimals)
    return Account(0, asked.account, asked.currency, asked.decimals, CUSTOMER, line, 0, 0)


async def _sides(desk: Desk, accounts: set[int]) -> Books:
    found = await desk.tx.rows(sql["accounts_of_ids"], Account, book=desk.book, ids=array(sorted(accounts)))
    return Books(found, last=desk.head.last)


def _paid(*, id: UUID, times: int, debited: int, credited: int, exponent: int) -> Paid:  # noqa: A002 - a column
    return Paid(id, times, decimal_text(debited, exponent), decimal_text(credited, exponent))


def _balance(
    *, code: str, currency: str, exponent: int, role: str, balance: int, reserved: int, proved: int
) -> Balance:  # fmt: skip
    texts = [decimal_text(each, exponent) for each in (balance, proved, reserved)]
    return Balance(code, currency, role, *texts)

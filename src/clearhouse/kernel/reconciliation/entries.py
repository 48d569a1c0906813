"""Entries: what the ledger booked on the account that is reconciled, loaded as items of our side.

Promise: from the first load on every entry of the account is loaded once, in the order in which it was booked, none is
missing, and the next load goes on after the last one, at the cost of what is new. What reconciliation itself posted there is
no item: it closes a difference between items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

import msgspec

from clearhouse import clock, ids
from clearhouse.asking import Asked
from clearhouse.kernel.access.principals import readable
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger import accounts
from clearhouse.kernel.ledger.transfers import Currency, Instant
from clearhouse.kernel.reconciliation import items, matches, rules
from clearhouse.kernel.reconciliation.items import Item, LoadItems
from clearhouse.kernel.reconciliation.posting import MARK, Difference
from clearhouse.kernel.reconciliation.rules import AccountMissing, Name, RuleSetNotFound
from clearhouse.money import decimal_text
from clearhouse.refusals import Kind, Refusal

ENTRIES_MAX = 100_000  # of one load; what is left says `complete: false`
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
_sql = Statements.of("clearhouse.kernel.reconciliation", "entries.sql")


class NoAccount(Refusal):
    """The rule set {name} names no account, so there are no entries to load."""

    code = "no_account"
    kind = Kind.REFUSED


class LoadedAlready(Refusal):
    """The entries of {account} in {currency} are loaded up to {booked}; the next load goes on from there by itself."""

    code = "loaded_already"
    kind = Kind.CONFLICT


class LoadEntries(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Load what was booked on the account of a rule set since the last load, in one currency or in all.

    `since` says where the first load begins; `until` leaves what was booked later for the next one.
    """

    rule_set: Name
    currency: Currency | None = None
    since: Instant | None = None
    until: Instant | None = None
    most: Annotated[int, msgspec.Meta(ge=1, le=ENTRIES_MAX)] = ENTRIES_MAX


class AccountLoad(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a load found in one currency, and how far it has come.

    What its items amount to and what reconciliation `posted` itself add up to what the balance moved by.
    """

    account: str
    currency: str
    entries: int
    items: int
    amount: str
    posted: str
    booked: datetime | None = None


class EntryLoad(msgspec.Struct, frozen=True):
    """Entries that were loaded together; `complete` says whether that was all there is."""

    id: str
    rule_set: str
    items: int
    complete: bool
    accounts: list[AccountLoad]


@dataclass(frozen=True, slots=True)
class _Account:
    id: UUID
    code: str
    asset: str
    exponent: int
    normal: str
    booked: datetime | None
    sequence: int | None


@dataclass(frozen=True, slots=True)
class _Entry:
    id: UUID
    transaction: UUID
    booked: datetime
    sequence: int
    effective: date
    debits: int
    reference: str | None
    external_reference: str | None
    metadata: str | None

    @property
    def match(self) -> Difference | None:
        """Return the match that it says it was posted for."""
        if self.metadata is None or self.reference is None or MARK not in msgspec.json.decode(self.metadata):
            return None
        batch, number = matches.parsed(self.reference)
        said = Difference(batch, number, "", 0, 0)
        return said if self.transaction in {said.transaction, said.undo, said.claim} else None


@dataclass(frozen=True, slots=True)
class _Place:
    batch: UUID
    number: int


@dataclass(frozen=True, slots=True)
class _New:
    """Entries of one account that were not loaded before, and which of them are no items."""

    account: _Account
    entries: Sequence[_Entry]
    posted: frozenset[UUID]
    complete: bool

    @property
    def items(self) -> list[Item]:
        """Return what of it is an item."""
        return [self._item(each) for each in self.entries if each.id not in self.posted]

    @property
    def told(self) -> AccountLoad:
        """Return what is said of it."""
        sums = {
            of: sum(self._amount(each) for each in self.entries if (each.id in self.posted) is of) for of in (True, False)
        }
        amount, posted = (decimal_text(sums[of], self.account.exponent) for of in (False, True))
        last = self.entries[-1].booked if self.entries else self.account.booked
        return AccountLoad(
            self.account.code,
            self.account.asset,
            len(self.entries),
            len(self.entries) - len(self.posted),
            amount,
            posted,
            last,
        )

    def _item(self, each: _Entry) -> Item:
        amount = decimal_text(self._amount(each), self.account.exponent)
        return Item(
            ids.text("trf", each.id), amount, self.account.asset, each.effective, each.reference, each.external_reference
        )  # fmt: skip

    def _amount(self, each: _Entry) -> int:
        """Return by how much it makes the account grow."""
        return each.debits if self.account.normal == "debit" else -each.debits


async def load(tx: Tx, asked: Sequence[Asked[LoadEntries]], at: datetime) -> list[EntryLoad | Refusal]:
    """Load entries, each load whole or not at all."""
    held = {row.name: row for row in await rules.lock(tx, [each.command.rule_set for each in asked])}
    exponents = await accounts.exponents(tx)
    answers: list[EntryLoad | Refusal] = []
    for each in asked:
        try:
            async with tx.attempt():
                answers.append(await _loaded(tx, each, held.get(each.command.rule_set), exponents, at))
        except Refusal as refusal:
            answers.append(refusal)
    return answers


async def _loaded(
    tx: Tx, asked: Asked[LoadEntries], row: rules.Row | None, exponents: Mapping[str, int], at: datetime
) -> EntryLoad:
    command, found, told, complete = asked.command, list[Item](), list[AccountLoad](), True
    if row is None:
        raise RuleSetNotFound(name=command.rule_set)
    for account in await _accounts(tx, command, row.command.account):
        new = await _new(tx, command, account, command.most - sum(each.entries for each in told))
        told.append(new.told)
        found += new.items
        complete = new.complete
        if not complete:
            break
    load_items = Asked(LoadItems(command.rule_set, "ours", found), asked.id, asked.by)
    taken = await items.take_in(tx, load_items, exponents, at)
    return EntryLoad(taken.id, command.rule_set, len(found), complete, told)


async def _accounts(tx: Tx, command: LoadEntries, code: str | None) -> list[_Account]:
    if code is None:
        raise NoAccount(name=command.rule_set)
    name = {"name": command.rule_set, "asset": command.currency}
    if code.startswith("acc_"):
        found = await tx.rows(_sql["account_of_id"], _Account, book=tx.book, id=readable("acc", code), **name)
    else:
        found = await tx.rows(_sql["accounts_of_code"], _Account, book=tx.book, code=code, **name)
    if not found:
        raise AccountMissing(account=code, asset=command.currency or "any currency")
    return found


async def _new(tx: Tx, command: LoadEntries, account: _Account, most: int) -> _New:
    """Return what was booked since the last load, and note how far that is."""
    if command.since is not None and account.booked is not None:
        raise LoadedAlready(account=account.code, currency=account.asset, booked=clock.text(account.booked))
    entries = await tx.rows(
        _sql["entries"], _Entry, book=tx.book, account=account.id, booked=account.booked or command.since or _FIRST,
        sequence=-1 if account.sequence is None else account.sequence, until=command.until or _LAST, most=most + 1,
    )  # fmt: skip
    some = entries[:most]
    posted = await _posted(tx, some)
    if some:
        last = {"booked": some[-1].booked, "sequence": some[-1].sequence}
        await tx.do(_sql["keep"], book=tx.book, name=command.rule_set, account=account.id, **last)
    return _New(account, some, posted, complete=len(entries) <= most)


async def _posted(tx: Tx, entries: Sequence[_Entry]) -> frozenset[UUID]:
    """Return which entries reconciliation posted itself: not those that only say so."""
    said = {each.id: match for each in entries if (match := each.match) is not None}
    batches, numbers = [each.batch for each in said.values()], [each.number for each in said.values()]
    found = await tx.rows(_sql["posted"], _Place, book=tx.book, batches=batches, numbers=numbers) if said else []
    there = {(each.batch, each.number) for each in found}
    return frozenset(entry for entry, each in said.items() if (each.batch, each.number) in there)

"""Items: what one side has on record, loaded for the next run and never changed.

Promise: of a side, an id is one item, however often it is loaded; the same id with another content is refused, and with
it the whole load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec

from clearhouse import ids, money
from clearhouse.asking import Asked
from clearhouse.kernel.db.arrays import array, texts
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.kernel.ledger import accounts
from clearhouse.kernel.ledger.accounts import AssetUnknown
from clearhouse.kernel.ledger.transfers import Currency, MoneyText, Text
from clearhouse.kernel.reconciliation import rules
from clearhouse.kernel.reconciliation.rules import Name, RuleSetNotFound
from clearhouse.money import decimal_text, minor_units
from clearhouse.refusals import Kind, Refusal

ITEMS_MAX = 250_000
_AT_ONCE = 10_000
sql = Statements.of("clearhouse.kernel.reconciliation", "items.sql")

Side = Literal["ours", "theirs"]


class ItemRefused(Refusal):
    """Item {line} ({id}): {reason}"""  # noqa: D400 - the reason ends it

    code = "item_refused"
    kind = Kind.REFUSED


class ItemChanged(Refusal):
    """Item {id} is there already with another {field}; what was loaded once stays as it was."""

    code = "item_changed"
    kind = Kind.REFUSED


class Item(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one side has on record: above zero where the thing itself grows, in whoever's books it stands."""

    id: Text
    amount: MoneyText
    currency: Currency
    date: date
    reference: Text | None = None
    end_to_end: Text | None = None
    text: Annotated[str, msgspec.Meta(max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")] = ""


class LoadItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Load items of one side for the next run of a rule set."""

    rule_set: Name
    side: Side
    items: Annotated[list[Item], msgspec.Meta(max_length=ITEMS_MAX)]


class Load(msgspec.Struct, frozen=True):
    """Items that came together: how many there were, and how many of them are new."""

    id: str
    rule_set: str
    side: Side
    items: int
    new: int


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item as it is shown beside what it is part of."""

    side: Side
    id: str
    amount: str
    currency: str
    date: date
    reference: str | None = None
    end_to_end: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An item as it is kept."""

    number: int
    name: str
    side: Side
    id: str
    asset: str
    exponent: int
    amount: int
    day: date
    reference: str | None
    end_to_end: str | None
    text: str | None

    @property
    def shown(self) -> Shown:
        """Return it as it is shown."""
        amount = decimal_text(self.amount, self.exponent)
        return Shown(self.side, self.id, amount, self.asset, self.day, self.reference, self.end_to_end, self.text or "")


async def load(tx: Tx, asked: Sequence[Asked[LoadItems]], at: datetime) -> list[Load | Refusal]:
    """Take in loads, each whole or not at all."""
    exponents = await accounts.exponents(tx)
    return [await _loaded(tx, each, exponents, at) for each in asked]


async def _loaded(
    tx: Tx, asked: Asked[LoadItems], exponents: Mapping[str, int], at: datetime
) -> Load | Refusal:  # fmt: skip
    try:
        async with tx.attempt():
            return await take_in(tx, asked, exponents, at)
    except Refusal as refusal:
        return refusal


async def take_in(tx: Tx, asked: Asked[LoadItems], exponents: Mapping[str, int], at: datetime) -> Load:
    """Add the items of a load, a thousand at a time; what is there already stays. Refuse it whole or not at all."""
    command = asked.command
    if await tx.row(rules.sql["version"], rules.Row, book=tx.book, name=command.rule_set, version=None) is None:
        raise RuleSetNotFound(name=command.rule_set)
    new = 0
    for start in range(0, len(command.items), _AT_ONCE):
        some = command.items[start : start + _AT_ONCE]
        columns = _columns(some, exponents, start)
        added = await tx.do(
            sql["add_items"], book=tx.book, name=command.rule_set, side=command.side, load=asked.id, **columns
        )
        if added < len(some):
            await _same(tx, command, columns)
        new += added
    count = len(command.items)
    await tx.do(
        sql["add_load"],
        book=tx.book,
        id=asked.id,
        name=command.rule_set,
        side=command.side,
        items=new,
        at=at,
        by=asked.by,
    )
    return Load(ids.text("lds", asked.id), command.rule_set, command.side, count, new)


def _columns(some: Sequence[Item], exponents: Mapping[str, int], start: int) -> dict[str, str]:
    known: dict[str, int] = {}
    amounts: list[int] = []
    for line, item in enumerate(some, start=start + 1):
        try:
            exponent = known.get(item.currency)
            if exponent is None:
                exponent = known[item.currency] = _exponent(item.currency, exponents)
            amount = minor_units(item.amount, exponent)
        except Refusal as refusal:
            raise ItemRefused(line=str(line), id=item.id, reason=str(refusal)) from refusal
        if amount == 0:
            raise ItemRefused(line=str(line), id=item.id, reason="its amount is zero.")
        amounts.append(amount)
    return {
        "ids": texts(each.id for each in some), "assets": texts(each.currency for each in some),
        "exponents": array(known[each.currency] for each in some), "amounts": array(amounts),
        "days": array(each.date for each in some), "references": texts(each.reference or "" for each in some),
        "ends": texts(each.end_to_end or "" for each in some), "texts": texts(each.text for each in some),
    }  # fmt: skip


def _exponent(asset: str, own: Mapping[str, int]) -> int:
    iso = money.iso(asset)
    found = iso.exponent if iso is not None else own.get(asset)
    if found is None:
        raise AssetUnknown(asset=asset)
    return found


@dataclass(frozen=True, slots=True)
class _Difference:
    id: str
    field: str


async def _same(tx: Tx, command: LoadItems, columns: Mapping[str, str]) -> None:
    """Refuse an item that is there already, or twice in the load, with another content."""
    found = await tx.row(
        sql["changed"], _Difference, book=tx.book, name=command.rule_set, side=command.side, **columns
    )  # fmt: skip
    if found is not None:
        raise ItemChanged(id=found.id, field=found.field)


async def rows(tx: Tx, numbers: Sequence[int]) -> dict[int, Row]:
    """Return items by their numbers."""
    found = await tx.rows(sql["items"], Row, book=tx.book, numbers=list(numbers))
    return {each.number: each for each in found}

"""Explaining an amount: a tree from a settlement, or from the difference of a comparison, down to what can be looked up.

Promise: the parts of every node add up to it exactly, to the last decimal; what nothing accounts for stands there as a part
of its own, and not as a smaller sum.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from clearhouse import ids
from clearhouse.kernel.db.arrays import array
from clearhouse.kernel.db.database import Tx
from clearhouse.kernel.db.statements import Statements
from clearhouse.money import decimal_text, minor_units
from clearhouse.slices.interbank import banks, reading, reconciling
from clearhouse.slices.interbank.settlement import Settlement, order_id

LEAVES_MAX = 500
_sql = Statements.of("clearhouse.slices.interbank", "explaining.sql")
_NO_LINES: Mapping[str, list["_Line"]] = {}
What = Literal[
    "settlement", "confirmed", "held", "not_moved", "transfer", "statement_line", "return", "late_confirmation",
    "late_settled", "difference", "only_ours", "only_theirs", "item", "others", "unexplained",
]  # fmt: skip


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """An amount, what it is, under which id it can be looked up, and what it is made of."""

    what: What
    amount: str
    currency: str
    id: str | None = None
    at: datetime | None = None
    day: date | None = None
    note: str | None = None
    parts: list["Part"] = []


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an amount is made of; `afterwards` is what came back, or came too late."""

    tree: Part
    afterwards: list[Part] = []


@dataclass(frozen=True, slots=True)
class _Capture:
    id: UUID
    amount: int
    booked: datetime


@dataclass(frozen=True, slots=True)
class _Hold:
    id: UUID
    remaining: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Line:
    transfer: str
    id: str
    amount: int
    day: date
    reference: str | None


@dataclass(frozen=True, slots=True)
class _Compensation:
    cause: Literal["return", "late_confirmation", "late_settled"]
    amount: int
    reason: str
    at: datetime
    transaction: UUID


@dataclass(frozen=True, slots=True)
class _Open:
    side: Literal["ours", "theirs"]
    id: str
    amount: int
    day: date
    reference: str | None
    total: int
    count: int


@dataclass(frozen=True, slots=True)
class _Money:
    """How amounts of a currency are written."""

    currency: str
    exponent: int

    def part(
        self, what: What, minor: int, parts: Sequence[Part] = (), *, own: str | None = None,
        at: datetime | None = None, day: date | None = None, note: str | None = None,
    ) -> Part:  # fmt: skip
        """Return a part; if there are parts of it that do not add up to it, what is missing is one more."""
        found = list(parts)
        rest = minor - sum(minor_units(each.amount, self.exponent) for each in found)
        if found and rest:
            found.append(self.part("unexplained", rest))
        return Part(what, decimal_text(minor, self.exponent), self.currency, own, at, day, note or None, found)


async def settlement(tx: Tx, text: str, *, party: str | None = None) -> Explanation:
    """Explain what a settlement comes to; a bank is shown its own statement lines and nobody else's."""
    found = await reading.find(tx, text, party=party)
    money = _Money(found.currency, len(found.amount.partition(".")[2]))
    own = ids.parse("stl", found.id)
    holds = [order_id(own, each + 1) for each in range(max(found.attempts, 1))]
    captures = await tx.rows(_sql["captures"], _Capture, book=tx.book, holds=array(holds))
    lines = await _lines(tx, found, captures) if party in {None, found.to_bank} else _NO_LINES
    hold = await tx.row(_sql["hold"], _Hold, book=tx.book, hold=holds[-1])
    amount, captured = minor_units(found.amount, money.exponent), minor_units(found.captured, money.exponent)
    parts: list[Part] = []
    if captured:
        transfers = [_transfer(money, each, lines) for each in captures]
        if found.compensates is not None:  # it was booked in one piece, when its money came back
            transfers = [money.part("transfer", captured, own=ids.text("trf", own), at=found.accepted_at)]
        parts.append(money.part("confirmed", captured, transfers, own=found.uetr, at=found.ended_at))
    held = 0 if hold is None else hold.remaining
    if hold is not None:
        parts.append(money.part("held", held, own=ids.text("trf", hold.id), at=hold.expires_at))
    if amount - captured - held:
        why = f"{found.state.value} {found.waiting_for or found.reason or ''}".strip()
        parts.append(money.part("not_moved", amount - captured - held, note=why))
    after = await tx.rows(_sql["compensations"], _Compensation, book=tx.book, id=own)
    return Explanation(
        money.part("settlement", amount, parts, own=found.id, at=found.accepted_at, note=found.obligation_id),
        [_afterwards(money, each) for each in after],
    )


async def _lines(tx: Tx, found: Settlement, captures: Sequence[_Capture]) -> Mapping[str, list[_Line]]:
    name = banks.reconciliation_of(found.to_bank, found.currency)
    transfers = [ids.text("trf", each.id) for each in captures]
    lines: dict[str, list[_Line]] = defaultdict(list)
    for each in await tx.rows(_sql["lines"], _Line, book=tx.book, name=name, transfers=transfers):
        lines[each.transfer].append(each)
    return lines


def _transfer(money: _Money, capture: _Capture, lines: Mapping[str, list[_Line]]) -> Part:
    own = ids.text("trf", capture.id)
    told = lines.get(own, [])
    parts = [money.part("statement_line", -each.amount, own=each.id, day=each.day, note=each.reference) for each in told]
    if told and sum(-each.amount for each in told) != capture.amount:  # the bank told several payments in one line
        whole = ", ".join(f"of {decimal_text(-each.amount, money.exponent)}" for each in told)
        parts = [money.part("statement_line", capture.amount, own=told[0].id, day=told[0].day, note=whole[:200])]
    return money.part("transfer", capture.amount, parts, own=own, at=capture.booked)


def _afterwards(money: _Money, each: _Compensation) -> Part:
    booked = money.part("transfer", each.amount, own=ids.text("trf", each.transaction), at=each.at)
    return money.part(each.cause, each.amount, [booked], at=each.at, note=each.reason)


async def difference(tx: Tx, text: str, *, party: str | None = None) -> Explanation:
    """Explain by how much our nostro and its bank differ: the lines that one side has, and the other has not."""
    found = await reconciling.find(tx, text, party=party)
    money = _Money(found.currency, len(found.difference.partition(".")[2]))
    left = await tx.rows(_sql["left_open"], _Open, book=tx.book, run=ids.parse("run", found.run), most=LEAVES_MAX)
    ours, theirs = ([each for each in left if each.side == side] for side in ("ours", "theirs"))
    sides = [money.part("only_ours", ours[0].total, _leaves(money, ours, 1))] if ours else []
    sides += [money.part("only_theirs", -theirs[0].total, _leaves(money, theirs, -1))] if theirs else []
    whole = minor_units(found.difference, money.exponent)
    if not sides and whole:
        sides = [money.part("unexplained", whole)]
    return Explanation(money.part("difference", whole, sides, own=found.id, at=found.at, note=found.status))


def _leaves(money: _Money, left: Sequence[_Open], sign: int) -> list[Part]:
    leaves = [money.part("item", sign * each.amount, own=each.id, day=each.day, note=each.reference) for each in left]
    rest = left[0].total - sum(each.amount for each in left)
    if len(left) < left[0].count:
        leaves.append(money.part("others", sign * rest, note=f"{left[0].count - len(left)} smaller ones"))
    return leaves
